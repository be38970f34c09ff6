"""With `candidates` a random part of the unlabelled tiles is scored, and nothing else is predicted or chosen."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_loop import iterate, run, settings
from test_querying import fitted

from aljax.errors import InputError
from aljax.loop import querying
from aljax.loop.candidates import rows_to_score
from aljax.loop.iterations import begin_trial
from aljax.loop.settings import check_settings


def test_part_is_drawn_by_seed_trial_and_iteration_from_the_unlabelled(tiles, tmp_path) -> None:
    parts = set()
    for seed in (0, 1):
        chosen = settings(tmp_path, candidates=12, seed=seed)
        for trial in (0, 1):
            begun = begin_trial(tiles.pool, chosen, trial, ())
            for iteration in (1, 2):
                state = begun._replace(iteration=iteration)
                rows = rows_to_score(chosen, state)
                np.testing.assert_array_equal(rows, rows_to_score(chosen, state))
                assert len(rows) == 12
                assert set(rows) <= set(state.pool.unlabelled)
                np.testing.assert_array_equal(rows, np.unique(rows))
                parts.add(tuple(rows.tolist()))
    assert len(parts) == 8


@pytest.mark.parametrize("candidates", [0, 36, 10**6])
def test_part_as_large_as_the_pool_is_the_pool(candidates: int, tiles, tmp_path) -> None:
    chosen = settings(tmp_path, candidates=candidates)
    state = begin_trial(tiles.pool, chosen, 0, ())
    np.testing.assert_array_equal(rows_to_score(chosen, state), state.pool.unlabelled)


def test_what_compares_with_the_last_iteration_keeps_its_part_of_the_pool(tiles, tmp_path) -> None:
    chosen = settings(tmp_path, candidates=16, query="tpd")
    first = begin_trial(tiles.pool, chosen, 0, ())._replace(iteration=1)
    before = rows_to_score(chosen, first)
    labelled = before[::4]
    after = rows_to_score(chosen, first._replace(iteration=2, pool=first.pool.label(labelled)))
    assert set(before) - set(after) == set(labelled)
    assert len(after) == 16


@pytest.mark.parametrize("query", ["mge", "tpd", "random", "badge"])
def test_only_the_part_is_predicted_and_chosen_from(query: str, model, tiles, tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path, candidates=16, query=query)
    predict, predicted = querying.predict_batches, []

    def noted(model, variables, of, rows, *rest, **engine):
        if of is tiles.pool:
            predicted.append(rows.tolist())
        return predict(model, variables, of, rows, *rest, **engine)

    monkeypatch.setattr(querying, "predict_batches", noted)
    state = begin_trial(tiles.pool, chosen, 0, ())
    for number in range(2):
        before = state
        state = iterate(model, tiles, chosen, state)
        part = rows_to_score(chosen, before._replace(iteration=number + 1))
        new = set(state.pool.labelled) - set(before.pool.labelled)
        assert len(new) == chosen.budget
        assert new <= set(part)
        assert predicted == ([] if query == "random" else [part.tolist()])
        predicted.clear()
        if query == "tpd":
            assert state.probabilities is not None
            known = np.flatnonzero(~np.isnan(state.probabilities).any(1))
            np.testing.assert_array_equal(known, part)
            assert number == 0 or not np.isnan(before.probabilities[list(new)]).any()


def test_choice_from_a_part_is_that_of_a_pool_that_has_no_more(model, tiles, tmp_path) -> None:
    chosen = settings(tmp_path, candidates=16, query="mge")
    state = fitted(model, tiles, chosen)
    part = rows_to_score(chosen, state)
    rest = tuple(set(state.pool.unlabelled.tolist()) - set(part.tolist()))
    alone = fitted(model, tiles, chosen)._replace(pool=replace(state.pool, skipped=rest))
    (_, found), (_, expected) = (
        querying.choose(one, querying.predict(model, tiles, one, each))
        for one, each in ((chosen, state), (replace(chosen, candidates=0), alone))
    )
    np.testing.assert_array_equal(found, expected)


def test_tpd_goes_on_with_its_part_until_the_pool_is_labelled(archive, network, tmp_path) -> None:
    chosen = settings(tmp_path / "run", query="tpd", candidates=16, max_labels=40, trials=1)
    assert [len(record.selected) for record in run(archive, network, chosen)] == [*[4] * 9, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates": -1}, "--candidates is -1: it must be at least 0"),
        (
            {"candidates": 11},
            "--candidates is 11: 4 are chosen from 3 times as many: it must be at least 12, or 0 for all",
        ),
        (
            {"candidates": 15, "query": "tpd"},
            "--candidates is 15: 4 are chosen from 3 times as many, and 4 are new in each iteration, without "
            "a reference: it must be at least 16, or 0 for all",
        ),
    ],
)
def test_part_that_leaves_no_choice_is_refused(changes: dict, message: str, tmp_path) -> None:
    with pytest.raises(InputError) as caught:
        check_settings(settings(tmp_path, **changes))
    assert str(caught.value) == message


def test_run_records_its_part_and_an_older_run_has_none(archive, network, tmp_path) -> None:
    chosen = settings(tmp_path / "run", trials=1, max_labels=8)
    run(archive, network, chosen)
    assert "candidates" not in json.loads((chosen.run_dir / "config.json").read_text())
    with pytest.raises(InputError, match="candidates is 16 here and null there"):
        run(archive, network, replace(chosen, candidates=16))
