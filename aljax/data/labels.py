"""A user's own labels: CSV files with a row per tile, its classes as 0/1 columns or as one list."""

import csv
import io
import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from aljax.errors import InputError, InputWarning

DELIMITERS = ",;\t"
SPLIT_COLUMN = "split"
PARTS = {"pool": 0, "train": 0, "validation": 1, "val": 1, "test": 2, "skip": 3}
PART_NAMES = ("pool", "validation", "test", "skip")
SKIPPED = PARTS["skip"]
UNREADABLE = "unreadable"  # the column of predictions with the reason why a tile has none
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
    (_, names), *rows = _read_rows(path)
    header = class_names_in(names)
    _check_header(header, path)
    if not rows:
        raise InputError(f"{path} names no tiles: add a row for each tile")
    _check_rows(rows, header, path)
    parts = None
    if SPLIT_COLUMN in header:
        parts = np.array([PARTS[row[header.index(SPLIT_COLUMN)].strip()] for _, row in rows], np.uint8)
    skipped = np.zeros(len(rows), bool) if parts is None else parts == SKIPPED
    columns = {name: index for index, name in enumerate(header) if index and name != SPLIT_COLUMN}
    if [*columns] == ["labels"]:  # of a tile to skip the cell may be a remark
        cells = ["" if skip else row[columns["labels"]] for skip, (_, row) in zip(skipped, rows, strict=True)]
        class_names, labels = _read_lists(cells, separator, path)
    else:
        class_names, labels = tuple(columns), _read_cells(rows, columns, skipped, path)
    if not class_names:
        raise InputError(f"{path} names no classes: give a column per class, or a column 'labels'")
    places = tuple(f"{path}, row {number}" for number, _ in rows)
    return CsvLabels(tuple(row[0] for _, row in rows), class_names, labels, parts, places)


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
            if (other := files.setdefault(tile, path)) is not path:
                raise InputError(f"tile {tile} is in {other} and in {path}: remove one of the rows")
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


def predictions_text(
    ids: Iterable[str],
    class_names: Iterable[str],
    probabilities: Float[np.ndarray, "n c"],
    unreadable: Mapping[int, InputError] = MappingProxyType({}),
) -> str:
    """A CSV file's text with the probability of each class, a row for each tile.

    Rows of tiles that could not be read have blank cells, and the reason in a last column.
    """
    blank, reasons = [""] * probabilities.shape[1], bool(unreadable)

    def cells(index: int, row: Float[np.ndarray, " c"]) -> list[str]:
        numbers = blank if index in unreadable else [f"{value:.4f}" for value in row]
        return [*numbers, str(unreadable.get(index, ""))] if reasons else numbers

    rows = enumerate(zip(ids, probabilities, strict=True))
    header = ("id", *class_names, *([UNREADABLE] if reasons else []))
    return to_text(header, ((tile, *cells(index, row)) for index, (tile, row) in rows))


def count_tiles(path: Path) -> int:
    """Rows of a file below its header. Raises InputError if it cannot be read."""
    return len(_read_rows(path)) - 1


def is_blank(path: Path) -> bool:
    """Whether there are rows, no cell for a class is filled in and no tile skipped. Raises InputError if unreadable."""
    (_, header), *rows = _read_rows(path)
    blank = ("", *PART_NAMES[:SKIPPED])
    cells = ((name.strip(), cell.strip()) for _, row in rows for name, cell in list(zip(header, row, strict=False))[1:])
    return bool(rows) and all(cell in blank if name == SPLIT_COLUMN else not cell for name, cell in cells)


def read_form(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a form as they stand, filled in or not. Raises InputError if it cannot be read."""
    (_, header), *rows = _read_rows(path)
    return header, [row for _, row in rows]


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


def _check_rows(rows: Rows, header: list[str], path: Path) -> None:
    part = header.index(SPLIT_COLUMN) if SPLIT_COLUMN in header else None
    first: dict[str, int] = {}
    for number, row in rows:
        where = f"{path}, row {number}"
        if len(row) != len(header):
            raise InputError(f"{where}: {len(row)} fields instead of {len(header)}: mend the row")
        if not row[0]:
            raise InputError(f"{where}: the id is empty: name the tile")
        if row[0] in first:
            raise InputError(f"{where}: tile {row[0]} is there already in row {first[row[0]]}: remove one")
        if part is not None and row[part].strip() not in PARTS:
            raise InputError(f"{where}: split {row[part]!r} is not one of {', '.join(PARTS)}: mend it")
        first[row[0]] = number


def _read_cells(
    rows: Rows, columns: Mapping[str, int], skipped: Bool[np.ndarray, " n"], path: Path
) -> UInt8[np.ndarray, "n c"]:
    labels = np.zeros((len(rows), len(columns)), np.uint8)
    wanted = [(index, *rows[index]) for index in np.flatnonzero(~skipped)]
    blank = [number for _, number, row in wanted if not any(row[column].strip() for column in columns.values())]
    for index, number, row in wanted:
        for place, (name, column) in enumerate(columns.items()):
            label = CELLS.get(row[column].strip())
            if label is None and number in blank:
                raise InputError(
                    f"{path}, row {number}: tile {row[0]} has no labels ({len(blank)} such rows): write 0 or 1 into "
                    f"every cell, or skip in the column {SPLIT_COLUMN} if it cannot be labelled"
                )
            if label is None:
                raise InputError(
                    f"{path}, row {number}, column {name}: label {row[column]!r} is neither 0 nor 1: mend it"
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
