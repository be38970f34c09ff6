"""Which unlabelled tiles of an iteration are scored, and which of them a query can rank."""

import jax
import numpy as np
from jaxtyping import Bool, Int

from aljax.keys import Purpose, derive_key
from aljax.loop.settings import Settings
from aljax.loop.state import RunState
from aljax.queries.table import find_query


def rows_to_score(settings: Settings, state: RunState) -> Int[np.ndarray, " m"]:
    """The unlabelled tiles that are scored, in ascending order: all, or so many `candidates` drawn by chance.

    They are others in each iteration, except for a query that compares with the last one: of these, in all iterations
    of a trial, the first in one order are taken, so that only as many as were labelled are new and have no reference.
    """
    unlabelled = state.pool.unlabelled
    if not 0 < settings.candidates < len(unlabelled):
        return unlabelled
    iteration = 0 if find_query(settings.query).needs_previous else state.iteration
    key = derive_key(settings.seed, Purpose.CANDIDATES, state.trial, iteration)
    order = np.asarray(jax.random.permutation(key, state.pool.size))
    may_be_chosen = np.zeros(state.pool.size, bool)
    may_be_chosen[unlabelled] = True
    return np.sort(order[may_be_chosen[order]][: settings.candidates]).astype(np.int64)


def have_reference(settings: Settings, state: RunState, rows: Int[np.ndarray, " b"]) -> Bool[np.ndarray, " b"]:
    """Which tiles can be ranked: a query that compares with the last iteration cannot rank those that are new to it."""
    compares = find_query(settings.query).needs_previous and not without_reference(settings, state)
    if not (settings.candidates and compares) or state.probabilities is None:
        return np.ones(len(rows), bool)
    return ~np.isnan(state.probabilities[rows]).any(1)


def without_reference(settings: Settings, state: RunState) -> bool:
    """Whether the query needs earlier probabilities, as TPD does, and this is the first iteration, without any."""
    return find_query(settings.query).needs_previous and state.iteration == 1
