"""The query functions by name: the inputs that each needs, its score, and how tiles are selected by the score.

A user's own query is a function, named on the command line as `module:function`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from aljax.arrays import AnyArray
from aljax.errors import InputError
from aljax.queries.scores import (
    LastLayer,
    bald_scores,
    entropy_scores,
    least_confidence_scores,
    ll_scores,
    margin_scores,
    mge_scores,
    rarity_scores,
    tpd_scores,
)
from aljax.system.own_code import find_own

DROPOUT, PASSES = 0.25, 16  # of BALD: dropout rate of the last layer's inputs, and number of forward passes


class Candidates(NamedTuple):
    """The arguments of a score, for a batch of B unlabelled tiles."""

    probabilities: Float[AnyArray, "b c"]
    embeddings: Float[AnyArray, "b d"]
    """Inputs of the last layer (B, D)."""
    last_layer: LastLayer
    """{"kernel": (D, C), "bias": (C,)} of the fitted network."""
    predicted_losses: Float[AnyArray, " b"] | None
    """Of the loss head of LL; None for a network without one."""
    previous: Float[AnyArray, "b c"] | None
    """Probabilities in the last iteration; None unless the query `needs_previous`."""
    labels: UInt8[np.ndarray, "n c"]
    """Labels (n, C) of the labelled tiles: 0, 1 or UNKNOWN (255)."""
    key: Array
    """The same for all batches of an iteration."""
    threshold: float = 0.5
    """The probability above which a class is predicted, for the best micro F1 on the validation tiles."""


Score = Callable[[Candidates], Float[AnyArray, " b"]]
"""Uncertainty (B,) of the tiles of a batch; the highest are labelled."""


@dataclass(frozen=True)
class Query:
    """A query function: a score and a way to select tiles by it."""

    name: str
    """On the command line."""
    title: str
    """In legends and tables."""
    score: Score | None
    """None: random."""
    choice: Literal["clusters", "gradients", "centres"] = "clusters"
    """`select` from the m * b highest scores (the paper), or `badge` or `coreset` over the whole pool."""
    needs_loss_head: bool = False
    needs_previous: bool = False
    """Whether it needs the probabilities of the last iteration; without them, in the first, it chooses at random."""
    source: Path | None = None
    """The file of a user's own score."""

    @property
    def is_pool_wide(self) -> bool:
        return self.choice != "clusters"


def _ll(candidates: Candidates) -> Float[Array, " b"]:
    assert candidates.predicted_losses is not None
    return ll_scores(candidates.predicted_losses)


def _tpd(candidates: Candidates) -> Float[Array, " b"]:
    assert candidates.previous is not None
    return tpd_scores(candidates.probabilities, candidates.previous)


def _mge(candidates: Candidates) -> Float[Array, " b"]:
    return mge_scores(candidates.last_layer, candidates.embeddings)


def _rarity(candidates: Candidates) -> Float[Array, " b"]:
    return rarity_scores(candidates.probabilities, _positives(candidates), len(candidates.labels))


def _boundary(candidates: Candidates) -> Float[Array, " b"]:
    threshold = float(np.clip(candidates.threshold, 0.01, 0.99))
    return rarity_scores(candidates.probabilities, _positives(candidates), len(candidates.labels), threshold)


def _positives(candidates: Candidates) -> Int[np.ndarray, " c"]:
    """Number (C,) of labelled tiles that are known to have each class."""
    return (candidates.labels == 1).sum(0)


def _bald(candidates: Candidates) -> Float[Array, " b"]:
    layer = candidates.last_layer
    return bald_scores(_passes(candidates.key, candidates.embeddings, layer["kernel"], layer["bias"]))


@jax.jit
def _passes(key: Array, embeddings: Array, kernel: Array, bias: Array) -> Float[Array, "k b c"]:
    """Probabilities with dropout on the last layer's inputs; each pass has one dropout mask for all tiles."""
    kept = jax.random.bernoulli(key, 1.0 - DROPOUT, (PASSES, kernel.shape[0], 1)) / (1.0 - DROPOUT)
    return jax.nn.sigmoid(jnp.einsum("bd,kdc->kbc", embeddings, kept * kernel) + bias)


QUERIES: Mapping[str, Query] = {
    query.name: query
    for query in (
        Query("random", "Random", None),
        Query("ll", "LL", _ll, needs_loss_head=True),
        Query("tpd", "TPD", _tpd, needs_previous=True),
        Query("mge", "MGE", _mge),
        Query("entropy", "Entropy", lambda candidates: entropy_scores(candidates.probabilities)),
        Query("margin", "Margin", lambda candidates: margin_scores(candidates.probabilities)),
        Query("least-confidence", "Least confidence", lambda batch: least_confidence_scores(batch.probabilities)),
        Query("bald", "BALD", _bald),
        Query("rarity", "Rarity", _rarity),
        Query("boundary", "Boundary", _boundary),
        Query("coreset", "Core-set", _mge, "centres"),
        Query("badge", "BADGE", _mge, "gradients"),
    )
}


def find_query(name: str) -> Query:
    """A query of `QUERIES`, or a user's own `Score` as `module:function`; modules may be in the working directory.

    Raises InputError if there is none of that name.
    """
    if name in QUERIES:
        return QUERIES[name]
    if ":" not in name:
        known = ", ".join(QUERIES)
        raise InputError(f"--query {name} is none of {known}: use one of them, or module:function for your own")
    score = find_own(name, "--query")
    file = inspect.getsourcefile(score)
    return Query(name, name, score, source=None if file is None else Path(file))


def series_name(query: str, clustering: bool) -> str:
    """The paper's name of a query function: "MGE+Clustering"."""
    found = QUERIES.get(query) or Query(query, query, _mge)
    clustered = clustering and found.score is not None and not found.is_pool_wide
    return found.title + ("+Clustering" if clustered else "")
