"""A user's own labels: CSV files with a row per tile and its classes as 0/1 columns or as one list."""

import csv
import io
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from aljax.arrays import UNKNOWN
from aljax.data.blanks import find_blanks
from aljax.data.label_lists import read_lists
from aljax.data.label_rows import (
    CELLS,
    LIST_COLUMN,
    OPEN,
    PARTS,
    REASON_COLUMNS,
    SPLIT_COLUMN,
    Rows,
    check_header,
    check_rows,
    class_columns,
    class_names_in,
    read_rows,
)
from aljax.data.tiles.made import Made
from aljax.errors import InputError, InputWarning
from aljax.system.files import replacing

PART_NAMES = ("pool", "validation", "test", "skip")
SKIPPED = PARTS["skip"]
# Columns of these names (or is_test and the like) usually say which part of the split a tile is in.
PART_COLUMNS = {*("split", "fold", "folds", "set", "subset", "partition"), *PARTS, "training", "valid"} - {"skip"}
# Columns of these names usually list the classes of a tile.
LIST_COLUMNS = {"label", "labels", "tag", "tags", "class", "classes", "category", "categories"}


class CsvLabels(NamedTuple):
    """The content of a label file, in the order of its rows."""

    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    labels: UInt8[np.ndarray, "n c"]
    """0, 1 or UNKNOWN."""
    parts: UInt8[np.ndarray, " n"] | None
    """Indices into PART_NAMES; None without a column `split`. The labels of a skipped tile are 0, without meaning."""
    places: Sequence[str]
    """The location of each row, for messages: "labels.csv, row 3"."""


def read_csv(path: Path, separator: str = ";") -> CsvLabels:
    """Reads a user's file as `read_table` does. Warns of empty cells, and of a class that seems to be the split."""
    table = read_table(path, separator)
    if (table.labels == UNKNOWN).any() and (message := find_blanks(path).message):
        warnings.warn(InputWarning(f"{path}: {message}"), stacklevel=2)
    if suspects := [name for name in table.class_names if name.casefold().removeprefix("is_") in PART_COLUMNS]:
        message = (
            f"{path}: the column {suspects[0]!r} counts as a class: if it says what a tile is for, leave it out or "
        )
        message += f"call it {SPLIT_COLUMN!r}, with pool, validation or test in its cells"
        warnings.warn(InputWarning(message), stacklevel=2)
    return table


def read_table(path: Path, separator: str = ";") -> CsvLabels:
    """Reads `id,CLASS,CLASS,...` with cells 0 or 1, or `id,labels` with class names between `separator`.

    A cell that is empty or ? is UNKNOWN; a tile without any label counts as not labelled (`Archive`). A column `split`
    (pool, validation or test; train and val mean pool and validation) is the split; skip in it leaves out a tile, such
    as one under clouds, whose other cells may be blank. Columns of a form that say why a tile was chosen are not read.
    Fields are separated by comma, semicolon or tab, whichever is most frequent in the header. Raises InputError with
    file, row and column. Warns of names in lists that may be several, or that differ only in capitals.
    """
    if not separator:
        raise InputError("--label-separator is empty: give what stands between the class names of a cell")
    (_, names), *rows = read_rows(path)
    header = class_names_in(names)
    check_header(header, path)
    if not rows:
        raise InputError(f"{path} names no tiles: add a row for each tile")
    check_rows(rows, header, path)
    parts = None
    if SPLIT_COLUMN in header:
        parts = np.array([PARTS[row[header.index(SPLIT_COLUMN)].strip()] for _, row in rows], np.uint8)
    skipped = np.zeros(len(rows), bool) if parts is None else parts == SKIPPED
    columns = class_columns(header)
    numbers = np.array([number for number, _ in rows])
    places = Made(len(rows), lambda row: f"{path}, row {numbers[row]}")
    if [*columns] == [LIST_COLUMN]:  # the cell of a skipped tile may be a remark
        cells = ["" if skip else row[columns[LIST_COLUMN]] for skip, (_, row) in zip(skipped, rows, strict=True)]
        class_names, labels = read_lists(cells, separator, places)
    else:
        class_names, labels = tuple(columns), _read_cells(rows, columns, skipped, path)
    if not class_names:
        raise InputError(f"{path} names no classes: give a column per class, or a column 'labels'")
    return CsvLabels(tuple(row[0] for _, row in rows), class_names, labels, parts, places)


