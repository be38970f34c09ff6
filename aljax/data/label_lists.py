"""Cells that list class names, and checks that the separator is right and that the cells are names.

With a wrong separator every combination of names would silently become a class.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from jaxtyping import UInt8

from aljax.data.label_rows import class_names_in
from aljax.errors import InputError, InputWarning

# Characters of a list in Python's notation.
LIST_NOTATION = re.compile(r"""[\[\]"']""")
# Characters that hardly ever occur in the name of a class, and characters that sometimes do.
RARE, POSSIBLE = re.compile(r"[,|#]"), re.compile(r"[/+&:]")
SEPARATORS = re.compile(r"[^\w\s]+|_|\s")
"""Possible separators of names: whitespace, an underscore or adjacent punctuation."""
BINARY = r"(?:[01](?:\.0)?|true|false)"
VECTOR = re.compile(rf"\W*{BINARY}(?:[\W_]+{BINARY})*\W*|[01]{{3,}}", re.IGNORECASE)


def read_lists(
    cells: Sequence[str], separator: str, places: Sequence[str]
) -> tuple[tuple[str, ...], UInt8[np.ndarray, "n c"]]:
    """The class names in the cells, sorted, and the labels (n, C) of each cell.

    `places` locate the cells in messages, as in `CsvLabels`. Raises InputError for cells that are no lists of names,
    and warns of a name that may be several, or that differs from another only in capitals.
    """
    _check_names(cells, places)
    named = [{*class_names_in(cell.split(separator))} - {""} for cell in cells]
    class_names = tuple(sorted(set(chain.from_iterable(named))))
    place = {name: where for where, present in zip(reversed(places), reversed(named), strict=True) for name in present}
    _check_separator(class_names, separator, any(len(present) > 1 for present in named), place)
    spellings = {name.casefold(): name for name in class_names}
    if duplicates := [name for name in class_names if spellings[name.casefold()] != name]:
        other = spellings[duplicates[0].casefold()]
        _warn(f"{place[duplicates[0]]}: {duplicates[0]!r} and {other!r} count as two classes: spell them alike")
    labels = [[name in present for name in class_names] for present in named]
    return class_names, np.array(labels, np.uint8).reshape(len(cells), len(class_names))


def _check_names(cells: Sequence[str], places: Sequence[str]) -> None:
    """Raises InputError if all cells are vectors of 0 and 1."""
    filled = [(cell, place) for cell, place in zip(cells, places, strict=True) if cell.strip()]
    if filled and all(VECTOR.fullmatch(cell) for cell, _ in filled):
        cell, place = filled[0]
        raise InputError(f"{place}: {cell!r} names no classes: give 'id,CLASS,CLASS,...' with cells 0 or 1")


def _check_separator(names: Sequence[str], separator: str, separates: bool, place: Mapping[str, str]) -> None:
    """Raises InputError, or warns, if a name seems to be several; `separates`: some cell contains the separator."""
    if quoted := [name for name in names if LIST_NOTATION.search(name)]:
        raise _not_a_class(quoted[0], place, separator)
    signs = set(chain.from_iterable(map(SEPARATORS.findall, names)))
    for sign in sorted(signs, key=lambda sign: (sign.isspace(), sign)):
        joined = [name for name in names if sign in name]
        parts = [part for name in joined for part in class_names_in(name.split(sign))]
        listed, rare = _seem_lists(names, sign), RARE.search(sign)
        if (rare and not (separates and {*parts}.isdisjoint(names))) or (listed and not separates):
            raise _not_a_class(joined[0], place, separator, sign)
        if listed or (POSSIBLE.search(sign) and not separates):
            what = f"{place[joined[0]]}: {joined[0]!r} counts as one class"
            _warn(f"{what}: if it is several, write {separator!r} between them, or give --label-separator {sign!r}")


def _seem_lists(names: Sequence[str], sign: str) -> bool:
    """Whether names seem to be lists of names that are separated by `sign`.

    They do if at least half of them consist of names that also occur alone, or if they have few different parts, some
    of them in several positions; the parts of a name such as "dense forest" keep their positions.
    """
    parts = [[*filter(None, class_names_in(name.split(sign)))] for name in names]
    lists = [members for members in parts if len(members) > 1]
    alone = [members for members in lists if {*members} <= {*names}]
    moving = {members[0] for members in lists} & {part for members in lists for part in members[1:]}
    few = len({*chain.from_iterable(parts)}) <= len(names)
    return bool(lists) and (2 * len(alone) >= len(lists) or (few and bool(moving)))


def _not_a_class(name: str, place: Mapping[str, str], separator: str, sign: str = "") -> InputError:
    if sign:
        remedy = f"give --label-separator {sign!r} or, if it is one class, 'id,CLASS,CLASS,...' with cells 0 or 1"
    else:
        written = f"the classes of a tile with {separator!r} between them and without quotes or brackets"
        remedy = f"give --label-separator, or write {written}"
    return InputError(f"{place[name]}: a class would be named {name!r}: {remedy}")


def _warn(message: str) -> None:
    warnings.warn(InputWarning(message), stacklevel=4)
