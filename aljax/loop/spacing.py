"""Tiles that are chosen at once and lie at least so far from each other (`--min-distance`)."""

import warnings
from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from aljax.data.space.distances import Footprints, spread
from aljax.errors import InputError, InputWarning
from aljax.queries.shortlist import Shortlist

LONGER = 8  # times as many tiles are chosen by BADGE and core-set where too many of the first are near to others


def choose_spaced(
    best: Callable[[int], Int[np.ndarray, " k"]],
    shortlist: Shortlist,
    wanted: int,
    is_greedy: bool,
    footprints: Footprints | None,
    metres: float,
) -> Int[np.ndarray, " b"]:
    """The `best` tiles without those too near to better ones; in place of these the next best in the shortlist.

    `best` gives as many as asked for; a query that is greedy goes on in its own order, as far as `LONGER`. Warns if the
    shortlist has too few.
    """
    order = best(wanted)
    chosen = spaced(order, wanted, footprints, metres)
    if metres > 0.0 and len(chosen) < wanted:
        longer = best(min(LONGER * wanted, len(shortlist.rows))) if is_greedy else order
        by_score = shortlist.rows[np.lexsort((shortlist.rows, -shortlist.scores))]
        for more in (longer, by_score):
            order = np.concatenate([order, more[~np.isin(more, order)]])
        chosen = spaced(order, wanted, footprints, metres)
        warn_of_fewer(len(chosen), wanted, metres)
    return chosen


def spaced(
    order: Int[np.ndarray, " k"], wanted: int, footprints: Footprints | None, metres: float
) -> Int[np.ndarray, " b"]:
    """The first tiles of an order that are `metres` from each other, at most `wanted`; with 0 metres the first ones.

    Raises InputError if nobody knows where the tiles are.
    """
    if metres == 0.0:
        return order[:wanted]
    if footprints is None:
        raise InputError("the archive does not know where its tiles are, as --min-distance must: leave it out")
    return spread(footprints, order, metres, wanted)


def warn_of_fewer(count: int, wanted: int, metres: float) -> None:
    """Warns if a batch has fewer tiles than wanted."""
    if count < wanted:
        message = f"only {count} tiles in place of {wanted} are {metres:g} m from each other: the batch has no more"
        warnings.warn(InputWarning(message), stacklevel=3)
