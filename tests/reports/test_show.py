"""aljax show: the right tiles in the right colours with the right counts, for every kind of archive."""

import re
from pathlib import Path

import numpy as np
import pytest
from archives_on_disk import write_treesatai, write_ucmerced
from PIL import Image
from run_command import run
from tiles_on_disk import pixels, write_geotiff, write_png
from tiny import make_archive

from aljax.commands import prepare, show
from aljax.data.archive import Archive, Split
from aljax.data.archives import ucmerced
from aljax.data.archives.open import open_archive
from aljax.data.archives.treesatai import BANDS
from aljax.errors import InputError
from aljax.reports import contact_sheet as sheet
from aljax.reports.contact_sheet import class_table, contact_sheet, stretch


@pytest.fixture(scope="module")
def treesatai_dir(tmp_path_factory) -> Path:
    return write_treesatai(tmp_path_factory.mktemp("treesatai"))


@pytest.fixture
def ucmerced_files(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(ucmerced, "SPLIT_SIZES", (2, 1))
    return write_ucmerced(tmp_path / "ucmerced")


@pytest.fixture
def own_dir(tmp_path: Path) -> Path:
    for number, name in enumerate(("Straße 1", "b/$x$ und y", "line\nbreak", "d")):
        write_png(tmp_path / "own" / f"{name}.png", pixels(3, seed=number))
    return tmp_path / "own"


def counts(text: str) -> dict[str, list[str]]:
    """Cells of the printed table by their row's name."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) > 1}


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_ucmerced_is_shown_with_the_classes_of_each_set(ucmerced_files, tmp_path, monkeypatch, capsys) -> None:
    out = tmp_path / "sheet.png"
    assert run(monkeypatch, show.main, "--images", ucmerced_files, "--out", out) == 0
    text = capsys.readouterr().out
    archive = open_archive(ucmerced_files, 32)
    assert archive.split is not None
    assert text.splitlines()[0].split() == ["tiles", "pool", "validation", "test"]
    found = counts(text)
    assert found["tiles"] == ["6", "3", "2", "1"]
    for index, name in enumerate(archive.class_names):
        expected = [archive.labels[:, index].sum(), *(archive.labels[part, index].sum() for part in archive.split)]
        assert found[name] == list(map(str, expected))
    frequencies = [int(found[line.split()[0]][0]) for line in text.splitlines()[1:18]]
    assert frequencies == sorted(frequencies, reverse=True)
    assert text.splitlines()[-1] == f"sheet: {out}"
    assert picture(out).std() > 20


def test_treesatai_is_shown_in_false_colour_with_its_published_split(
    treesatai_dir, tmp_path, monkeypatch, capsys
) -> None:
    seen = []
    monkeypatch.setattr(show, "contact_sheet", lambda *arguments: seen.append(arguments))
    assert run(monkeypatch, show.main, "--images", treesatai_dir, "--out", tmp_path / "sheet.png") == 0
    ((_, archive, tiles, bands),) = seen
    assert [BANDS[band] for band in bands] == ["IR", "R", "G"]
    assert sorted(tiles.tolist()) == list(range(24))
    found = counts(capsys.readouterr().out)
    assert found["tiles"] == ["24", "16", "2", "6"]
    assert found["Fagus"][0] == str(archive.labels[:, archive.class_names.index("Fagus")].sum())


def test_prepared_archive_is_shown_like_its_files(ucmerced_files, treesatai_dir, tmp_path, monkeypatch, capsys) -> None:
    for name, files in (("ucmerced", ucmerced_files), ("treesatai", treesatai_dir)):
        prepare.prepare(name, tmp_path / name / "data", files)
        capsys.readouterr()
        shown = []
        for folder in (files, tmp_path / name / "data"):
            out = tmp_path / "sheet.png"
            assert run(monkeypatch, show.main, "--images", folder, "--out", out, "--tiles", 3) == 0
            shown.append((capsys.readouterr().out, out.read_bytes()))
        assert shown[0] == shown[1]


def test_own_tiles_are_shown_with_and_without_labels(own_dir, tmp_path, monkeypatch, capsys) -> None:
    arguments = ["--images", own_dir, "--out", tmp_path / "sheet.png"]
    assert run(monkeypatch, show.main, *arguments) == 0
    assert counts(capsys.readouterr().out)["labelled tiles"] == ["0"]
    assert picture(tmp_path / "sheet.png").std() > 20
    (tmp_path / "labels.csv").write_text("id|labels\nd|Wald;Straße\nStraße 1|Wald\n".replace("|", ","))
    assert run(monkeypatch, show.main, *arguments, "--labels", tmp_path / "labels.csv") == 0
    found = counts(capsys.readouterr().out)
    assert found == {
        "Wald": ["2"],
        "Straße": ["1"],
        "tiles": ["4"],
        "labelled tiles": ["2"],
        "labels per labelled tile": ["1.50"],
    }


@pytest.mark.parametrize("bands", [2, 1, 5])
def test_tiles_of_any_number_of_bands_are_shown(bands: int, tmp_path, monkeypatch) -> None:
    for number in range(3):
        write_geotiff(tmp_path / "own" / f"{number}.tif", pixels(bands, "uint16", seed=number))
    assert run(monkeypatch, show.main, "--images", tmp_path / "own", "--out", tmp_path / "sheet.png") == 0
    colours = picture(tmp_path / "sheet.png").astype(int)
    assert (colours.max(-1) == colours.min(-1)).all() == (bands < 3)


def test_a_label_and_a_number_choose_the_tiles() -> None:
    archive = make_archive(60)
    settings = show.ShowSettings(Path(), label="class1", tiles=10)
    tiles = show.choose_tiles(settings, archive)
    assert len(set(tiles.tolist())) == 10
    assert archive.labels[tiles, 1].all()
    np.testing.assert_array_equal(tiles, show.choose_tiles(settings, archive))
    assert len(show.choose_tiles(show.ShowSettings(Path(), tiles=100), archive)) == 60


def test_bands_become_red_green_and_blue_in_the_order_given(tmp_path: Path) -> None:
    tiles = np.zeros((1, 8, 8, 4), np.uint8)
    tiles[0, :, :4, 3] = 200  # the left half in the fourth band alone
    archive = Archive("a", tiles, np.zeros((1, 0), np.uint8), ("t",), ())
    for bands, colour in (((3, 0, 1), (255, 0, 0)), ((0, 3, 1), (0, 255, 0)), ((3,), (255, 255, 255))):
        contact_sheet(tmp_path / "sheet.png", archive, np.array([0]), bands)
        image = picture(tmp_path / "sheet.png")
        middle = image[image.shape[0] * 3 // 5]
        assert tuple(middle[image.shape[1] // 4]) == colour
        assert tuple(middle[image.shape[1] * 3 // 4]) == (0, 0, 0)


def test_stretch_is_per_band_and_a_constant_band_stays_dark() -> None:
    pictures = np.zeros((2, 10, 10, 2), np.uint16)
    pictures[..., 0] = np.arange(200).reshape(2, 10, 10) * 100
    stretched = stretch(pictures)
    assert (stretched[..., 0].min(), stretched[..., 0].max()) == (0.0, 1.0)
    assert not stretched[..., 1].any()
    assert stretched[0, 5, 0, 0] == pytest.approx((50 - 1.99) / (197.01 - 1.99))


def test_bands_in_small_units_are_stretched_too() -> None:
    pictures = np.linspace(0.0, 1e-8, 200, dtype=np.float32).reshape(2, 10, 10, 1)
    assert (stretch(pictures).min(), stretch(pictures).max()) == (0.0, 1.0)


def test_caption_keeps_the_end_of_a_long_name_and_tells_that_labels_are_left_out() -> None:
    names = tuple(f"a class with a long name {index}" for index in range(9))
    labels = np.ones((3, 9), np.uint8)
    labels[1:] = 0
    ids = ("folder/" * 20 + "tile_0042.tif", "short\n", "middling_name_of_" + "x" * 20)
    archive = Archive("a", np.zeros((3, 4, 4, 3), np.uint8), labels, ids, names, labelled=np.array([True, True, False]))
    first, second, third = (
        sheet._caption(archive, index, labelled).splitlines() for index, labelled in enumerate((True, True, False))
    )
    assert "".join(first[:2]).endswith("folder/tile_0042.tif")
    assert first[-1].endswith(" ...")
    assert second == ["short\\n", "no class"]
    assert ("".join(third[:2]), third[2]) == (ids[2], "not labelled")
    assert max(len(line) for caption in (first, second, third) for line in caption) <= sheet.CHARACTERS_PER_LINE


def test_tile_to_skip_counts_as_not_labelled() -> None:
    archive = make_archive(4)
    split = Split(np.array([0]), np.array([1]), np.array([3]))
    skipping = Archive("a", archive.images, archive.labels, archive.ids, archive.class_names, split=split)
    counts = next(line for line in class_table(skipping).splitlines() if line.startswith("labelled tiles"))
    assert counts.split() == ["labelled", "tiles", "3", "1", "1", "1"]
    assert sheet._has_labels(skipping).tolist() == [True, True, False, True]


def test_class_table_stays_aligned_whatever_the_names() -> None:
    archive = make_archive(5)
    named = Archive("a", archive.images, archive.labels, archive.ids, ("x" * 40, "line\nbreak", "ü"))
    assert len({len(line) for line in class_table(named).splitlines()}) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tiles", "0"], "--tiles is 0: it must be from 1 to 600"),
        (["--tiles", "9999"], "--tiles is 9999: it must be from 1 to 600"),
        (["--image-size", "0"], "--image-size is 0: it must be from 1 to 512"),
        (["--seed", "-1"], "--seed is -1: it must be from 0"),
        (["--label", "Ginkgo"], r"--label Ginkgo is not a class of treesatai \(Abies, .*Tilia\): name one"),
        (["--label", "Tilia"], "no tile of treesatai has the label Tilia: name another --label"),
        (["--bands", "4,1"], "--bands is '4,1': give one or three numbers from 1 to 4"),
        (["--bands", "0,1,2"], "--bands is '0,1,2': give one or three numbers from 1 to 4"),
        (["--bands", "1,2,5"], "--bands is '1,2,5': give one or three numbers from 1 to 4"),
        (["--bands", "red"], "--bands is 'red': give numbers between commas"),
        (["--images", "nowhere"], "nowhere is not a folder"),
        (["--out", "nowhere/sheet.png"], "--out nowhere/sheet.png is in a folder that is not there: make it"),
        (["--out", "."], "--out . is a folder: name a file in it"),
        (["--labels", "nowhere.csv"], "nowhere.csv is not readable"),
    ],
)
def test_bad_setting_is_one_line_and_status_2(arguments, message, treesatai_dir, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, show.main, "--images", treesatai_dir, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"error: {message}", line)
    assert not list(tmp_path.iterdir())


def test_sheet_that_cannot_be_written_leaves_nothing_behind(treesatai_dir, tmp_path, monkeypatch, capsys) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert run(monkeypatch, show.main, "--images", treesatai_dir, "--out", tmp_path / "sheet.png") == 2
    assert re.match(r"error: cannot write --out .*sheet.png \(No space left on device\)", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_folder_with_both_archives_is_refused_and_others_are_reported_by_what_they_hold(
    ucmerced_files, treesatai_dir, own_dir
) -> None:
    assert open_archive(ucmerced_files, 32).name == "ucmerced"
    assert open_archive(treesatai_dir, 32).name == "treesatai"
    (own_dir / "Images").mkdir()
    (own_dir / "treesatai").mkdir()
    assert open_archive(own_dir, 32).name == "own"
    (ucmerced_files / "test_filenames.lst").write_text("a.tif\n")
    with pytest.raises(InputError, match="holds both UC Merced and TreeSatAI: keep each in a folder of its own"):
        open_archive(ucmerced_files, 32)


def test_help_explains_every_setting(monkeypatch, capsys) -> None:
    assert run(monkeypatch, show.main, "--help") == 0
    text = re.sub(r"[│╭╮╰╯─\s]+", " ", capsys.readouterr().out)
    flags = ("--images", "--labels", "--label-separator", "--out", "--tiles", "--label", "--bands")
    for flag in (*flags, "--image-size", "--seed"):
        assert re.search(rf"{flag}\b[^()]*\w+ \w+ \w+[^()]*(\(required\)|\(default: )", text)
