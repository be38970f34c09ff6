"""What is trained on, evaluated and chosen: the right tiles, and a key of its own for every draw."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.stats import spearmanr
from test_loop import iterate, settings

from aljax.keys import Purpose, derive_key
from aljax.loop import iterations as loop
from aljax.loop import querying
from aljax.loop.history import Record
from aljax.loop.iterations import begin_iteration, begin_trial
from aljax.loop.metrics import evaluate
from aljax.loop.settings import Settings
from aljax.loop.state import Fitted, Predicted, RunState, Training
from aljax.networks.losses import bce_loss
from aljax.networks.model import Model, last_layer
from aljax.queries.scores import ll_scores, mge_scores
from aljax.queries.selection import select
from aljax.queries.table import QUERIES
from aljax.training.prediction import predict_batches, predict_probabilities


def fitted(model: Model, tiles, chosen: Settings, trial: int = 0) -> RunState:
    """The state after a training that did nothing."""
    state = begin_iteration(model, tiles.pool, chosen, begin_trial(tiles.pool, chosen, trial, ()))
    assert isinstance(state.stage, Training)
    return state._replace(variables=state.stage.fit.state.variables, stage=Fitted())


def test_training_has_the_labelled_tiles_and_keys_of_its_seed_trial_iteration_and_epoch(
    model, tiles, tmp_path, monkeypatch
) -> None:
    keys, masks = [], []

    def fit(model, recipe, start, pool, labelled, key, *rest):
        keys.extend(tuple(jax.random.key_data(key(epoch)).tolist()) for epoch in (0, 1))
        masks.append(np.flatnonzero(labelled).tolist())
        return start.state.variables

    monkeypatch.setattr(loop, "fit", fit)
    for seed in (0, 1):
        chosen = settings(tmp_path, seed=seed, query="random")
        for trial in (0, 1):
            state = begin_trial(tiles.pool, chosen, trial, ())
            for _ in range(2):
                labelled = sorted(state.pool.labelled.tolist())
                state = iterate(model, tiles, chosen, state)
                assert masks[-1] == labelled
    assert len(set(keys)) == len(keys) == 16


@pytest.mark.parametrize("query", ["ll", "mge"])
def test_choice_is_the_selection_by_scores_and_embeddings(query: str, model, ll_model, tiles, tmp_path) -> None:
    chosen = settings(tmp_path, query=query, seed=3)
    network = ll_model if query == "ll" else model
    for trial in (0, 1):
        state = fitted(network, tiles, chosen, trial)
        rows = state.pool.unlabelled
        ((_, batch),) = predict_batches(network, state.variables, tiles.pool, rows, len(rows))
        if query == "ll":
            scores = ll_scores(batch.predicted_losses)
        else:
            scores = mge_scores(last_layer(state.variables), batch.embeddings)
        key = derive_key(3, Purpose.CLUSTERING, trial, 1)
        expected = select(key, np.asarray(scores), np.asarray(batch.embeddings), chosen.budget, chosen.multiplier)
        _, found = querying.choose(chosen, querying.predict(network, tiles, chosen, state))
        np.testing.assert_array_equal(found, rows[expected])


def test_clusters_by_direction_are_those_of_unit_vectors(model, tiles, tmp_path) -> None:
    chosen = settings(tmp_path, query="mge", cluster_by="directions", multiplier=4)
    state = fitted(model, tiles, chosen)
    rows = state.pool.unlabelled
    ((_, batch),) = predict_batches(model, state.variables, tiles.pool, rows, len(rows))
    embeddings = np.asarray(batch.embeddings)
    scores = np.asarray(mge_scores(last_layer(state.variables), batch.embeddings))
    key = derive_key(chosen.seed, Purpose.CLUSTERING, 0, 1)
    unit = np.sqrt(embeddings.shape[1]) * embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    expected, raw = (select(key, scores, features, chosen.budget, 4) for features in (unit, embeddings))
    _, found = querying.choose(chosen, querying.predict(model, tiles, chosen, state))
    np.testing.assert_array_equal(found, rows[expected])
    assert not np.array_equal(expected, raw)


def test_how_well_the_loss_head_orders_the_validation_tiles_is_in_the_record(ll_model, model, tiles, tmp_path) -> None:
    for network, query in ((ll_model, "ll"), (model, "mge")):
        chosen = settings(tmp_path, query=query)
        state = querying.predict(network, tiles, chosen, fitted(network, tiles, chosen))
        record = loop.label(state, np.array([], int), ()).history[-1]
        if query == "mge":
            assert record.loss_rank_correlation is None
            assert "loss_rank_correlation" not in record.to_line()
            continue
        validation = tiles.validation
        ((_, batch),) = predict_batches(
            network, state.variables, validation, np.arange(validation.num_tiles), validation.num_tiles
        )
        losses = bce_loss(np.log(batch.probabilities / (1 - batch.probabilities)), validation.labels)
        expected = spearmanr(batch.predicted_losses, losses).statistic
        assert record.loss_rank_correlation == pytest.approx(expected, abs=1e-6)


def test_random_choices_are_others_for_every_seed_trial_and_iteration(tiles, tmp_path) -> None:
    scores = []
    for seed in (0, 1):
        chosen = settings(tmp_path, query="random", seed=seed)
        for trial in (0, 1):
            for iteration in (1, 2):
                state = begin_trial(tiles.pool, chosen, trial, ())._replace(iteration=iteration)
                scores.append(tuple(querying._random_scores(chosen, state).tolist()))
    assert len(set(scores)) == 8


def test_fresh_weights_are_others_for_every_seed(model, tiles, tmp_path) -> None:
    first, second = (
        fitted(model, tiles, settings(tmp_path, seed=seed)).variables["params"]["network"]["stem"]["kernel"]
        for seed in (0, 1)
    )
    assert np.all(np.asarray(first) != np.asarray(second))


def test_reported_is_the_test_set_and_a_trial_ends_by_the_validation_set(model, tiles, tmp_path) -> None:
    odd = tiles._replace(validation=replace(tiles.validation, labels=1 - tiles.validation.labels))
    chosen = settings(tmp_path, query="random", patience=1)
    state = fitted(model, odd, chosen)
    test, validation = (
        evaluate(predict_probabilities(model, state.variables, part), part.labels)
        for part in (odd.test, odd.validation)
    )
    low, high = sorted((test.micro_f1, validation.micro_f1))
    assert low < high
    earlier = Record(1, 1, 4, 0.0, 0.0, 0.0, (low + high) / 2, (), 0.0, 0.0, 0.0)
    predicted = querying.predict(model, odd, chosen, state._replace(iteration=2, history=(earlier,))).stage
    assert isinstance(predicted, Predicted)
    assert predicted.test == test
    assert predicted.validation_micro_f1 == validation.micro_f1
    assert (predicted.wanted == 0) == (validation.micro_f1 == low)


def test_numbers_of_purposes_are_those_of_older_runs() -> None:
    assert [purpose.name for purpose in sorted(Purpose)] == [
        *("SPLIT", "NORMALISATION", "INITIAL_LABELS", "WEIGHTS", "TRAINING", "RANDOM_QUERY", "CLUSTERING"),
        *("COVERAGE", "SCORE", "RESAMPLING", "DEALING", "CANDIDATES"),
    ]
    assert sorted(map(int, Purpose)) == [*range(1, 13)]


@pytest.mark.parametrize("stands_in", [False, True])
def test_boundary_takes_its_threshold_from_validation_and_never_from_the_test(
    stands_in: bool, model, tiles, tmp_path, monkeypatch
) -> None:
    seen = []

    def score(given):
        seen.append(given.threshold)
        return np.asarray(given.probabilities).sum(1)

    monkeypatch.setattr(querying, "find_query", lambda name: replace(QUERIES["boundary"], score=score))
    chosen = settings(tmp_path, query="boundary")
    if stands_in:
        tiles = tiles._replace(validation=tiles.test)
    state = querying.predict(model, tiles, chosen, fitted(model, tiles, chosen))
    assert isinstance(state.stage, Predicted)
    at_thresholds = state.stage.at_thresholds
    assert (at_thresholds is None) == stands_in
    assert set(seen) == {0.5 if at_thresholds is None else at_thresholds.validation_threshold}
