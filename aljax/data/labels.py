"""A user's own labels: CSV files with a row per tile, its classes as 0/1 columns or as one list."""

import csv
import io
import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from aljax.errors import InputError, InputWarning

DELIMITERS = ",;\t"
SPLIT_COLUMN = "split"
PARTS = {"pool": 0, "train": 0, "validation": 1, "val": 1, "test": 2, "skip": 3}
PART_NAMES = ("pool", "validation", "test", "skip")
SKIPPED = PARTS["skip"]
CELLS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}  # the latter two as pandas writes a column that had blanks
# In a name of a class they come from another separator, or from a list as Python writes it.
SUSPICIOUS = re.compile(r"""[,\[\]"']""")


class CsvLabels(NamedTuple):
    """The content of a label file, in the order of its rows."""

    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    labels: UInt8[np.ndarray, "n c"]
    parts: UInt8[np.ndarray, " n"] | None
    """Indices of PART_NAMES; None without a column `split`. The labels of a tile to skip are 0 and mean nothing."""
    places: tuple[str, ...]
    """Where each row stands: "labels.csv, row 3"."""


def read_csv(path: Path, separator: str = ";") -> CsvLabels:
    """Reads `id,CLASS,CLASS,...` with cells 0 or 1, or `id,labels` with class names between `separator`.

    A column `split` (pool, validation or test; train and val mean pool and validation) is the split; skip there means
    that a tile is to be left out, as one under clouds, and its cells may be blank. Fields are separated by comma,
    semicolon or tab, whichever the header has most of. Raises InputError with file, row and column; warns of classes
    that differ in capitals alone.
    """
    if not separator:
        raise InputError("--label-separator is empty: give what stands between the class names of a cell")
    rows = _read_rows(path)
    header = class_names_in(rows[0][1])
    _check_header(header, path)
    rows = rows[1:]
    if not rows:
        raise InputError(f"{path} names no tiles: add a row for each tile")
    for number, row in rows:
        if len(row) != len(header):
            raise InputError(f"{path}, row {number}: {len(row)} fields instead of {len(header)}: mend the row")
    ids = _read_ids(rows, path)
    parts = _read_parts(rows, header, path)
    columns = [index for index, name in enumerate(header) if index and name != SPLIT_COLUMN]
    if [header[index] for index in columns] == ["labels"]:
        cells = [row[columns[0]] for _, row in rows]
        if parts is not None:  # of a tile to skip the cell may be a remark
            cells = ["" if part == SKIPPED else cell for part, cell in zip(parts, cells, strict=True)]
        class_names, labels = _read_lists(cells, separator, path)
    else:
        class_names = tuple(header[index] for index in columns)
        labels = _read_cells(rows, columns, header, parts, path)
    if not class_names:
        raise InputError(f"{path} names no classes: give a column per class, or a column 'labels'")
    places = tuple(f"{path}, row {number}" for number, _ in rows)
    return CsvLabels(ids, class_names, labels, parts, places)


def merge(tables: Mapping[Path, CsvLabels]) -> CsvLabels:
    """The rows of several files as those of one, with the classes in the order of the first.

    Raises InputError if the classes differ, or if two files have the same tile.
    """
    first, class_names = next((path, table.class_names) for path, table in tables.items())
    files: dict[str, Path] = {}
    for path, table in tables.items():
        if sorted(table.class_names) != sorted(class_names):
            raise InputError(
                f"{path} has the classes {', '.join(table.class_names)}, and {first} has {', '.join(class_names)}: "
                "use the same in both"
            )
        for tile in table.ids:
            if tile in files:
                raise InputError(f"tile {tile} is in {files[tile]} and in {path}: remove one of the rows")
            files[tile] = path
    labels = [table.labels[:, [table.class_names.index(name) for name in class_names]] for table in tables.values()]
    parts = [np.zeros(len(table.ids), np.uint8) if table.parts is None else table.parts for table in tables.values()]
    places = tuple(place for table in tables.values() for place in table.places)
    return CsvLabels(tuple(files), class_names, np.concatenate(labels), np.concatenate(parts), places)


