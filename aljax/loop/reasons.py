"""Why tiles were chosen: what the query, its clusters and the fitted model say of each."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from aljax.data.archive import Tiles
from aljax.loop.metrics import THRESHOLD
from aljax.loop.querying import clustering_key, labelled_embeddings, multiplier, scores_say_why
from aljax.loop.settings import Settings
from aljax.loop.state import Predicted, RunState
from aljax.networks.model import Model
from aljax.queries.kmeans import kmeans
from aljax.queries.selection import number_clusters
from aljax.queries.shortlist import Shortlist
from aljax.queries.table import find_query

IN_DOUBT = 3  # classes that are named for each tile
TOGETHER = 6  # tiles in a group
GROUPING = 1  # tells the key of the groups from that of the clusters


class Reason(NamedTuple):
    """Why a tile was chosen; None where the query has nothing of the kind."""

    score: float | None = None
    """By the query; None where it is random, or has no part in the choice."""
    rank: int | None = None
    """Place of the score among all tiles without labels, counted from 1."""
    cluster: int | None = None
    """Clusters count from 1, that of the highest score first."""
    cluster_size: int | None = None
    """Candidates in it or, in a first batch that covers the features, tiles without labels."""
    nearest: int | None = None
    """Row in the pool of the labelled tile with the nearest embedding."""
    distance: float | None = None
    """Euclidean distance to it."""
    in_doubt: tuple[tuple[int, float], ...] = ()
    """Classes whose probability is nearest to the threshold, and that probability; nearest first."""
    group: int | None = None
    """Of the chosen tiles, those with the same number are alike, so that they can be labelled together."""


def explain(
    settings: Settings, state: RunState, model: Model, pool: Tiles, chosen: Int[np.ndarray, " b"]
) -> tuple[Reason, ...]:
    """The reason of each tile that was chosen from the state; all empty where nothing was predicted of the pool."""
    assert isinstance(state.stage, Predicted)
    shortlist, query = state.stage.shortlist, find_query(settings.query)
    if shortlist is None or query.score is None or not len(chosen):
        return (Reason(),) * len(chosen)
    order = np.lexsort((shortlist.rows, -shortlist.scores))
    ranks = {row: rank for rank, row in enumerate(shortlist.rows[order].tolist(), start=1)}
    reasons = [Reason()] * len(chosen)
    if scores_say_why(settings, state):
        scores = dict(zip(shortlist.rows.tolist(), shortlist.scores.tolist(), strict=True))
        reasons = [Reason(scores[row], ranks[row]) for row in chosen.tolist()]
    if not query.is_pool_wide:
        reasons = _with_clusters(settings, state, shortlist, chosen, reasons)
    embeddings = shortlist.embeddings[order][[ranks[row] - 1 for row in chosen.tolist()]]
    nearest, distances = _nearest(embeddings, *labelled_embeddings(settings, model, state, pool, embeddings.shape[1]))
    doubts = _in_doubt(state, chosen)
    groups = group_alike(clustering_key(settings, state, GROUPING), embeddings)
    return tuple(
        reason._replace(nearest=row, distance=distance, in_doubt=doubt, group=group)
        for reason, row, distance, doubt, group in zip(reasons, nearest, distances, doubts, groups, strict=True)
    )


def group_alike(key: Array, embeddings: Float[np.ndarray, "b d"]) -> list[int]:
    """The group of each tile, `TOGETHER` of them in each on average; groups count from 1, that of the first tile first.

    The clusters of a query do not serve for that: of each it chooses one tile.
    """
    groups = kmeans(key, embeddings, -(-len(embeddings) // TOGETHER))
    return number_clusters(np.asarray(groups.assignment)).tolist()


def _with_clusters(
    settings: Settings, state: RunState, shortlist: Shortlist, chosen: Int[np.ndarray, " b"], reasons: list[Reason]
) -> list[Reason]:
    """The reasons with the clusters that the tiles were chosen from: the same key gives the same ones again."""
    assert isinstance(state.stage, Predicted)
    key, by_direction = clustering_key(settings, state), settings.cluster_by == "directions"
    rows, assignment = shortlist.cluster(key, state.stage.wanted, multiplier(settings, state), by_direction)
    if assignment is None:
        return reasons
    numbers, sizes = number_clusters(assignment), np.bincount(assignment)[assignment]
    places = {row: place for place, row in enumerate(rows.tolist())}
    at = [places.get(row) for row in chosen.tolist()]  # none for what --min-distance took from beyond the candidates
    return [
        reason if place is None else reason._replace(cluster=int(numbers[place]), cluster_size=int(sizes[place]))
        for reason, place in zip(reasons, at, strict=True)
    ]


def _nearest(
    embeddings: Float[np.ndarray, "b d"], rows: Int[np.ndarray, " m"], labelled: Float[np.ndarray, "m d"]
) -> tuple[list[int], list[float]]:
    """Of each tile the nearest labelled one, the first of several, and the distance."""
    from scipy.spatial.distance import cdist

    distances = cdist(embeddings, labelled)
    return rows[distances.argmin(1)].tolist(), distances.min(1).tolist()


def _in_doubt(state: RunState, chosen: Int[np.ndarray, " b"]) -> list[tuple[tuple[int, float], ...]]:
    """Of each tile the classes whose odds differ from those of the threshold by the smallest factor."""
    assert state.probabilities is not None
    threshold = THRESHOLD if state.thresholds is None else state.thresholds.validation
    found = state.probabilities[chosen]
    p, t = np.clip(found.astype(np.float64), 1e-7, 1 - 1e-7), np.clip(threshold, 1e-7, 1 - 1e-7)
    factors = np.abs(np.log(p / (1 - p)) - np.log(t / (1 - t)))
    order = np.argsort(factors, axis=1, kind="stable")[:, :IN_DOUBT]
    return [
        tuple((int(place), float(row[place])) for place in places) for row, places in zip(found, order, strict=True)
    ]
