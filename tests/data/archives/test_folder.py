"""A user's own archive: ids find their tiles, labels their rows, and whatever does not fit is named."""

import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from run_command import run
from tiles_on_disk import jpeg_of_inks, pixels, write_geotiff, write_png

from aljax.commands import run as experiment
from aljax.data.archive import Archive
from aljax.data.archives.folder import open_folder
from aljax.data.tiles import files
from aljax.errors import InputError, InputWarning


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six tiles in nested folders and three classes."""
    for number, name in enumerate(["a/one", "a/two", "b/three", "b/c/four", "five", "six"]):
        write_geotiff(tmp_path / "tiles" / f"{name}.tif", pixels(4, seed=number))
    return tmp_path


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return path


def columns(*ids: str) -> str:
    cells = ("1,0,0", "0,1,0", "0,0,1", "1,1,0", "0,1,1", "1,1,1")
    return "id,tree,water,road\n" + "".join(f"{tile},{row}\n" for tile, row in zip(ids, cells, strict=False))


ALL = columns("a/one", "a/two", "b/three", "b/c/four", "five", "six")


def labels_by_id(archive: Archive) -> dict[str, list[int]]:
    return dict(zip(archive.ids, archive.labels.tolist(), strict=True))


@pytest.mark.parametrize(
    "ids",
    [
        ["a/one.tif", "a/two.tif", "b/three.tif", "b/c/four.tif", "five.tif", "six.tif"],
        ["a/one", "a/two", "b/three", "b/c/four", "five", "six"],
        ["one.tif", "two.tif", "three.tif", "four.tif", "five.tif", "six.tif"],
        ["one", "two", "three", "four", "five", "six"],
    ],
)
def test_id_is_a_path_or_a_unique_name_with_or_without_suffix(folder: Path, ids: list[str]) -> None:
    archive = open_folder(folder / "tiles", write(folder, columns(*ids)), 16)
    assert labels_by_id(archive)[ids[3]] == [1, 1, 0]
    assert archive.labelled is None
    assert archive.class_names == ("tree", "water", "road")
    for number, tile in enumerate(ids):
        np.testing.assert_array_equal(archive.images[archive.ids.index(tile)], pixels(4, seed=number))


@pytest.mark.parametrize(
    "text",
    [
        "id,labels\none,tree;road\ntwo,\nthree,water\nfour,tree\nfive, road ; tree \nsix,water\n",
        '\ufeffid;labels\none;"tree;road"\ntwo;\nthree;water\nfour;tree\nfive;"road;tree"\nsix;water\n',
        "id\tlabels\none\ttree;road\ntwo\t\n\nthree\twater\nfour\ttree\nfive\troad;tree\nsix\twater\n",
    ],
)
def test_lists_of_class_names_with_any_delimiter(folder: Path, text: str) -> None:
    archive = open_folder(folder / "tiles", write(folder, text), 16)
    assert archive.class_names == ("road", "tree", "water")
    assert labels_by_id(archive) == {
        "one": [1, 1, 0],
        "two": [0, 0, 0],
        "three": [0, 0, 1],
        "four": [0, 1, 0],
        "five": [1, 1, 0],
        "six": [0, 0, 1],
    }


def test_other_separator_between_class_names(folder: Path) -> None:
    text = "id,labels\none,tree|road\ntwo,road\nthree,tree\nfour,tree\nfive,road\nsix,tree\n"
    archive = open_folder(folder / "tiles", write(folder, text), 16, separator="|")
    assert labels_by_id(archive)["one"] == [1, 1]


def test_tiles_without_a_row_are_known_to_have_no_labels(folder: Path) -> None:
    archive = open_folder(folder / "tiles", write(folder, "id,tree,water\none,1,0\nfour,0,1\n"), 16)
    assert archive.labelled is not None
    known = dict(zip(archive.ids, archive.labelled.tolist(), strict=True))
    assert known == {"one": True, "a/two.tif": False, "b/three.tif": False, "four": True} | {
        "five.tif": False,
        "six.tif": False,
    }
    assert labels_by_id(archive)["four"] == [0, 1]


def test_folder_without_labels_is_an_archive_without_classes(folder: Path) -> None:
    archive = open_folder(folder / "tiles", None, 8)
    assert archive.images.shape == (6, 8, 8, 4)
    assert (archive.class_names, archive.labels.shape) == ((), (6, 0))
    assert archive.labelled is not None
    assert not archive.labelled.any()


def test_column_split_is_the_split(folder: Path) -> None:
    parts = ["train", "val", "test", "pool", "validation", "test"]
    rows = [
        f"{tile},1,{part}" for tile, part in zip(["one", "two", "three", "four", "five", "six"], parts, strict=True)
    ]
    archive = open_folder(folder / "tiles", write(folder, "\n".join(["id,tree,split", *rows])), 16)
    assert archive.class_names == ("tree",)
    assert archive.split is not None
    names = [{archive.ids[index] for index in part} for part in archive.split]
    assert names == [{"one", "four"}, {"two", "five"}, {"three", "six"}]


def test_names_with_spaces_umlauts_and_line_breaks(tmp_path: Path) -> None:
    names = ["Grünfläche 7", unicodedata.normalize("NFD", "Höhe"), "two\nlines", 'with "quotes", and comma']
    for number, name in enumerate(names):
        write_png(tmp_path / "tiles" / f"{name}.png", pixels(3, seed=number))
    text = 'id,tree\nGrünfläche 7,1\nHöhe,0\n"two\nlines",1\n"with ""quotes"", and comma",0\n'
    archive = open_folder(tmp_path / "tiles", write(tmp_path, text), 16)
    assert labels_by_id(archive) == {"Grünfläche 7": [1], "Höhe": [0], "two\nlines": [1], names[3]: [0]}
    (tmp_path / "tiles" / "two\nlines.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"two\\nlines\.png is empty") as caught:
        open_folder(tmp_path / "tiles", None, 16)
    assert "\n" not in str(caught.value)


def test_link_out_of_the_folder_is_left_out_with_a_warning_and_one_inside_is_followed(folder: Path) -> None:
    outside = write_geotiff(folder / "elsewhere" / "secret.tif", pixels(4))
    (folder / "tiles" / "link.tif").symlink_to(outside)
    (folder / "tiles" / "inside.tif").symlink_to(folder / "tiles" / "five.tif")
    (folder / "tiles" / "loop").symlink_to(folder / "tiles", target_is_directory=True)
    (folder / "tiles" / "other").symlink_to(folder / "elsewhere", target_is_directory=True)
    copies = pytest.warns(InputWarning, match=r"1 tiles are copies of others, .*inside\.tif of .*five\.tif")
    with copies, pytest.warns(InputWarning, match=r"3 symbolic links lead out of .* or to folders and are left out"):
        archive = open_folder(folder / "tiles", None, 16)
    assert archive.ids == ("a/one.tif", "a/two.tif", "b/c/four.tif", "b/three.tif", "five.tif", "inside.tif", "six.tif")


def test_class_without_a_tile_is_a_warning(folder: Path) -> None:
    text = ALL.replace("road", "road,glacier").replace("\n", ",0\n").replace("glacier,0", "glacier")
    with pytest.warns(InputWarning, match="no tile has the class glacier"):
        archive = open_folder(folder / "tiles", write(folder, text), 16)
    assert archive.class_names[-1] == "glacier"


def test_files_that_lie_beside_tiles_are_no_tiles(folder: Path) -> None:
    for name in ("one.tfw", "one.tif.aux.xml", "notes.txt", ".DS_Store", "Thumbs.db", "README"):
        (folder / "tiles" / "a" / name).write_text("")
    assert open_folder(folder / "tiles", None, 16).images.shape[0] == 6


def test_changed_tile_or_label_changes_the_fingerprint(folder: Path) -> None:
    labels = write(folder, ALL)
    first = open_folder(folder / "tiles", labels, 16).fingerprint()
    assert open_folder(folder / "tiles", labels, 16).fingerprint() == first
    write(folder, ALL.replace("six,1", "six,0"))
    second = open_folder(folder / "tiles", labels, 16).fingerprint()
    write(folder, ALL)
    write_geotiff(folder / "tiles" / "five.tif", pixels(4, seed=77))
    assert len({first, second, open_folder(folder / "tiles", labels, 16).fingerprint()}) == 3


def spoil(name: str, content: bytes):
    return lambda d: (d / "tiles" / name).write_bytes(content)


def relabel(text: str, encoding: str = "utf-8"):
    return lambda d: write(d, text, encoding)


BROKEN = {
    "no folder": (lambda d: (d / "tiles").rename(d / "other"), "tiles is not a folder"),
    "file as folder": (
        lambda d: ((d / "tiles").rename(d / "other"), (d / "tiles").write_text("")),
        "tiles is not a folder",
    ),
    "empty folder": (
        lambda d: ((d / "tiles").rename(d / "other"), (d / "tiles").mkdir()),
        "tiles holds no tiles",
    ),
    "zero bytes": (spoil("five.tif", b""), r"five\.tif is empty"),
    "text named tif": (spoil("five.tif", b"hello"), r"five\.tif is not a TIFF"),
    "truncated header": (spoil("five.tif", b"II*\0\x08"), r"five\.tif is not readable as an image"),
    "unknown extension": (
        spoil("five.jp2", b"x"),
        r"tiles has files of unknown extensions, \.jp2 \(1, as five\.jp2\): convert",
    ),
    "dangling link": (
        lambda d: (d / "tiles" / "b.tif").symlink_to(d / "tiles" / "nowhere.tif"),
        r"b\.tif is not readable \(No such file",
    ),
    "other band count": (
        lambda d: write_geotiff(d / "tiles/five.tif", pixels(3)),
        r"one\.tif has 4 bands of uint8, but .*five\.tif has 3 bands of uint8",
    ),
    "other type": (
        lambda d: write_geotiff(d / "tiles/five.tif", pixels(4, "uint16")),
        r"one\.tif has 4 bands of uint8, but .*five\.tif has 4 bands of uint16",
    ),
    "type nobody expects": (
        lambda d: write_geotiff(d / "tiles/five.tif", pixels(4, "int32")),
        r"five\.tif is of type int32",
    ),
    "no label file": (lambda d: (d / "labels.csv").unlink(), r"labels\.csv is not readable \(No such file"),
    "label file is a folder": (
        lambda d: ((d / "labels.csv").unlink(), (d / "labels.csv").mkdir()),
        r"labels\.csv is not readable \(Is a directory",
    ),
    "empty label file": (relabel(""), r"labels\.csv is empty"),
    "header alone": (relabel("id,tree\n"), r"labels\.csv names no tiles"),
    "no classes": (relabel("id,split\none,test\n"), "names no classes"),
    "one column": (relabel("id\none\n"), "row 1: one column only"),
    "latin-1": (relabel("id,bäume\none,1\n", "latin-1"), "is not UTF-8 text"),
    "binary label file": (relabel("id,tree\none,\x00\n"), "is not readable as CSV|neither 0 nor 1"),
    "open quote": (relabel('id,tree\n"one,1\n'), "is not readable as CSV"),
    "duplicate id": (relabel(ALL + "five,0,0,0\n"), "row 8: tile five is there already in row 6"),
    "id of the same tile": (relabel(ALL + "five.tif,0,0,0\n"), r"the ids five and five\.tif both name"),
    "id without a tile": (relabel(ALL + "seven,0,0,0\n"), r"labels\.csv, row 8: 1 ids have no tile in \S+ \(seven\)"),
    "lists with commas": (
        lambda d: write(d, 'id,labels\none,"tree, water"\n'),
        "would be named 'tree, water': give --label",
    ),
    "lists of Python": (lambda d: write(d, "id,labels\none,['tree']\n"), "give --label-separator, or write"),
    "index of pandas": (relabel(",id,tree\n0,one,1\n"), "column 1 has no name: name it 'id'"),
    "empty id": (relabel(ALL + ",0,0,0\n"), "row 8: the id is empty"),
    "ambiguous id": (
        lambda d: write_geotiff(d / "tiles/z/one.tif", pixels(4)) and write(d, "id,tree\none,1\n"),
        r"the id one may be .*a/one\.tif or .*z/one\.tif",
    ),
    "label 2": (relabel(ALL.replace("one,1", "one,2")), "row 2, column tree: label '2' is neither 0 nor 1"),
    "label yes": (relabel(ALL.replace("one,1", "one,yes")), "row 2, column tree: label 'yes' is neither"),
    "label minus one": (relabel(ALL.replace("one,1", "one,-1")), "label '-1' is neither 0 nor 1"),
    "missing field": (relabel(ALL.replace("one,1,", "one,")), "row 2: 3 fields instead of 4"),
    "field too many": (relabel(ALL.replace("one,1", "one,1,1")), "row 2: 5 fields instead of 4"),
    "class twice": (relabel(ALL.replace("water", "tree")), "the column 'tree' is there twice"),
    "class without name": (relabel(ALL.replace("water", " ")), "column 3 has no name"),
    "unknown part": (relabel("id,tree,split\none,1,dev\n"), "row 2: split 'dev' is not one of"),
    "part without tiles": (relabel("id,tree,split\none,1,test\ntwo,1,pool\n"), "gives no tile to validation"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_bad_input_is_one_line_with_its_place_and_status_2(folder: Path, kind: str, monkeypatch, capfd) -> None:
    write(folder, ALL)
    damage, message = BROKEN[kind]
    damage(folder)
    run_dir = folder / "run"
    arguments = ["--images", folder / "tiles", "--labels", folder / "labels.csv", "--run-dir", run_dir]
    assert run(monkeypatch, experiment.main, *arguments) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert not run_dir.exists()


def test_folder_that_may_not_be_read_is_named(folder: Path, monkeypatch) -> None:
    scan = os.scandir

    def scandir(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=r"tiles/b is not readable \(Permission denied\)"):
        open_folder(folder / "tiles", None, 16)


def test_tile_that_breaks_or_goes_after_opening_is_named(folder: Path) -> None:
    archive = open_folder(folder / "tiles", None, 16)
    whole = (folder / "tiles" / "five.tif").read_bytes()
    (folder / "tiles" / "five.tif").write_bytes(whole[:-500])
    (folder / "tiles" / "six.tif").unlink()
    write_geotiff(folder / "tiles" / "a" / "one.tif", pixels(3))
    for index, message in ((4, r"five\.tif is not readable"), (5, r"six\.tif is not readable \(No such file")):
        with pytest.raises(InputError, match=message):
            archive.images[index]
    with pytest.raises(InputError, match=r"one\.tif has 3 bands of uint8 where the archive has 4 bands of uint8"):
        archive.images[0]


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("id,tree\none,1\n", [], r"5 of 6 tiles have no labels in .*labels\.csv, as a/two\.tif"),
        (ALL, ["--test-share", "1.5"], r"--test-share is 1\.5: it is a fraction"),
        (ALL, ["--validation-share", "0"], r"--validation-share is 0\.0: it is a fraction"),
        (ALL, ["--validation-share", "0.6", "--test-share", "0.6"], "6 tiles cannot give 4"),
    ],
)
def test_simulated_run_needs_labels_for_all_and_a_split(folder, text, arguments, message, monkeypatch, capsys) -> None:
    labels = write(folder, text)
    run_dir = folder / "run"
    status = run(
        monkeypatch, experiment.main, "--images", folder / "tiles", "--labels", labels, "--run-dir", run_dir, *arguments
    )
    assert status == 2
    assert re.search(message, capsys.readouterr().err)
    assert not run_dir.exists()


def test_hidden_folders_hold_no_tiles(folder: Path) -> None:
    write_geotiff(folder / "tiles" / ".ipynb_checkpoints" / "one-checkpoint.tif", pixels(4))
    assert len(open_folder(folder / "tiles", None, 16).ids) == 6


@pytest.mark.parametrize("name", ["five.tif.msk", "five.tif.aux.xml"])
def test_mask_beside_a_tile_is_warned_of(folder: Path, name: str) -> None:
    (folder / "tiles" / "six.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    (folder / "tiles" / name).write_text("<NoDataValue>0</NoDataValue>")
    with pytest.warns(InputWarning, match=rf"1 files say which pixels of a tile have no data, as .*{name}"):
        open_folder(folder / "tiles", None, 16)


@pytest.mark.parametrize(
    "text",
    [
        'id;"tree, low, high"\nfive;1\n',
        '\n\nid;"tree, low, high"\nfive;1\n',
        'sep=;\nid;"tree, low, high"\nfive;1\n',
        'id;"tree, low, high"\nfive ;1\n',
    ],
)
def test_label_files_of_spreadsheets_are_read(folder: Path, text: str) -> None:
    archive = open_folder(folder / "tiles", write(folder, text), 16)
    assert archive.class_names == ("tree, low, high",)
    assert archive.labels[archive.labelled].tolist() == [[1]]


def test_empty_separator_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="--label-separator is empty"):
        open_folder(folder / "tiles", write(folder, ALL), 16, separator="")


def test_folder_of_inks_and_colours_is_warned_of(tmp_path: Path) -> None:
    for seed, name in enumerate(("a.jpg", "b.jpg")):
        jpeg_of_inks(tmp_path / name, pixels(3, seed=seed), "CMYK")
    assert open_folder(tmp_path, None, 16).images.shape == (2, 16, 16, 3)
    write_png(tmp_path / "c.jpg", pixels(3))
    with pytest.warns(InputWarning, match=r"a\.jpg is CMYK and \S+c\.jpg is not: both are read as red, green and blue"):
        open_folder(tmp_path, None, 16)


def test_file_that_would_fill_the_memory_is_not_read(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match=r"one\.tif has \d+ bytes, too many for a tile \(at most 1000\)"):
        open_folder(folder / "tiles", None, 16)