def to_text(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A CSV file's text, with commas."""
    text = io.StringIO()
    plain, quoting = (csv.writer(text, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    names = list(header)
    # What reads the file would take these in a header for its separators, and csv leaves them as they are.
    (quoting if any(map(re.compile(r"[;\t\r]").search, names)) else plain).writerow(names)
    for row in map(list, rows):
        (quoting if any(isinstance(cell, str) and "\r" in cell for cell in row) else plain).writerow(row)
    return text.getvalue()


def normal(name: str) -> str:
    """The name as it is compared: an umlaut is one character or two, as the system that wrote it likes it."""
    return unicodedata.normalize("NFC", name)


def class_names_in(cells: Iterable[str]) -> list[str]:
    """Names of classes as they are compared: spaces around them are not theirs, and several within them are one."""
    return [" ".join(normal(cell).split()) for cell in cells]


def predictions_text(ids: Iterable[str], class_names: Iterable[str], probabilities: Float[np.ndarray, "n c"]) -> str:
    """A CSV file's text with the probability of each class, a row for each tile."""
    rows = ((tile, *(f"{value:.4f}" for value in row)) for tile, row in zip(ids, probabilities, strict=True))
    return to_text(("id", *class_names), rows)


def count_tiles(path: Path) -> int:
    """Rows of a file below its header. Raises InputError if it cannot be read."""
    return len(_read_rows(path)) - 1


def is_blank(path: Path) -> bool:
    """Whether there are rows, no cell for a class is filled in and no tile skipped. Raises InputError if unreadable."""
    (_, header), *rows = _read_rows(path)
    if not rows:
        return False
    blank = ("", *PART_NAMES[:SKIPPED])
    cells = ((name.strip(), cell.strip()) for _, row in rows for name, cell in list(zip(header, row, strict=False))[1:])
    return all(cell in blank if name == SPLIT_COLUMN else not cell for name, cell in cells)


def classes_of(path: Path) -> tuple[str, ...]:
    """The classes in the header of a form. Raises InputError if it cannot be read."""
    return tuple(name for name in class_names_in(_read_rows(path)[0][1][1:]) if name != SPLIT_COLUMN)


Rows = list[tuple[int, list[str]]]


def _read_rows(path: Path) -> Rows:
    """Rows that are not blank, with the number of the line each ends on."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        lines = io.StringIO(text, newline="")
        header = next((line for line in lines if line.strip()), "")
        if named := re.fullmatch(r"sep=(.)\s*", header):  # as Excel writes
            delimiter = named[1]
        else:
            delimiter = max(DELIMITERS, key=re.sub(r'"[^"]*"', "", header).count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
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
    return rows


def _check_header(header: list[str], path: Path) -> None:
    if len(header) < 2:
        raise InputError(f"{path}, row 1: one column only: give 'id,CLASS,CLASS,...' or 'id,labels'")
    for column, name in enumerate(header, start=1):
        if not name:
            what = "'id' (an index without a name is to be left out)" if column == 1 else "its class"
            raise InputError(f"{path}, row 1: column {column} has no name: name it {what}")
        if name in header[: column - 1]:
            raise InputError(f"{path}, row 1: the column {name!r} is there twice: rename one")


def _read_ids(rows: Rows, path: Path) -> tuple[str, ...]:
    first: dict[str, int] = {}
    for number, row in rows:
        if not row[0]:
            raise InputError(f"{path}, row {number}: the id is empty: name the tile")
        if row[0] in first:
            raise InputError(f"{path}, row {number}: tile {row[0]} is there already in row {first[row[0]]}: remove one")
        first[row[0]] = number
    return tuple(first)


def _read_parts(rows: Rows, header: list[str], path: Path) -> UInt8[np.ndarray, " n"] | None:
    if SPLIT_COLUMN not in header:
        return None
    column = header.index(SPLIT_COLUMN)
    for number, row in rows:
        if row[column].strip() not in PARTS:
            raise InputError(f"{path}, row {number}: split {row[column]!r} is not one of {', '.join(PARTS)}: mend it")
    return np.array([PARTS[row[column].strip()] for _, row in rows], np.uint8)


def _read_cells(
    rows: Rows, columns: list[int], header: list[str], parts: UInt8[np.ndarray, " n"] | None, path: Path
) -> UInt8[np.ndarray, "n c"]:
    labels = np.zeros((len(rows), len(columns)), np.uint8)
    wanted = [index for index in range(len(rows)) if parts is None or parts[index] != SKIPPED]

    def is_unfilled(row: list[str]) -> bool:
        return not any(row[column].strip() for column in columns)

    for index in wanted:
        number, row = rows[index]
        for place, column in enumerate(columns):
            label = CELLS.get(row[column].strip())
            if label is None and is_unfilled(row):
                count = sum(is_unfilled(rows[index][1]) for index in wanted)
                raise InputError(
                    f"{path}, row {number}: tile {row[0]} has no labels ({count} such rows): write 0 or 1 into "
                    f"every cell, or skip in the column {SPLIT_COLUMN} if it cannot be labelled"
                )
            if label is None:
                raise InputError(
                    f"{path}, row {number}, column {header[column]}: label {row[column]!r} is neither 0 nor 1: mend it"
                )
            labels[index, place] = label
    return labels


def _read_lists(cells: Sequence[str], separator: str, path: Path) -> tuple[tuple[str, ...], UInt8[np.ndarray, "n c"]]:
    named = [{*class_names_in(cell.split(separator))} - {""} for cell in cells]
    class_names = tuple(sorted(set().union(*named)))
    if odd := [name for name in class_names if SUSPICIOUS.search(name)]:
        raise InputError(
            f"{path}: a class would be named {odd[0]!r}: give --label-separator, or write the classes of a tile with "
            f"{separator!r} between them and without quotes or brackets"
        )
    spelt = {name.casefold(): name for name in class_names}
    if alike := [name for name in class_names if spelt[name.casefold()] != name]:
        message = f"{path}: {alike[0]!r} and {spelt[alike[0].casefold()]!r} count as two classes: spell them alike"
        warnings.warn(InputWarning(message), stacklevel=3)
    labels = [[name in present for name in class_names] for present in named]
    return class_names, np.array(labels, np.uint8).reshape(len(cells), len(class_names))
