"""Archives: what is read, what is refused, and how tiles are split and standardised."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from archives_on_disk import HEADER, UCMERCED_TILES, label_row, write_table, write_ucmerced, zip_ucmerced
from PIL import Image

from aljax.data.archive import Archive, band_statistics, place, random_split, whole_range
from aljax.data.archives.ucmerced import open_ucmerced
from aljax.data.augmentation import BandStatistics, standardise
from aljax.data.generated.scenes import CLASS_NAMES, generate_scenes, render
from aljax.data.storage import keep_tiles
from aljax.errors import InputError


def load_ucmerced(folder: Path, size: int) -> Archive:
    return keep_tiles(open_ucmerced(folder, size), "memory")


@pytest.fixture
def official(tmp_path: Path) -> Path:
    return write_ucmerced(tmp_path)


def test_official_folder_is_read_with_ids_labels_and_resized_tiles(official: Path) -> None:
    archive = load_ucmerced(official, 256)
    assert archive.images.shape == (6, 256, 256, 3)
    assert archive.ids == UCMERCED_TILES
    assert archive.class_names == tuple(HEADER[1:])
    for number in range(6):
        assert archive.labels[number].tolist() == list(map(int, label_row("", number)[1:]))
    with Image.open(official / "UCMerced_LandUse/Images/beach/beach01.tif") as image:
        np.testing.assert_array_equal(archive.images[1], np.asarray(image))
    assert load_ucmerced(official, 40).images.shape == (6, 40, 40, 3)


def test_official_zips_give_the_same_archive_as_their_folders(official: Path, tmp_path_factory) -> None:
    zips = zip_ucmerced(official, tmp_path_factory.mktemp("zips") / "zips")
    assert load_ucmerced(zips, 64).fingerprint() == load_ucmerced(official, 64).fingerprint()


def table(folder: Path) -> Path:
    return folder / "multilabels" / "LandUse_Multilabeled.txt"


def tile(folder: Path) -> Path:
    return folder / "UCMerced_LandUse" / "Images" / "river" / "river00.tif"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode())


def make_bomb(path: Path) -> None:
    Image.new("1", (20000, 20000)).save(path, compression="group4")


BROKEN = {
    "no folder": (lambda d: d.rename(d.with_name("gone")), "is not a folder"),
    "no images": (lambda d: (d / "UCMerced_LandUse").rename(d / "other"), "no images in"),
    "no labels": (lambda d: table(d).unlink(), "no multi-labels in"),
    "labelled tile without image": (lambda d: tile(d).unlink(), r"1 tiles named in the labels .*\(river00\)"),
    "image without labels": (
        lambda d: edit(table(d), "river00", "river77"),
        r"1 tiles named in the labels .*\(river77\)",
    ),
    "image more than labels": (
        lambda d: Image.new("RGB", (256, 256)).save(tile(d).with_name("river99.tif")),
        r"1 tiles have an image but no row .*\(river99\)",
    ),
    "truncated image": (lambda d: tile(d).write_bytes(tile(d).read_bytes()[:5000]), r"river00\.tif is not readable"),
    "empty image": (lambda d: tile(d).write_bytes(b""), r"river00\.tif is empty \(0 bytes\)"),
    "text as image": (lambda d: tile(d).write_text("not an image"), r"river00\.tif is not a TIFF, PNG or JPEG"),
    "grey image": (
        lambda d: Image.new("L", (256, 256)).save(tile(d)),
        r"river00\.tif has 1 band of uint8 where the archive has 3 bands of uint8",
    ),
    "four-band image": (
        lambda d: Image.new("RGBA", (256, 256)).save(tile(d)),
        r"river00\.tif has 4 bands of uint8 where",
    ),
    "decompression bomb": (lambda d: make_bomb(tile(d)), r"river00\.tif has 20000 x 20000 pixels, too many for a tile"),
    "tile twice": (
        lambda d: Image.new("RGB", (256, 256)).save(tile(d).with_suffix(".png")),
        "tile river00 is there twice",
    ),
    "label 2": (lambda d: edit(table(d), "river01\t", "river01\t2\t"), "row 5: 18 label columns"),
    "label not 0 or 1": (
        lambda d: write_table(table(d), [[*label_row("beach00", 0)[:9], "7", *["0"] * 8]]),
        r"row 2, column 10: label '7' is neither 0 nor 1",
    ),
    "label empty": (
        lambda d: write_table(table(d), [["beach00", "", *["0"] * 16]]),
        r"row 2, column 2: label '' is neither 0 nor 1",
    ),
    "missing column": (lambda d: write_table(table(d), [label_row("beach00", 0)[:-1]]), "row 2: 16 label columns"),
    "labels twice": (
        lambda d: write_table(table(d), [label_row("beach00", 0)] * 2),
        "row 3: tile beach00 is there twice",
    ),
    "no rows": (lambda d: write_table(table(d), []), "names no tiles"),
    "empty label file": (lambda d: table(d).write_bytes(b""), "row 1: 0 class names"),
    "binary label file": (lambda d: table(d).write_bytes(b"\xff\xfe\x00"), "not readable as the label table"),
    "label zip that is none": (
        lambda d: (table(d).unlink(), (d / "multilabels.zip").write_bytes(b"PK")),
        "multilabels.zip is not a sound zip",
    ),
    "label zip without labels": (
        lambda d: (table(d).unlink(), zipfile.ZipFile(d / "multilabels.zip", "w").close()),
        "holds no LandUse_Multilabeled.txt",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_archive_is_refused_with_the_file_and_what_to_do(official: Path, kind: str) -> None:
    spoil, message = BROKEN[kind]
    spoil(official)
    with pytest.raises(InputError, match=message) as caught:
        load_ucmerced(official, 64)
    assert "\n" not in str(caught.value)
    assert str(caught.value).rstrip().split(": ")[-1]  # what to do


@pytest.mark.archive
def test_real_archive_has_the_published_counts(ucmerced_dir: Path) -> None:
    archive = load_ucmerced(ucmerced_dir, 32)
    assert archive.images.shape == (2100, 32, 32, 3)
    counts = dict(zip(archive.class_names, archive.labels.sum(0).tolist(), strict=True))
    assert counts == {
        "airplane": 100,
        "bare-soil": 718,
        "buildings": 691,
        "cars": 886,
        "chaparral": 115,
        "court": 105,
        "dock": 100,
        "field": 103,
        "grass": 975,
        "mobile-home": 102,
        "pavement": 1300,
        "sand": 294,
        "sea": 100,
        "ship": 102,
        "tanks": 100,
        "trees": 1009,
        "water": 203,
    }


@pytest.mark.archive
def test_real_pixels_arrive_unchanged_and_odd_sizes_are_resized(ucmerced_dir: Path) -> None:
    archive = load_ucmerced(ucmerced_dir, 256)
    odd = 0
    for index in range(0, 2100):
        name = archive.ids[index]
        (path,) = (ucmerced_dir / "UCMerced_LandUse" / "Images").glob(f"*/{name}.tif")
        with Image.open(path) as image:
            if image.size == (256, 256):
                np.testing.assert_array_equal(archive.images[index], np.asarray(image))
            else:
                odd += 1
    assert odd == 44


def test_split_is_the_papers_and_depends_on_the_seed_alone() -> None:
    split = random_split(0, 2100, 525, 525)
    assert list(map(len, split)) == [1050, 525, 525]
    assert sorted(np.concatenate(split).tolist()) == list(range(2100))
    for first, second in zip(split, random_split(0, 2100, 525, 525), strict=True):
        np.testing.assert_array_equal(first, second)
    assert np.any(split.pool != random_split(1, 2100, 525, 525).pool)


@pytest.mark.parametrize(("validation", "test"), [(6, 4), (0, 5), (5, 0)])
def test_split_without_a_pool_or_a_set_is_refused(validation: int, test: int) -> None:
    with pytest.raises(InputError, match="10 tiles cannot give"):
        random_split(0, 10, validation, test)


def test_standardisation_knows_the_pool_alone(archive: Archive) -> None:
    split = random_split(0, len(archive.ids), 10, 10)
    spoilt = archive.images.copy()
    spoilt[np.concatenate([split.validation, split.test])] = 255
    changed = Archive(archive.name, spoilt, archive.labels, archive.ids, archive.class_names)
    tiles = place(changed, split, seed=0)
    pool = archive.images[split.pool]
    for part in (tiles.pool, tiles.validation, tiles.test):
        np.testing.assert_allclose(part.statistics.mean, pool.mean((0, 1, 2)), rtol=1e-5)
        np.testing.assert_allclose(part.statistics.deviation, pool.std((0, 1, 2)), rtol=1e-5)
    (first,) = tiles.pool.batches(np.array([5, 2]), 2)
    np.testing.assert_array_equal(first, archive.images[split.pool[[5, 2]]])


@pytest.mark.parametrize(
    ("dtype", "value", "other", "most"),
    [
        ("uint8", 255, 0, 1.0),
        ("uint16", 0, 65535, 1.0),
        ("float32", 300.0, 0.0, 1.0),
        ("float32", 0.0, 1.0, 1.0),
        ("float32", 0.1, 0.0, 1.0),  # whose sums are not exact
    ],
)
def test_other_pixel_of_a_constant_band_does_not_outweigh_everything(dtype, value, other, most) -> None:
    statistics = band_statistics(np.full((7, 9, 9, 2), value, dtype), np.arange(7))
    found = standardise(np.array([[[[value, other]]]], dtype), statistics)
    np.testing.assert_allclose(found, [[[[0.0, most if other > value else -most]]]], atol=1e-6)


@pytest.mark.parametrize(("kind", "largest"), [("uint8", 255), ("uint16", 65535)])
def test_whole_range_is_that_of_the_type(kind: str, largest: int) -> None:
    assert whole_range(np.zeros((1, 2, 2, 3), kind)).deviation.tolist() == [largest] * 3


def test_statistics_are_of_a_random_sample_of_the_pool(archive: Archive, monkeypatch) -> None:
    samples: list[list[int]] = []

    def sampled(images: np.ndarray, indices: np.ndarray) -> BandStatistics:
        samples.append(indices.tolist())
        return band_statistics(images, indices)

    monkeypatch.setattr("aljax.data.archive.MAX_TILES_FOR_STATISTICS", 5)
    monkeypatch.setattr("aljax.data.archive.band_statistics", sampled)
    split = random_split(0, len(archive.ids), 10, 10)
    for seed in (0, 1):
        place(archive, split, seed)
    first, second = samples
    assert len(first) == len(second) == 5
    assert first != second
    assert {*first, *second} <= {*split.pool.tolist()}


def test_band_in_small_units_is_standardised() -> None:
    images = np.random.default_rng(0).normal(1e-8, 2e-9, (5, 16, 16, 1)).astype(np.float32)
    found = standardise(images, band_statistics(images, np.arange(5)))
    np.testing.assert_allclose([found.mean(), found.std()], [0.0, 1.0], atol=1e-5)


def test_archive_whose_parts_do_not_fit_is_refused(archive: Archive) -> None:
    with pytest.raises(InputError, match="do not fit together"):
        Archive("odd", archive.images, archive.labels, archive.ids[1:], archive.class_names)


def test_scene_depends_on_seed_and_index_alone() -> None:
    archive = generate_scenes(12, 32, seed=3)
    pixels, labels = render(3, 7, 32)
    np.testing.assert_array_equal(archive.images[7], pixels)
    np.testing.assert_array_equal(archive.labels[7], labels)
    assert np.any(generate_scenes(12, 32, seed=4).images != archive.images)


def test_scenes_are_multi_label_correlated_and_imbalanced() -> None:
    labels = generate_scenes(600).labels.astype(float)
    share = dict(zip(CLASS_NAMES, labels.mean(0), strict=True))
    assert (labels.sum(1) >= 1).all()
    assert (labels.sum(1) >= 3).mean() > 0.05
    assert all(0.01 < share[name] < 0.12 for name in ("boats", "tanks", "court"))
    assert all(share[name] > 0.15 for name in ("field", "grass", "trees", "water"))
    assert np.corrcoef(labels.T)[CLASS_NAMES.index("cars"), CLASS_NAMES.index("pavement")] > 0.4


@pytest.mark.parametrize(("tiles", "size"), [(0, 32), (5, 15)])
def test_impossible_scenes_are_refused(tiles: int, size: int) -> None:
    with pytest.raises(InputError, match="at least"):
        generate_scenes(tiles, size)
