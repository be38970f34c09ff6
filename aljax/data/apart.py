"""A split whose held-out tiles are apart from the pool on the ground, where archives know where their tiles are."""

import math
import warnings
from functools import partial

import numpy as np
from jaxtyping import Bool, Int

from aljax.data.archive import Archive, Split, random_split
from aljax.data.space.blocks import in_blocks
from aljax.data.space.distances import closer_than
from aljax.data.space.footprints import groups, of_same_place
from aljax.errors import InputError, InputWarning


def check_metres(**flags: float) -> None:
    """Raises InputError unless all of these are distances, named as on the command line."""
    for name, metres in flags.items():
        if not 0.0 <= metres < math.inf:
            raise InputError(f"--{name.replace('_', '-')} is {metres}: it is a distance in metres, at least 0")


def require_places(archive: Archive, **flags: float) -> None:
    """Raises InputError if a flag has a distance, and the archive has a tile without a place."""
    flag = next((name.replace("_", "-") for name, metres in flags.items() if metres > 0.0), None)
    if flag is None:
        return
    without = np.arange(len(archive.ids)) if archive.footprints is None else np.flatnonzero(archive.footprints.of < 0)
    if len(without):
        count = (
            "no tile has" if len(without) == len(archive.ids) else f"{len(without)} of {len(archive.ids)} tiles lack"
        )
        example = "" if len(without) == len(archive.ids) else f", as {archive.ids[without[0]]}"
        raise InputError(f"{count} a georeference{example}, and --{flag} needs to know where tiles are: leave it out")


def too_near(archive: Archive, held: Int[np.ndarray, " h"], metres: float = 0.0) -> Bool[np.ndarray, " n"]:
    """Which tiles (n,), beside those `held` out, show the place of one of these or are nearer to it than `metres`."""
    near = np.zeros(len(archive.ids), bool)
    if archive.footprints is not None:
        near = of_same_place(archive.footprints, held) | closer_than(archive.footprints, held, metres)
    near[held] = False
    return near


def split_apart(archive: Archive, seed: int, validation: int, test: int, metres: float = 0.0) -> Split:
    """A random split of which the pool has no copy of a held-out tile, none of the same place, and none too near.

    With `metres` the held-out tiles lie in blocks, and tiles nearer to them are in no part. Tiles of one place are all
    in one part where they can be, as copies are. Raises InputError if a part would be empty.
    """
    if archive.footprints is None:
        return random_split(seed, len(archive.ids), validation, test, archive.copy_of)
    together = groups(archive.footprints, archive.copy_of)
    blocks = partial(in_blocks, archive.footprints, wanted=validation + test, metres=metres)
    arrange = {"arrange": blocks} if metres > 0.0 else {}
    return keep_apart(archive, random_split(seed, len(archive.ids), validation, test, together, **arrange), metres)


def keep_apart(archive: Archive, split: Split, metres: float = 0.0) -> Split:
    """The split with the tiles of the pool left out that are `too_near`. Raises InputError if none remains."""
    near = too_near(archive, np.concatenate([split.validation, split.test]), metres)
    pool = split.pool[~near[split.pool]]
    if not len(pool):
        raise InputError(f"every tile of the pool is nearer than {metres:g} m to a test or validation tile: lower it")
    return split._replace(pool=pool)


def warn_of_left_out(count: int, of: int, metres: float) -> None:
    """Says how many tiles of the archive are left out of the pool, if any."""
    if count:
        how = f"are nearer than {metres:g} m to" if metres > 0.0 else "show the place of"
        message = f"{count} of {of} tiles {how} test or validation tiles: they are left out of the pool"
        warnings.warn(InputWarning(message), stacklevel=2)
