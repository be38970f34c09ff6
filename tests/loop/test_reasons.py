"""What is told of a chosen tile is what it was chosen by."""

import jax
import numpy as np
import pytest
from test_loop import settings
from test_querying import fitted

from aljax.loop import querying
from aljax.loop.reasons import Reason, explain, group_alike
from aljax.loop.state import Predicted, RunState
from aljax.networks.model import Model, last_layer
from aljax.queries.kmeans import kmeans
from aljax.queries.scores import mge_scores
from aljax.training.prediction import predict_batches


def chosen_from(model: Model, tiles, chosen) -> tuple[RunState, np.ndarray, tuple[Reason, ...]]:
    """The state before a choice, the tiles that were chosen, and their reasons."""
    before = fitted(model, tiles, chosen)
    before = before._replace(probabilities=np.full(tiles.pool.labels.shape, np.nan, np.float32))
    state, rows = querying.choose(chosen, querying.predict(model, tiles, chosen, before), model, tiles.pool)
    return state, rows, explain(chosen, state, model, tiles.pool, rows)


def everything(model: Model, state: RunState, tiles):
    """Embeddings, probabilities and MGE of the whole pool, in one batch."""
    every = np.arange(tiles.pool.num_tiles)
    ((_, batch),) = predict_batches(model, state.variables, tiles.pool, every, len(every))
    scores = mge_scores(last_layer(state.variables), batch.embeddings)
    return np.asarray(batch.embeddings), np.asarray(batch.probabilities), np.asarray(scores)


def test_groups_are_of_tiles_that_are_alike() -> None:
    places = np.array([2, 0, 1, 0, 2, 1] * 3)
    embeddings = (10.0 * np.eye(3)[places] + np.random.default_rng(0).normal(size=(18, 3))).astype(np.float32)
    groups = group_alike(jax.random.key(0), embeddings)
    assert groups == [{2: 1, 0: 2, 1: 3}[place] for place in places.tolist()]


def odds(probability):
    return np.log(probability / (1.0 - probability))


def test_reasons_are_those_of_the_choice(model, tiles, tmp_path) -> None:
    chosen = settings(tmp_path, query="mge")
    state, rows, reasons = chosen_from(model, tiles, chosen)
    embeddings, probabilities, scores = everything(model, state, tiles)
    unlabelled, labelled = state.pool.unlabelled, state.pool.labelled
    ranked = unlabelled[np.argsort(-scores[unlabelled], kind="stable")]
    candidates = ranked[: chosen.budget * chosen.multiplier]
    key = querying.clustering_key(chosen, state)
    assignment = np.asarray(kmeans(key, embeddings[candidates], chosen.budget).assignment)
    assert len(reasons) == len(rows) == chosen.budget
    for row, reason in zip(rows, reasons, strict=True):
        assert reason.score == pytest.approx(scores[row], rel=1e-4)
        assert ranked[reason.rank - 1] == row
        own = assignment[candidates == row][0]
        assert reason.cluster_size == (assignment == own).sum()
        distances = np.linalg.norm(embeddings[labelled] - embeddings[row], axis=1)
        assert reason.distance == pytest.approx(distances.min(), rel=1e-4)
        assert reason.nearest == labelled[distances.argmin()]
        doubt = np.argsort(np.abs(odds(probabilities[row]) - odds(state.thresholds.validation)))
        assert [place for place, _ in reason.in_doubt] == doubt.tolist()
        assert [p for _, p in reason.in_doubt] == pytest.approx(probabilities[row][doubt], rel=1e-4)
    assert reasons[0].cluster == reasons[0].rank == 1
    assert sorted({reason.cluster for reason in reasons}) == list(range(1, len(set(assignment)) + 1))


def test_classes_in_doubt_are_those_near_the_fitted_threshold(model, tiles, tmp_path) -> None:
    state, rows, _ = chosen_from(model, tiles, settings(tmp_path, query="boundary"))
    assert isinstance(state.stage, Predicted)
    fitted_to = state.stage.at_thresholds._replace(validation_threshold=0.2)
    probabilities = state.probabilities.copy()
    probabilities[rows] = [0.19, 0.5, 0.01]
    state = state._replace(probabilities=probabilities, stage=state.stage._replace(at_thresholds=fitted_to))
    (first, *_) = explain(settings(tmp_path, query="boundary"), state, model, tiles.pool, rows)
    assert [place for place, _ in first.in_doubt] == [0, 1, 2]


@pytest.mark.parametrize(
    ("query", "clustering", "known"),
    [
        ("random", True, ()),
        ("mge", False, ("score", "rank", "nearest", "distance", "in_doubt", "group")),
        ("badge", True, ("score", "rank", "nearest", "distance", "in_doubt", "group")),
        ("coreset", True, ("nearest", "distance", "in_doubt", "group")),
        ("tpd", True, ("nearest", "distance", "in_doubt", "group")),  # by chance, in the first iteration
    ],
)
def test_what_a_query_does_not_choose_by_is_not_reported(query, clustering, known, model, tiles, tmp_path) -> None:
    chosen = settings(tmp_path, query=query, clustering=clustering)
    _, rows, reasons = chosen_from(model, tiles, chosen)
    assert len(reasons) == len(rows) == chosen.budget
    for reason in reasons:
        assert [name for name, value in reason._asdict().items() if value not in (None, ())] == list(known)
