"""UC Merced as it is downloaded: what is read, and what is refused."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from archives_on_disk import HEADER, UCMERCED_TILES, label_row, write_table, write_ucmerced, zip_ucmerced
from PIL import Image

from aljax.data.archive import Archive
from aljax.data.archives.ucmerced import open_ucmerced
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
