"""Rounds of several annotators: tiles are dealt to them by a keyed draw, and each has a form and a page of their own.

What was dealt stands in `dealt.csv` of the round, with a column for each annotator. The forms `to_label-NAME.csv` come
back when they come, also rounds later, and may be filled in in parts.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Int

from aljax.data.blanks import find_blanks
from aljax.data.label_rows import PARTS, SPLIT_COLUMN
from aljax.data.labels import CsvLabels, classes_of, read_form, read_table, to_text
from aljax.errors import InputError, InputWarning
from aljax.keys import Purpose, derive_key

DEALT = "dealt.csv"
NAME = re.compile(r"[\w-]+", re.ASCII)

Dealt = Mapping[str, Mapping[str, int]]
"""By annotator, the parts of the split (indices into PART_NAMES) of the tiles that they are to label."""


def form_name(name: str) -> str:
    """The file of an annotator's form, below the folder of a round; "" is the one of a round of one person."""
    return f"to_label-{name}.csv" if name else "to_label.csv"


def page_name(name: str) -> str:
    """The file of an annotator's page."""
    return f"label-{name}.html" if name else "label.html"


def parse_names(text: str) -> tuple[str, ...]:
    """The names in --annotators; none for a round of one person. Raises InputError."""
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    if wrong := [name for name in names if not NAME.fullmatch(name)]:
        raise InputError(f"--annotators has the name {wrong[0]!r}: give letters, digits, - and _, and commas between")
    if len({name.casefold() for name in names}) < len(names):  # capitals make no other file on some systems
        raise InputError(f"--annotators is {text!r}: give different names, in more than their capitals")
    if len(names) == 1:
        raise InputError(f"--annotators names {names[0]} alone: give several names, or leave it out")
    return names


def deal(
    seed: int, number: int, parts: Int[np.ndarray, " k"], names: Sequence[str], overlap: float, common: int = 0
) -> dict[str, Bool[np.ndarray, " k"]]:
    """Which of the k tiles of round `number` each annotator is to label.

    The first `common` tiles and a random share `overlap` of the others, of each part of the split, go to all. The rest
    is dealt in turn, in random order, so that the numbers of tiles differ by one at most.
    """
    order = np.asarray(jax.random.permutation(derive_key(seed, Purpose.DEALING, 0, number), len(parts)))
    order = order[order >= common]
    of_parts = [order[parts[order] == part] for part in np.unique(parts[order])]
    shared = [round(overlap * len(rows)) for rows in of_parts]
    to_all = np.concatenate([np.arange(common), *(rows[:n] for rows, n in zip(of_parts, shared, strict=True))])
    rest = np.concatenate([order[:0], *(rows[n:] for rows, n in zip(of_parts, shared, strict=True))])
    masks = {}
    for place, name in enumerate(names):
        own = rest[(np.arange(len(rest)) + number) % len(names) == place]
        masks[name] = np.isin(np.arange(len(parts)), np.concatenate([to_all, own]))
    return {name: mask for name, mask in masks.items() if mask.any()}


def dealt_text(rows: Sequence[Sequence[str]], masks: Mapping[str, Bool[np.ndarray, " k"]]) -> str:
    """The text of `dealt.csv`: a row per tile (id, split), and 1 below each annotator who is to label it."""
    given = np.stack(list(masks.values()), axis=1).astype(int).tolist()
    return to_text(("id", SPLIT_COLUMN, *masks), ((*row, *cells) for row, cells in zip(rows, given, strict=True)))


def read_dealt(folder: Path) -> Dealt:
    """Who was given which tiles of a round; empty for a round of one person. Raises InputError."""
    path = folder / DEALT
    if not path.exists():
        return {}
    header, rows = read_form(path)
    if header[:2] != ["id", SPLIT_COLUMN] or any(len(row) != len(header) or row[1] not in PARTS for row in rows):
        raise InputError(f"{path} is damaged: bring it back as the round wrote it")
    return {
        name: {row[0]: PARTS[row[1]] for row in rows if row[column] == "1"}
        for column, name in enumerate(header)
        if column > 1
    }


def read_answers(folder: Path, name: str, given: Mapping[str, int], is_newest: bool = False) -> CsvLabels:
    """The rows of an annotator's form that are answered; a row without any label is not.

    Raises InputError for a form that is missing or damaged, or has tiles that the annotator was not given. Warns of
    empty cells if the round is the newest.
    """
    path = folder / form_name(name)
    if not path.exists():
        raise InputError(f"{path} is missing: bring it back, or save it again from {folder / page_name(name)}")
    table, blanks = read_table(path), find_blanks(path)
    if table.parts is None:
        raise InputError(f"{path} has lost its column {SPLIT_COLUMN}: save it again from {page_name(name)} beside it")
    for tile, place in zip(table.ids, table.places, strict=True):
        if tile not in given:
            raise InputError(
                f"{place}: tile {tile} is not among the {len(given)} that {name} was given in {folder.name}: save the "
                f"form again from {page_name(name)} beside it"
            )
    if is_newest and blanks.cells:
        cells = blanks._replace(rows=()).message
        warnings.warn(InputWarning(f"{path}: {cells}: fill them in if they were forgotten"), stacklevel=4)
    blank = {tile for _, tile in blanks.rows}
    rows = np.array([row for row, tile in enumerate(table.ids) if tile not in blank], int)
    return table._replace(
        ids=tuple(table.ids[row] for row in rows),
        labels=table.labels[rows],
        parts=table.parts[rows],
        places=tuple(table.places[row] for row in rows),
    )


def tiles_left(folder: Path) -> dict[str, tuple[int, int]]:
    """By annotator of a round: how many tiles wait for their answer, and how many they have. Raises InputError."""
    found = {}
    for name, given in read_dealt(folder).items():
        found[name] = (len(given) - len(read_answers(folder, name, given).ids), len(given))
    return found


def check_round(folder: Path, classes: Sequence[str]) -> None:
    """Raises InputError for a form of a round of several that nobody was dealt, or with other classes than the others.

    Somebody may have saved a form under another name, or two under one that differ in capitals. `classes` are those of
    the next round, which may have more than this one.
    """
    names = read_dealt(folder)
    expected = sorted(map(form_name, names))
    forms = sorted(folder.glob("to_label*.csv")) if names else []
    of_forms = {tuple(sorted(classes_of(path))) for path in forms}
    if len(of_forms) == 1:  # if these are not among `classes`, the forms are right
        classes = next(iter(of_forms))
    for path in forms:
        if path.name not in expected:
            raise InputError(
                f"{path} is the form of nobody, {folder.name} has {', '.join(expected)}: rename or remove it"
            )
        if sorted(found := classes_of(path)) != sorted(classes):
            raise InputError(
                f"{path} has the classes {', '.join(found)}, and the round has {', '.join(classes)}: save the form "
                "again from the page beside it"
            )
