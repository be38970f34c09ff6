"""Selection of a diverse batch: the most uncertain tiles are clustered, and the best of each cluster is chosen."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from aljax.arrays import AnyArray, as_array, as_key
from aljax.queries.kmeans import kmeans


class Clustered(NamedTuple):
    """The tiles that a batch is chosen from."""

    candidates: Int[np.ndarray, " k"]
    """Indices of the tiles with the highest scores, highest first."""
    assignment: Int[np.ndarray, " k"] | None
    """The cluster of each; None if the batch is chosen without clustering."""


def select(
    key: Array | int,
    scores: Float[AnyArray, " n"],
    features: Float[AnyArray, "n d"],
    budget: int,
    multiplier: int = 1,
) -> Int[np.ndarray, " budget"]:
    """Chooses `budget` distinct tiles that are uncertain and diverse (section II-B of the paper).

    The tiles with the `multiplier * budget` highest `scores` (N,) are clustered by their `features` (N, D) into
    `budget` clusters, and the tile with the highest score of each cluster is chosen. An empty cluster is replaced by
    the highest score that is left. With multiplier 1, or no more candidates than the budget, the highest scores are
    chosen without clustering. Ties are ordered by index. Returns indices, highest score first, or all N if N < budget.
    Raises ValueError for a budget or multiplier below 1, a NaN score, or other shapes. Not for use inside `jit`: it
    returns NumPy indices.
    """
    scores, features = np.asarray(as_array(scores)), as_array(features)
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)  # unsigned integers cannot be negated for the sort
    if scores.ndim != 1 or len(features.shape) != 2:
        raise ValueError(f"scores have the shape {scores.shape} and features {features.shape}: give (N,) and (N, D)")
    if len(features) != len(scores):
        raise ValueError(f"there are {len(scores)} scores and features of {len(features)} tiles: give both for each")
    if budget < 1 or multiplier < 1:
        raise ValueError(f"budget is {budget} and multiplier is {multiplier}: both must be at least 1")
    if len(unranked := np.flatnonzero(np.isnan(scores))):
        raise ValueError(f"score {unranked[0]} is NaN: every tile needs a score to be ranked")
    candidates, assignment = cluster(key, scores, features, budget, multiplier)
    if assignment is None:
        return candidates[:budget]
    # Candidates are sorted, so the first member of a cluster is its most uncertain one.
    best = np.unique(assignment, return_index=True)[1]
    refill = np.setdiff1d(np.arange(len(candidates)), best)[: budget - len(best)]
    return candidates[np.sort(np.concatenate([best, refill]))]


def cluster(
    key: Array | int,
    scores: Float[np.ndarray, " n"],
    features: Float[AnyArray, "n d"],
    budget: int,
    multiplier: int,
) -> Clustered:
    """The candidates of `select`, which has the same arguments, and their clusters."""
    candidates = np.argsort(-scores, kind="stable")[: multiplier * budget]
    if len(candidates) <= budget or multiplier == 1:
        return Clustered(candidates, None)
    return Clustered(candidates, np.asarray(kmeans(as_key(key), features[candidates], budget).assignment))


def number_clusters(assignment: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The clusters (n,), counted from 1 in the order of their first members.

    >>> number_clusters(np.array([7, 2, 7, 0])).tolist()
    [1, 2, 1, 3]
    """
    _, first, cluster = np.unique(assignment, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[cluster] + 1
