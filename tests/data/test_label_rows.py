"""Tables that differ from label files: additions of spreadsheets are ignored, all others get the right message."""

from pathlib import Path

import pytest

from aljax.data.labels import read_csv
from aljax.errors import InputError, InputWarning


def write(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "a.tif,1,0\nb.tif,0,1\n",
        "a,1,0\nb,0,1\n",
        "a,1,0,1,1\nb,0,1,1,1\n",
        "a,test,1,0\nb,pool,0,1\n",
        "a.tif,trees;water\nb.tif,road\n",
        "id,1,1\na,0,1\n",
    ],
)
def test_first_row_of_a_file_without_a_header_is_no_header(text: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"labels\.csv, row 1: '.*' looks like the row of a tile: write a header above"
    ):
        read_csv(write(tmp_path, text))


@pytest.mark.parametrize("header", ["id,0,1", "image,1,0", "id,0", "tile7,0,1,2"])
def test_classes_may_be_called_by_numbers(header: str, tmp_path: Path) -> None:
    cells = ",1" * header.count(",")
    assert read_csv(write(tmp_path, f"{header}\na{cells}\n")).class_names == tuple(header.split(",")[1:])


def test_table_with_a_row_for_each_label_loses_none(tmp_path: Path) -> None:
    for header in ("id,label", "id,labels"):
        with pytest.raises(
            InputError, match="row 3: tile a is there already in row 2 with another label: give a tile one"
        ):
            read_csv(write(tmp_path, f"{header}\na,trees\na,water\nb,road\n"))


def test_row_that_is_there_twice_can_be_removed_and_another_is_to_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tile a is there already in row 2: remove one"):
        read_csv(write(tmp_path, "id,split,trees\na,test,1\na,test,1\n"))
    with pytest.raises(
        InputError, match="tile a is there already in row 2 with other cells: keep the one that is right"
    ):
        read_csv(write(tmp_path, "id,split,trees\na,test,1\na,test,0\n"))


def test_empty_columns_of_a_spreadsheet_are_not_there(tmp_path: Path) -> None:
    for text in ("id,trees,water,,\na,1,0,,\nb,0,1,,\n,,,,\n", "id,trees,water\na,1,0,,\nb,0,1\n"):
        table = read_csv(write(tmp_path, text))
        assert table.class_names == ("trees", "water")
        assert table.labels.tolist() == [[1, 0], [0, 1]]
    with pytest.raises(InputError, match="column 4 has no name: name it its class, or empty it"):
        read_csv(write(tmp_path, "id,trees,water,,\na,1,0,1,\n"))


@pytest.mark.parametrize("column", ["label", "tags", "Labels", "classes"])
def test_list_in_a_column_of_another_name_is_reported_the_name(column: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"column {column}: label 'trees;water' .*, call it 'labels'"):
        read_csv(write(tmp_path, f"id,{column}\na,trees;water\n"))


def test_list_beside_other_columns_is_reported_which_to_leave_out(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="beside a column 'labels' that lists classes can be split alone: leave out date"
    ):
        read_csv(write(tmp_path, "id,date,split,labels\na,2020,pool,trees;water\n"))
    with pytest.raises(InputError, match="row 2: 3 fields instead of 2: put quotes around the list"):
        read_csv(write(tmp_path, "id,labels\na,trees,water\n"))


def test_split_in_a_column_of_another_name_is_reported_the_name(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"column Split: label 'train' .*: call the column 'split' if it says what a tile"
    ):
        read_csv(write(tmp_path, "id,trees,Split\na,1,train\n"))


@pytest.mark.parametrize("column", ["fold", "is_test", "Validation", "subset"])
def test_column_that_is_no_class_is_asked_about(column: str, tmp_path: Path) -> None:
    with pytest.warns(InputWarning, match=f"the column '{column}' counts as a class: if it says what a tile is for"):
        assert read_csv(write(tmp_path, f"id,trees,{column}\na,1,0\n")).class_names == ("trees", column)


def test_spreadsheet_is_to_be_saved_as_csv(tmp_path: Path) -> None:
    (tmp_path / "labels.xlsx").write_bytes(b"PK\3\4\x14\0\x06\0\x08\0")
    with pytest.raises(
        InputError, match=r"labels\.xlsx is a spreadsheet or a zip and no CSV file: save its table as CSV"
    ):
        read_csv(tmp_path / "labels.xlsx")
