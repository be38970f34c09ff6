"""The query functions by name: what each needs of a prediction, its score, and how tiles are chosen by it.

A user's own is one function more.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

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

DROPOUT, PASSES = 0.25, 16  # of BALD: share of the last layer's inputs that a pass leaves out, and passes


class Candidates(NamedTuple):
    """What a score may look at: a row for each tile of a batch of unlabelled ones."""

    probabilities: Float[AnyArray, "b c"]
    embeddings: Float[AnyArray, "b d"]
    """Inputs of the last layer."""
    last_layer: LastLayer
    """{"kernel": (D, C), "bias": (C,)} of the fitted network."""
    predicted_losses: Float[AnyArray, " b"] | None
    """Of a network with a loss head."""
    previous: Float[AnyArray, "b c"] | None
    """Probabilities in the last iteration, for a query that needs them."""
    labels: UInt8[np.ndarray, "n c"]
    """Of the labelled tiles."""
    key: Array
    """The same for all batches of an iteration."""
    threshold: float = 0.5
    """Above which a class counts as present, by the best micro F1 on the validation tiles."""


Score = Callable[[Candidates], Float[AnyArray, " b"]]
"""Uncertainty of each tile of the batch: higher is more worth labelling."""


@dataclass(frozen=True)
class Query:
    """How the tiles to label are found."""

    name: str
    """On the command line."""
    title: str
    """In legends and tables."""
    score: Score | None
    """None: by chance."""
    choice: Literal["clusters", "gradients", "centres"] = "clusters"
    """Clusters of the m * b highest scores and the best of each (the paper); or, pool-wide, `badge` or `coreset`."""
    needs_loss_head: bool = False
    needs_previous: bool = False
    """Probabilities of the last iteration: in the first one it chooses by chance."""
    source: Path | None = None
    """The file that a user's own is from."""

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
    labels = candidates.labels
    return rarity_scores(candidates.probabilities, labels.sum(0, dtype=int), len(labels))


def _boundary(candidates: Candidates) -> Float[Array, " b"]:
    labels, threshold = candidates.labels, float(np.clip(candidates.threshold, 0.01, 0.99))
    return rarity_scores(candidates.probabilities, labels.sum(0, dtype=int), len(labels), threshold)


def _bald(candidates: Candidates) -> Float[Array, " b"]:
    layer = candidates.last_layer
    return bald_scores(_passes(candidates.key, candidates.embeddings, layer["kernel"], layer["bias"]))


@jax.jit
def _passes(key: Array, embeddings: Array, kernel: Array, bias: Array) -> Float[Array, "k b c"]:
    """Probabilities with dropout of the last layer's inputs; a pass leaves the same inputs out for every tile."""
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
        Query("least-confidence", "Least confidence", lambda given: least_confidence_scores(given.probabilities)),
        Query("bald", "BALD", _bald),
        Query("rarity", "Rarity", _rarity),
        Query("boundary", "Boundary", _boundary),
        Query("coreset", "Core-set", _mge, "centres"),
        Query("badge", "BADGE", _mge, "gradients"),
    )
}


def find_query(name: str) -> Query:
    """A query of the table, or a user's own by `module:function`; modules are looked for in the working directory too.

    The function is a `Score`. Raises InputError if there is none of that name.
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
