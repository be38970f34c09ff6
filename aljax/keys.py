"""Every random draw comes from a key folded from (seed, trial, iteration, purpose, epoch).

Nothing depends on how many numbers were drawn before, so any step can be repeated alone and a resumed run
is exact.
"""

from enum import IntEnum

import jax
from jaxtyping import Array


class Purpose(IntEnum):
    """What a draw is for. The numbers are part of the file format of a run: never reuse or reorder them."""

    SPLIT = 1
    NORMALISATION = 2
    INITIAL_LABELS = 3
    WEIGHTS = 4
    TRAINING = 5
    RANDOM_QUERY = 6
    CLUSTERING = 7
    COVERAGE = 8
    SCORE = 9
    RESAMPLING = 10
    DEALING = 11
    CANDIDATES = 12


def derive_key(seed: int, purpose: Purpose, trial: int = 0, iteration: int = 0, epoch: int = 0) -> Array:
    """The key of one draw; the same arguments give the same key on every machine."""
    key = jax.random.key(seed)
    for part in (trial, iteration, int(purpose), epoch):
        key = jax.random.fold_in(key, part)
    return key
