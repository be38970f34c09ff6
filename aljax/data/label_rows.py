"""The rows of a label file: read from CSV, with checks of the header, the ids and the split."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from aljax.data.tiles.images import IMAGE_SUFFIXES
from aljax.errors import InputError

DELIMITERS = ",;\t"
SPLIT_COLUMN, LIST_COLUMN = "split", "labels"
# Columns of a form that say why a tile was chosen; nothing is read from them.
REASON_COLUMNS = (
    "why: score",
    "why: rank",
    "why: cluster",
    "why: cluster size",
    "why: nearest labelled",
    "why: distance",
    "why: in doubt",
    "why: group",
)
NO_CLASSES = frozenset({SPLIT_COLUMN, *REASON_COLUMNS})
PARTS = {"pool": 0, "train": 0, "validation": 1, "val": 1, "test": 2, "skip": 3}
CELLS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}  # pandas writes the latter two for a column with blanks
OPEN = ("", "?")  # cells of classes of which nobody knows whether the tile has them
# Usual headers of a column of ids; another first cell may be the id of a tile, in a file without header.
ID_NAMES = frozenset({"id", "ids", "tile", "tile_id", "name", "file", "filename", "image", "image_id", "path"})
ZIP_SIGNATURE = b"PK\3\4"  # spreadsheets are zips

Rows = list[tuple[int, list[str]]]


def normal(name: str) -> str:
    """The name in Unicode's form NFC, for comparisons: systems write an umlaut as one character or as two."""
    return unicodedata.normalize("NFC", name)


def class_names_in(cells: Iterable[str]) -> list[str]:
    """Class names in NFC, without spaces around them and with single spaces within."""
    return [" ".join(normal(cell).split()) for cell in cells]


def class_columns(header: Sequence[str]) -> dict[str, int]:
    """The column of each class, in a header of names as `class_names_in` gives them."""
    return {name: index for index, name in enumerate(header) if index and name not in NO_CLASSES}


def read_rows(path: Path) -> Rows:
    """Header and rows, without blank ones, each with the number of its last line. Raises InputError.

    Blank columns to the right of the last name, as spreadsheets leave them, are dropped.
    """
    try:
        data = path.read_bytes()
        if data.startswith(ZIP_SIGNATURE):
            raise InputError(f"{path} is a spreadsheet or a zip and no CSV file: save its table as CSV")
        text = data.decode("utf-8-sig")
        header = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
        if named := re.fullmatch(r"sep=(.)\s*", header):  # as Excel writes
            delimiter = named[1]
        else:
            delimiter = max(DELIMITERS, key=re.sub(r'"[^"]*"', "", header).count)
        del text  # before the rows are made, which take many times as much
        lines = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
        if named:
            rows = rows[1:]
    except OSError as error:
        raise InputError(f"{path} is not readable ({error.strerror or error}): it is to be a CSV file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}, byte {error.start}): save it as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{path} is not readable as CSV ({error}): mend it") from error
    if not rows:
        raise InputError(f"{path} is empty: give a header and a row for each tile")
    return _without_blank_end(rows)


def _without_blank_end(rows: Rows) -> Rows:
    _, header = rows[0]
    width = max((column for column, name in enumerate(header, start=1) if name.strip()))
    if any(cell.strip() for _, row in rows for cell in row[width:]):
        return rows
    return [(number, row[:width]) for number, row in rows]


def check_header(header: Sequence[str], path: Path) -> None:
    """Raises InputError for a header without classes, or with missing or repeated names."""
    if len(header) < 2:
        raise InputError(f"{path}, row 1: one column only: give 'id,CLASS,CLASS,...' or 'id,labels'")
    if _is_of_a_tile(header):
        raise InputError(
            f"{path}, row 1: {','.join(header)!r} looks like the row of a tile: write a header above it, "
            "'id,CLASS,CLASS,...' or 'id,labels'"
        )
    for column, name in enumerate(header, start=1):
        if not name:
            what = "'id' (an index without a name is to be left out)" if column == 1 else "its class, or empty it"
            raise InputError(f"{path}, row 1: column {column} has no name: name it {what}")
        if name in header[: column - 1]:
            raise InputError(f"{path}, row 1: the column {name!r} is there twice: rename one")


def _is_of_a_tile(header: Sequence[str]) -> bool:
    """Whether the first row is that of a tile, not a header, in which classes may well be called 0, 1 and 2."""
    tile, *names = header
    cells = [name for name in names if name not in PARTS]
    are_labels = bool(cells) and all(cell in CELLS for cell in cells)
    repeat = len({*cells}) < len(cells)
    return tile.lower().endswith(IMAGE_SUFFIXES) or (are_labels and (repeat or tile.casefold() not in ID_NAMES))


def check_rows(rows: Rows, header: Sequence[str], path: Path) -> None:
    """Raises InputError for a row of another length, a missing or repeated id, or an unknown part of the split."""
    part = header.index(SPLIT_COLUMN) if SPLIT_COLUMN in header else None
    first: dict[str, tuple[int, list[str]]] = {}
    for number, row in rows:
        where = f"{path}, row {number}"
        if len(row) != len(header):
            is_list = len(row) > len(header) and header[1:] == [LIST_COLUMN]
            remedy = "put quotes around the list" if is_list else "mend the row"
            raise InputError(f"{where}: {len(row)} fields instead of {len(header)}: {remedy}")
        if not row[0]:
            raise InputError(f"{where}: the id is empty: name the tile")
        if row[0] in first:
            before, other = first[row[0]]
            remedy = _which_to_keep(row, other, part)
            raise InputError(f"{where}: tile {row[0]} is there already in row {before}{remedy}")
        if part is not None and row[part].strip() not in PARTS:
            raise InputError(f"{where}: split {row[part]!r} is not one of {', '.join(PARTS)}: mend it")
        first[row[0]] = number, row


def _which_to_keep(row: Sequence[str], other: Sequence[str], part: int | None) -> str:
    """The remedy for two rows of a tile, which depends on whether the table has a row for each label of a tile."""
    if row == other:
        return ": remove one"
    labels = [cell.strip() for column, cell in enumerate((*row, *other)) if column % len(row) not in (0, part)]
    if all(cell in CELLS or cell in OPEN for cell in labels):
        return " with other cells: keep the one that is right"
    return f" with another label: give a tile one row, with its classes between semicolons in a column {LIST_COLUMN!r}"
