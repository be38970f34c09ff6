"""Choosing a diverse batch: the most uncertain tiles, clustered, the most uncertain of each cluster."""

import numpy as np
from jaxtyping import Array, Float, Int

from aljax.arrays import AnyArray, as_array, as_key
from aljax.queries.kmeans import kmeans


def select(
    key: Array | int,
    scores: Float[AnyArray, " n"],
    features: Float[AnyArray, "n d"],
    budget: int,
    multiplier: int = 1,
) -> Int[np.ndarray, " budget"]:
    """Picks `budget` distinct tiles that are uncertain and unlike each other (section II-B).

    The `multiplier * budget` highest `scores` (N,) are clustered by their `features` (N, D) into `budget`
    clusters; each cluster gives its highest score, and a cluster that came out empty is made up for by the
    next highest score. With multiplier 1, or no more candidates than the budget, these are the highest
    scores. Equal scores count in the order of their index. Returns indices, highest score first; all N
    of them where N < budget. Raises ValueError for a budget or multiplier below 1, a score that is NaN, or
    features that are not those of N tiles. Not for use inside `jit`: it returns NumPy indices.
    """
    scores, features = np.asarray(as_array(scores)), as_array(features)
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)  # of whole numbers without a sign there is no negative
    if scores.ndim != 1 or len(features.shape) != 2:
        raise ValueError(f"scores have the shape {scores.shape} and features {features.shape}: give (N,) and (N, D)")
    if len(features) != len(scores):
        raise ValueError(f"there are {len(scores)} scores and features of {len(features)} tiles: give both for each")
    if budget < 1 or multiplier < 1:
        raise ValueError(f"budget is {budget} and multiplier is {multiplier}: both must be at least 1")
    if len(unranked := np.flatnonzero(np.isnan(scores))):
        raise ValueError(f"score {unranked[0]} is NaN: every tile needs a score to be ranked")
    candidates = np.argsort(-scores, kind="stable")[: multiplier * budget]
    if len(candidates) <= budget or multiplier == 1:
        return candidates[:budget]
    assignment = np.asarray(kmeans(as_key(key), features[candidates], budget).assignment)
    # Candidates are sorted, so the first member of a cluster is its most uncertain one.
    best = np.unique(assignment, return_index=True)[1]
    refill = np.setdiff1d(np.arange(len(candidates)), best)[: budget - len(best)]
    return candidates[np.sort(np.concatenate([best, refill]))]