def merge(tables: Mapping[Path, CsvLabels], also: Iterable[str] = ()) -> CsvLabels:
    """The rows of several files in one table, with the classes in the order in which they, then `also`, name them.

    A class that a file does not have is UNKNOWN on its tiles. Raises InputError if files share a tile.
    """
    class_names = list(dict.fromkeys([*(name for table in tables.values() for name in table.class_names), *also]))
    files: dict[str, Path] = {}
    for path, table in tables.items():
        for tile in table.ids:
            if (other := files.setdefault(tile, path)) is not path:
                raise InputError(f"tile {tile} is in {other} and in {path}: remove one of the rows")
    labels = np.full((len(files), len(class_names)), UNKNOWN, np.uint8)
    ends = np.cumsum([len(table.ids) for table in tables.values()])
    for table, end in zip(tables.values(), ends, strict=True):
        columns = [class_names.index(name) for name in table.class_names]
        labels[end - len(table.ids) : end, columns] = table.labels
    parts = [np.zeros(len(table.ids), np.uint8) if table.parts is None else table.parts for table in tables.values()]
    places = tuple(place for table in tables.values() for place in table.places)
    return CsvLabels(tuple(files), tuple(class_names), labels, np.concatenate(parts), places)


def warn_of_missing(tables: Mapping[Path, CsvLabels], class_names: Iterable[str]) -> None:
    """Warns of classes that files do not have, in one line each."""
    for name in class_names:
        without = {path: len(table.ids) for path, table in tables.items() if name not in table.class_names}
        if without:
            paths = [*map(str, without)]
            named = ", ".join(paths) if len(paths) < 3 else f"{len(paths)} files, as {paths[0]}"
            message = f"class {name} is unknown on {sum(without.values())} tiles, for want of a column in {named}"
            message += ": add it there to label them, too"
            warnings.warn(InputWarning(message), stacklevel=3)


def to_text(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """The text of a CSV file with commas."""
    text = io.StringIO()
    _write(text, header, rows)
    return text.getvalue()


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Writes `to_text` atomically, row by row: at ten million tiles the text would take gigabytes."""
    with replacing(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        _write(text, header, rows)
        text.detach()  # flushes, and leaves the file open


def _write(text: io.TextIOBase, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    plain, quoting = (csv.writer(text, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    names = list(header)
    # Readers that guess the separator from the header would take these for it; csv itself does not quote them.
    (quoting if any(map(re.compile(r"[;\t\r]").search, names)) else plain).writerow(names)
    for row in map(list, rows):
        (quoting if any(isinstance(cell, str) and "\r" in cell for cell in row) else plain).writerow(row)


def count_tiles(path: Path) -> int:
    """Number of rows below the header. Raises InputError if the file cannot be read."""
    return len(read_rows(path)) - 1


def is_blank(path: Path) -> bool:
    """Whether a form has rows, but no class cell is filled in and no tile skipped. Raises InputError if unreadable."""
    (_, header), *rows = read_rows(path)
    blank = ("", *PART_NAMES[:SKIPPED])
    names = class_names_in(header)
    cells = ((name, cell.strip()) for _, row in rows for name, cell in list(zip(names, row, strict=False))[1:])
    asked = ((name, cell) for name, cell in cells if name not in REASON_COLUMNS)
    return bool(rows) and all(cell in blank if name == SPLIT_COLUMN else not cell for name, cell in asked)


def read_form(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a form, filled in or not, without any checks. Raises InputError if it cannot be read."""
    (_, header), *rows = read_rows(path)
    return header, [row for _, row in rows]


def classes_of(path: Path) -> tuple[str, ...]:
    """The classes in the header of a form. Raises InputError if it cannot be read."""
    return tuple(class_columns(class_names_in(read_rows(path)[0][1])))


def _read_cells(
    rows: Rows, columns: Mapping[str, int], skipped: Bool[np.ndarray, " n"], path: Path
) -> UInt8[np.ndarray, "n c"]:
    labels = np.zeros((len(rows), len(columns)), np.uint8)
    for index in np.flatnonzero(~skipped):
        number, row = rows[index]
        for place, (name, column) in enumerate(columns.items()):
            cell = row[column].strip()
            label = UNKNOWN if cell in OPEN else CELLS.get(cell)
            if label is None:
                raise InputError(
                    f"{path}, row {number}, column {name}: label {row[column]!r} is neither 0 nor 1: "
                    f"{_remedy(name, cell, [*columns])}"
                )
            labels[index, place] = label
    return labels


def _remedy(name: str, cell: str, columns: Sequence[str]) -> str:
    """The remedy for a cell that is neither 0 nor 1: its column may be no class, or list classes."""
    if cell in PARTS:
        return f"call the column {SPLIT_COLUMN!r} if it says what a tile is for"
    if LIST_COLUMN in columns and len(columns) > 1:
        others = ", ".join(column for column in columns if column != LIST_COLUMN)
        return f"beside a column {LIST_COLUMN!r} that lists classes can be {SPLIT_COLUMN} alone: leave out {others}"
    if cell and (len(columns) == 1 or name.casefold() in LIST_COLUMNS):
        return f"if the column lists the classes of a tile, call it {LIST_COLUMN!r}, with no other class beside it"
    return "mend it"
