"""Lists of classes with another separator than was said, and cells that are no lists, make no classes in silence."""

import itertools
import warnings
from collections.abc import Iterable
from pathlib import Path

import pytest

from aljax.data.labels import read_csv
from aljax.errors import InputError, InputWarning

CLASSES = ("trees", "water", "road", "bare soil")
SUBSETS = [chosen for count in (1, 2, 3) for chosen in itertools.combinations(CLASSES[:3], count)]


def write(folder: Path, cells: Iterable[str]) -> Path:
    path = folder / "labels.csv"
    path.write_text("id,labels\n" + "".join(f'tile{number},"{cell}"\n' for number, cell in enumerate(cells)))
    return path


@pytest.mark.parametrize("separator", ["#", "|", " ", "/", "+", "&", ":", ",", "-", "_", " / ", "||"])
def test_other_separator_is_refused_and_named_rather_than_made_classes_of(separator: str, tmp_path: Path) -> None:
    path = write(tmp_path, map(separator.join, SUBSETS))
    sign = separator.strip() or separator
    with pytest.raises(InputError, match="would be named 'trees") as caught:
        read_csv(path)
    assert f"--label-separator {sign!r}" in str(caught.value)
    assert str(caught.value).startswith(f"{path}, row ")
    table = read_csv(path, sign)
    assert table.class_names == ("road", "trees", "water")
    assert table.labels.sum() == sum(map(len, SUBSETS))


@pytest.mark.parametrize("separator", ["#", "|", " ", "/", "+", "&"])
def test_lists_in_which_no_class_stands_alone_are_refused_too(separator: str, tmp_path: Path) -> None:
    pairs = list(itertools.combinations(("crops", "road", "trees", "water"), 2))
    with pytest.raises(InputError, match="give --label-separator"):
        read_csv(write(tmp_path, map(separator.join, pairs)))


@pytest.mark.parametrize("cell", ["trees|water", "trees#water", "trees,water"])
def test_sign_that_is_in_no_name_is_refused_where_it_comes_once(cell: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 2: a class would be named 'trees.water': give --label-separator '.'"):
        read_csv(write(tmp_path, [cell, "road", "sand"]))


@pytest.mark.parametrize("cell", ["trees/water", "trees & water", "trees+water", "trees: water"])
def test_sign_that_may_be_in_a_name_is_reported(cell: str, tmp_path: Path) -> None:
    with pytest.warns(InputWarning, match=r"row 2: 'trees.*' counts as one class: .* give --label-separator '.'"):
        assert cell in read_csv(write(tmp_path, [cell, "road", "sand"])).class_names


def test_cell_with_another_separator_among_right_ones_is_reported(tmp_path: Path) -> None:
    with pytest.warns(
        InputWarning, match="row 4: 'road/trees' counts as one class: if it is several, write ';' between"
    ):
        read_csv(write(tmp_path, ["trees;water", "road", "road/trees"]))
    with pytest.raises(InputError, match=r"row 4: a class would be named 'road\|trees'"):
        read_csv(write(tmp_path, ["trees;water", "road", "road|trees"]))


@pytest.mark.parametrize(
    "cells",
    [
        ["dense forest", "sparse forest", "dense shrub", "sparse shrub", "river"],
        ["dense residential", "medium residential", "sparse residential", "storage tanks", "river"],
        ["bare-soil;mobile-home", "trees", "bare-soil"],
        ["sand & gravel;trees", "sand & gravel", "grass/herbs"],
        ["Moors, heathland and sclerophyllous vegetation;Pastures", "Beaches, dunes, sands", "Pastures"],
        ["0;3", "3;17", "1"],
    ],
)
def test_names_of_several_words_are_classes_without_a_word(cells: list[str], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read_csv(write(tmp_path, cells))
    assert table.class_names == tuple(sorted({name for cell in cells for name in cell.split(";")}))


@pytest.mark.parametrize(
    "cells",
    [
        ["1;0;1;1", "0;0;1;0"],
        ["1 0 1 1", "0 0 1 0"],
        ["[1, 0, 1]", "[0, 0, 1]"],
        ["1.0;0.0", "0.0;0.0"],
        ["True;False", "False;False"],
        ["1011", "0010"],
        ["1", "0"],
    ],
)
def test_vectors_name_no_classes(cells: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 2: '.*' names no classes: give 'id,CLASS,CLASS,...' with cells 0 or 1"):
        read_csv(write(tmp_path, cells))
