"""Cells that list class names, and what tells that another separator stands in them than was said, or no names at all.

A wrong separator makes a class of every combination, and a network learns it without a word.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from jaxtyping import UInt8

from aljax.data.label_rows import class_names_in
from aljax.errors import InputError, InputWarning

# Signs that come from a list as Python writes it.
FOREIGN = re.compile(r"""[\[\]"']""")
# Signs that are hardly ever in the name of a class, and signs that are now and then.
RARE, POSSIBLE = re.compile(r"[,|#]"), re.compile(r"[/+&:]")
BETWEEN = re.compile(r"[^\w\s]+|_|\s")
"""What may stand between names: a space, or signs beside each other."""
ANSWER = r"(?:[01](?:\.0)?|true|false)"
VECTOR = re.compile(rf"\W*{ANSWER}(?:[\W_]+{ANSWER})*\W*|[01]{{3,}}", re.IGNORECASE)


def read_lists(
    cells: Sequence[str], separator: str, places: Sequence[str]
) -> tuple[tuple[str, ...], UInt8[np.ndarray, "n c"]]:
    """The classes that cells name, sorted, and which of them each cell names; `places` are where the cells stand.

    Raises InputError for cells that are no names between separators, and warns of names that may be several, or that
    differ in capitals alone.
    """
    _check_names(cells, places)
    named = [{*class_names_in(cell.split(separator))} - {""} for cell in cells]
    class_names = tuple(sorted(set(chain.from_iterable(named))))
    place = {name: where for where, present in zip(reversed(places), reversed(named), strict=True) for name in present}
    _check_separator(class_names, separator, any(len(present) > 1 for present in named), place)
    spelt = {name.casefold(): name for name in class_names}
    if alike := [name for name in class_names if spelt[name.casefold()] != name]:
        other = spelt[alike[0].casefold()]
        _warn(f"{place[alike[0]]}: {alike[0]!r} and {other!r} count as two classes: spell them alike")
    labels = [[name in present for name in class_names] for present in named]
    return class_names, np.array(labels, np.uint8).reshape(len(cells), len(class_names))


def _check_names(cells: Sequence[str], places: Sequence[str]) -> None:
    """Raises InputError where all cells are vectors of 0 and 1."""
    filled = [(cell, place) for cell, place in zip(cells, places, strict=True) if cell.strip()]
    if filled and all(VECTOR.fullmatch(cell) for cell, _ in filled):
        cell, place = filled[0]
        raise InputError(f"{place}: {cell!r} names no classes: give 'id,CLASS,CLASS,...' with cells 0 or 1")


def _check_separator(names: Sequence[str], separator: str, separates: bool, place: Mapping[str, str]) -> None:
    """Raises InputError, or warns, where a name seems to be several; `separates`: some cell has the separator."""
    if foreign := [name for name in names if FOREIGN.search(name)]:
        raise _not_a_class(foreign[0], place, separator)
    signs = set(chain.from_iterable(map(BETWEEN.findall, names)))
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
    """Whether names seem to be lists with a sign between other names.

    Most consist of names that stand alone elsewhere; or they are made of few parts that change places, as those of a
    name like "dense forest" do not.
    """
    parts = [[*filter(None, class_names_in(name.split(sign)))] for name in names]
    lists = [found for found in parts if len(found) > 1]
    alone = [found for found in lists if {*found} <= {*names}]
    moving = {found[0] for found in lists} & {part for found in lists for part in found[1:]}
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
