"""A round as other tools see it: its forms, tiles and classes, and the names of its pictures.

Tools rename tiles, number them, and lose what else is written beside them; the name of a picture survives, at least in
part. So it says which round and which tile it is of.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from aljax.annotation.annotators import form_name, read_dealt
from aljax.annotation.labelling import round_dir
from aljax.data.label_rows import SPLIT_COLUMN, class_names_in
from aljax.data.labels import PART_NAMES, SKIPPED, classes_of, read_form
from aljax.errors import InputError

MARK = re.compile(r"aljax-([0-9a-f]{8})-([0-9a-f]{12})")


class Sheet(NamedTuple):
    """A form as it is on the disk."""

    path: Path
    header: list[str]
    rows: list[list[str]]

    def columns(self, class_names: Iterable[str]) -> list[int]:
        """Where the classes are."""
        names = class_names_in(self.header)
        return [names.index(name) for name in class_names]

    def is_skipped(self, row: list[str]) -> bool:
        """Whether somebody has said that the tile cannot be labelled."""
        names = class_names_in(self.header)
        return SPLIT_COLUMN in names and row[names.index(SPLIT_COLUMN)].strip() == PART_NAMES[SKIPPED]

    def is_answered(self, row: list[str], class_names: Iterable[str]) -> bool:
        """Whether the row has an answer."""
        return self.is_skipped(row) or any(row[column].strip() for column in self.columns(class_names))


class Round(NamedTuple):
    """The forms of a round."""

    folder: Path
    sheets: dict[str, Sheet]
    """By annotator; the form of a round of one person has the name ""."""
    class_names: tuple[str, ...]

    @property
    def tiles(self) -> list[str]:
        """The ids of all tiles, in the order of the forms."""
        return list(dict.fromkeys(row[0] for sheet in self.sheets.values() for row in sheet.rows))

    @property
    def key(self) -> str:
        """Tells the round from others: it depends on the tiles and the classes."""
        return _digest(json.dumps([sorted(self.tiles), sorted(self.class_names)]), 8)

    def picture(self, tile: str) -> str:
        """The name of a tile's picture."""
        readable = re.sub(r"[^A-Za-z0-9]+", "_", PurePosixPath(tile).stem).strip("_")[-40:]
        return f"aljax-{self.key}-{_digest(tile, 12)}-{readable}.png"

    def find_tiles(self, names: Iterable[str], file: Path) -> dict[str, str]:
        """The tiles of pictures, by the names that a tool gives to them. Raises InputError for one of another round."""
        tiles, key = {_digest(tile, 12): tile for tile in self.tiles}, self.key
        found = {}
        for name in names:
            mark = MARK.search(name)
            tile = tiles.get(mark[2]) if mark else name if name in tiles.values() else None
            if tile is None or (mark and mark[1] != key):
                raise InputError(
                    f"{file}: {name} is no tile of {self.folder}: the file is of another project, or of a round "
                    "that --round is to name"
                )
            found[name] = tile
        return found


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def open_round(run_dir: Path, number: int = 0) -> Round:
    """A round, the newest for 0. Raises InputError if there is none, or if its forms have different classes."""
    names = (path.parent.name.removeprefix("round-") for path in run_dir.glob("round-*/to_label*.csv"))
    numbers = {int(name) for name in names if name.isdecimal()}
    if not numbers:
        raise InputError(f"{run_dir} has no round with a form: make one with `aljax annotate --run-dir {run_dir}`")
    if number and number not in numbers:
        raise InputError(f"--round {number}: {run_dir} has no such round with a form, the newest is {max(numbers)}")
    folder = round_dir(run_dir, number or max(numbers))
    sheets = {name: _read(folder / form_name(name)) for name in read_dealt(folder) or [""]}
    class_names = classes_of(next(iter(sheets.values())).path)
    for sheet in sheets.values():
        if sorted(classes_of(sheet.path)) != sorted(class_names):
            raise InputError(f"{sheet.path} has other classes than the round's other forms: bring it back")
    return Round(folder, sheets, class_names)


def _read(path: Path) -> Sheet:
    header, rows = read_form(path)
    for row in rows:
        if len(row) != len(header):
            raise InputError(f"{path}, tile {row[0]}: {len(row)} fields instead of {len(header)}: mend the row")
    return Sheet(path, header, rows)
