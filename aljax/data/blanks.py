"""What label files and forms leave empty: cells of classes that nobody is sure of, and tiles without any label."""

from pathlib import Path
from typing import NamedTuple

from aljax.data.label_rows import PARTS, SPLIT_COLUMN, class_columns, class_names_in, read_rows


class Blanks(NamedTuple):
    """The empty cells of a table with a column per class, in rows that are not skipped."""

    rows: tuple[tuple[int, str], ...]
    """Number and tile of each row without any label."""
    cells: int
    """Empty cells in rows that have labels."""
    tiles: int
    """Number of rows that these cells are in."""

    @property
    def message(self) -> str:
        """What a user is told of them; empty if there are none."""
        cells = f"{self.cells} cells of {self.tiles} tiles are empty and count as unknown" if self.cells else ""
        rows = f"{len(self.rows)} tiles have no labels, as {self.rows[0][1]}" if self.rows else ""
        return "; ".join(filter(None, (cells, rows)))


def find_blanks(path: Path) -> Blanks:
    """The empty cells of a table that `read_table` can read. Raises InputError if the file is not readable."""
    (_, names), *rows = read_rows(path)
    header = class_names_in(names)
    columns = [*class_columns(header).values()]
    if SPLIT_COLUMN in header:
        part = header.index(SPLIT_COLUMN)
        rows = [(number, row) for number, row in rows if PARTS.get(row[part].strip()) != PARTS["skip"]]
    empty = [sum(not row[column].strip() for column in columns) for _, row in rows]
    blank = ((number, row[0]) for (number, row), count in zip(rows, empty, strict=True) if count == len(columns))
    partly = [count for count in empty if 0 < count < len(columns)]
    return Blanks(tuple(blank), sum(partly), len(partly))
