"""Georeferences of many tiles as arrays: as objects those of a million tiles take a gigabyte."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from aljax.data.tiles.decoding import Georeference, read_georeference
from aljax.data.tiles.files import read_each
from aljax.errors import InputError

NOT_READ, NOWHERE = 0, -1
PLACE = np.dtype(
    [
        ("system", np.int32),  # number of the reference system from 1, or one of the above
        ("transform", np.float64, 6),  # as in `Georeference`
        ("height", np.int32),  # in pixels
        ("width", np.int32),
    ]
)


class Georeferences(NamedTuple):
    """Where tiles are."""

    systems: Sequence[str]
    """Coordinate reference systems as well-known text; the first has the number 1."""
    places: Shaped[np.ndarray, " n"]
    """Of type `PLACE`, one for each tile."""


def read_places(files: Sequence[str], systems: list[str]) -> Shaped[np.ndarray, " n"]:
    """The places of tiles by their files; systems that are new are appended to `systems`.

    That of a broken tile is NOT_READ, which is reported when its pixels are read.
    """
    places = np.zeros(len(files), PLACE)
    numbers = {system: number for number, system in enumerate(systems, 1)}
    for row, found in enumerate(read_each(_georeference_or_error, files, "reading georeferences")):
        if found is None:
            places["system"][row] = NOWHERE
        elif isinstance(found, Georeference):
            number = numbers.setdefault(found.crs, len(numbers) + 1)
            places[row] = (number, found.transform, found.height, found.width)
    systems[:] = numbers
    return places


def locate(files: Sequence[str]) -> Georeferences:
    """Where tiles are, by their files."""
    systems = list[str]()
    places = read_places(files, systems)
    return Georeferences(systems, places)


def _georeference_or_error(path: Path) -> Georeference | InputError | None:
    try:
        return read_georeference(path)
    except InputError as error:
        return error
