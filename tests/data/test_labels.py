"""Label files are read as they are meant, and those that are written can be read."""

import unicodedata
from pathlib import Path

import pytest
from tiles_on_disk import pixels, write_png

from aljax.arrays import UNKNOWN
from aljax.data.archive import random_split
from aljax.data.archives.folder import open_folder
from aljax.data.blanks import find_blanks
from aljax.data.labels import SKIPPED, read_csv, to_text
from aljax.errors import InputError, InputWarning


def write(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("remark", ["clouds", '"covered, by clouds"', "", "tree"])
def test_list_of_a_tile_to_skip_names_no_class(remark: str, tmp_path: Path) -> None:
    text = f"id,labels,split\na,tree;water,pool\nb,water,validation\nc,tree,test\nd,{remark},skip\n"
    table = read_csv(write(tmp_path, text))
    assert table.class_names == ("tree", "water")
    assert table.parts is not None
    assert table.parts[3] == SKIPPED
    assert table.labels.tolist() == [[1, 1], [0, 1], [1, 0], [0, 0]]


def test_class_is_one_however_its_umlaut_and_spaces_are_written(tmp_path: Path) -> None:
    other = unicodedata.normalize("NFD", "offenes Gewässer").replace(" ", "\N{NO-BREAK SPACE} ")
    lists = read_csv(write(tmp_path, f"id,labels\na,offenes Gewässer;Wald\nb, {other}\n"))
    assert lists.class_names == ("Wald", "offenes Gewässer")
    assert lists.labels.tolist() == [[1, 1], [0, 1]]
    with pytest.raises(InputError, match="the column 'offenes Gewässer' is there twice"):
        read_csv(write(tmp_path, f"id,offenes Gewässer,{other}\na,1,0\n"))


@pytest.mark.parametrize("name", ["bare; rock; sand", "a\tb\tc\td", "two\rlines", 'with "quotes", too', "two\nlines"])
def test_what_is_written_is_read_again(name: str, tmp_path: Path) -> None:
    table = read_csv(write(tmp_path, to_text(("id", name, "wood"), [("a", 1, 0), (f"{name}.tif", 0, 1)])))
    assert table.class_names == (" ".join(name.split()), "wood")
    assert table.ids == ("a", f"{name}.tif")
    assert table.labels.tolist() == [[1, 0], [0, 1]]


def test_cells_that_are_empty_or_a_question_mark_are_unknown(tmp_path: Path) -> None:
    path = write(tmp_path, "id,split,tree,water\na,pool,1,\nb,test,?, 0\nc,pool,,\nd,skip,,\ne,pool,0.0,1\n")
    with pytest.warns(
        InputWarning, match=r"csv: 1 cells of 1 tiles are empty .* unknown; 1 tiles have no labels, as c$"
    ):
        table = read_csv(path)
    assert table.labels.tolist() == [[1, UNKNOWN], [UNKNOWN, 0], [UNKNOWN, UNKNOWN], [0, 0], [0, 1]]
    assert find_blanks(path).rows == ((4, "c"),)


def test_tile_of_which_nothing_is_known_is_not_labelled_and_in_no_part(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        write_png(tmp_path / "tiles" / f"{name}.png", pixels(seed=number))
    table = read_csv(write(tmp_path, "id,split,tree,water\na,pool,1,?\nb,test,?,?\nc,test,0,1\n"))
    archive = open_folder(tmp_path / "tiles", table, 16)
    assert archive.labelled.tolist() == [True, False, True]
    assert [part.tolist() for part in archive.split] == [[0], [], [2]]


def test_plain_files_are_written_without_quotes() -> None:
    assert to_text(("id", "wood"), [("a b", 1)]) == "id,wood\na b,1\n"


def test_split_does_not_depend_on_how_a_system_writes_umlauts(tmp_path: Path) -> None:
    tests = []
    for form in ("NFC", "NFD"):
        for number, name in enumerate(["Ba", "Äc", "Bz", "Ö", "Zug", "a/Ähre", "a/Bach"]):
            path = tmp_path / form / f"{unicodedata.normalize(form, name)}.png"
            write_png(path, pixels(seed=number))
        archive = open_folder(tmp_path / form, None, 16)
        tests.append([archive.ids[index] for index in random_split(0, len(archive.ids), 2, 2).test])
    assert tests[0] == tests[1]


def test_two_tiles_of_one_name_are_refused(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        write_png(tmp_path / f"{unicodedata.normalize(form, 'Höhe')}.png", pixels())
    with pytest.raises(InputError, match=r"is there twice, its umlauts or accents written in two ways"):
        open_folder(tmp_path, None, 16)
