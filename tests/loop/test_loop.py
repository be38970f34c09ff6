"""The loop: what it labels, when it stops, and that a run that was stopped goes on as if it had not been."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from aljax.data.archive import Archive, SplitTiles, random_split
from aljax.errors import DivergedError, InputError
from aljax.keys import Purpose, derive_key
from aljax.loop import querying
from aljax.loop.history import TIMES, Record
from aljax.loop.iterations import Watcher, advance, begin_iteration, begin_trial
from aljax.loop.settings import Settings
from aljax.loop.state import RunState
from aljax.networks.densenet import DenseNet
from aljax.networks.model import Model
from aljax.queries import table
from aljax.runs.experiment import run_experiment
from aljax.training.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=0.05)


def settings(run_dir: Path, **changes) -> Settings:
    base = Settings(
        run_dir=run_dir,
        query="mge",
        trials=2,
        initial=4,
        budget=4,
        multiplier=3,
        max_labels=14,
        image_size=32,
        recipe=RECIPE,
    )
    return replace(base, **changes)


def run(archive: Archive, network: DenseNet, chosen: Settings) -> list[Record]:
    split = random_split(chosen.seed, len(archive.ids), validation=10, test=10)
    (history,) = run_experiment(chosen, archive, split, network).values()
    return list(history)


def lines_without_times(run_dir: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run_dir / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


class Nothing(Watcher):
    """A store that keeps nothing and a watcher that is told in vain."""

    def offer(self, *arguments: object) -> None: ...

    save = restore = keep = offer


def iterate(model: Model, tiles: SplitTiles, chosen: Settings, state: RunState) -> RunState:
    return advance(model, tiles, chosen, begin_iteration(model, tiles.pool, chosen, state), Nothing(), Nothing())


def test_finished_run_repeats_nothing(archive, network, tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", trials=1)
    first = run(archive, network, chosen)
    monkeypatch.setattr("aljax.loop.iterations.fit", lambda *arguments: pytest.fail("trained again"))
    assert run(archive, network, chosen) == first


@pytest.mark.parametrize("query", ["random", "ll", "tpd", "mge"])
def test_labels_grow_by_the_budget_and_no_tile_is_chosen_twice(query: str, archive, network, tmp_path) -> None:
    history = run(archive, network, settings(tmp_path / "run", query=query))
    pool_ids = {archive.ids[index] for index in random_split(0, len(archive.ids), 10, 10).pool}
    for trial in (1, 2):
        records = [record for record in history if record.trial == trial]
        assert [record.iteration for record in records] == [1, 2, 3, 4]
        assert [record.num_labeled for record in records] == [4, 8, 12, 14]
        assert [len(record.selected) for record in records] == [4, 4, 2, 0]
        chosen = [tile for record in records for tile in record.selected]
        assert len(set(chosen)) == len(chosen)
        assert set(chosen) <= pool_ids


def test_run_directory_holds_the_files_of_the_format(archive, network, tmp_path) -> None:
    chosen = settings(tmp_path / "run", trials=1)
    run(archive, network, chosen)
    names = {path.name for path in chosen.run_dir.iterdir()}
    assert names == {"config.json", "history.jsonl", "curve.png", "summary.json", "checkpoints", "probabilities"}
    line = json.loads((chosen.run_dir / "history.jsonl").read_text().splitlines()[0])
    assert set(line) >= {
        "trial",
        "iteration",
        "num_labeled",
        "micro_f1",
        "macro_f1",
        "mean_average_precision",
        "selected",
        "train_seconds",
        "predict_seconds",
        "select_seconds",
    }
    assert (chosen.run_dir / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_tpd_chooses_at_random_in_the_first_iteration_and_not_after(archive, network, tmp_path) -> None:
    tpd, at_random = (
        run(archive, network, settings(tmp_path / query, query=query, trials=1)) for query in ("tpd", "random")
    )
    assert tpd[0].selected == at_random[0].selected
    assert tpd[1].selected != at_random[1].selected


def test_tpd_scores_the_change_since_the_last_iteration(model: Model, tiles: SplitTiles, tmp_path) -> None:
    from aljax.queries.selection import select
    from aljax.training.prediction import predict_probabilities

    chosen = settings(tmp_path, query="tpd", clustering=False)
    first = iterate(model, tiles, chosen, begin_trial(tiles.pool, chosen, 0, ()))
    second = iterate(model, tiles, chosen, first)
    rows = first.pool.unlabelled
    now, before = (predict_probabilities(model, state.variables, tiles.pool)[rows] for state in (second, first))
    scores = np.linalg.norm(now - before, axis=1)
    expected = rows[select(jax.random.key(0), scores, scores[:, None], chosen.budget)]
    assert second.history[-1].selected == tiles.pool_ids(np.asarray(expected))


def test_cold_start_draws_new_weights_and_warm_start_keeps_them(archive, network, tmp_path, monkeypatch) -> None:
    from aljax.loop import iterations as loop

    draws: list[tuple] = []
    init = loop.init_variables

    def counted(key: jax.Array, *arguments) -> dict:
        draws.append(tuple(jax.random.key_data(key).tolist()))
        return init(key, *arguments)

    monkeypatch.setattr(loop, "init_variables", counted)
    run(archive, network, settings(tmp_path / "warm", start="warm"))
    assert len(draws) == 2  # once per trial
    draws.clear()
    run(archive, network, settings(tmp_path / "cold", start="cold"))
    assert len(draws) == len(set(draws)) == 8  # in each of four iterations of two trials


def test_initial_set_differs_between_trials_and_the_split_does_not(tiles: SplitTiles, tmp_path) -> None:
    chosen = settings(tmp_path)
    first, second = (set(begin_trial(tiles.pool, chosen, trial, ()).pool.labelled) for trial in (0, 1))
    assert first != second
    again = set(begin_trial(tiles.pool, chosen, 0, ()).pool.labelled)
    assert first == again


def test_trial_stops_when_the_validation_score_no_longer_rises(archive, network, tmp_path) -> None:
    history = run(archive, network, settings(tmp_path / "run", patience=1, min_gain=1.5, trials=2))
    # No gain can reach 1.5, so each trial ends after the first iteration without one.
    assert [(record.trial, record.iteration) for record in history] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [record.num_labeled for record in history] == [4, 8, 4, 8]


def test_clustering_changes_what_is_chosen(archive, network, tmp_path) -> None:
    diverse, ranked = (
        run(archive, network, settings(tmp_path / str(on), clustering=on, trials=1)) for on in (True, False)
    )
    assert diverse[0].micro_f1 == ranked[0].micro_f1
    assert diverse[0].selected != ranked[0].selected


def test_whole_pool_can_be_labelled(archive, network, tmp_path) -> None:
    history = run(archive, network, settings(tmp_path / "run", initial=30, budget=7, max_labels=40, trials=1))
    assert [record.num_labeled for record in history] == [30, 37, 40]


@pytest.mark.parametrize(("setting", "value"), [("budget", 5), ("seed", 1), ("query", "tpd"), ("start", "cold")])
def test_other_settings_on_the_same_directory_are_refused_by_name(
    setting: str, value: object, archive, network, tmp_path
) -> None:
    chosen = settings(tmp_path / "run", trials=1, max_labels=8)
    run(archive, network, chosen)
    before = {path: path.read_bytes() for path in chosen.run_dir.glob("*.json*")}
    with pytest.raises(InputError, match=f"{setting} is .* here and .* there"):
        run(archive, network, replace(chosen, **{setting: value}))
    assert before == {path: path.read_bytes() for path in chosen.run_dir.glob("*.json*")}


def test_other_data_on_the_same_directory_is_refused(archive, network, tmp_path) -> None:
    chosen = settings(tmp_path / "run", trials=1, max_labels=8)
    run(archive, network, chosen)
    images = archive.images.copy()
    images[3, 5, 5, 0] ^= 1
    with pytest.raises(InputError, match="the tiles, their labels or their ids are others"):
        run(replace(archive, images=images), network, chosen)


def test_folder_of_something_else_is_not_taken_for_a_run(archive, network, tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="not empty and holds no run"):
        run(archive, network, settings(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_non_finite_loss_names_trial_iteration_and_epoch(archive, network, tmp_path) -> None:
    chosen = settings(tmp_path / "run", recipe=replace(RECIPE, learning_rate=1e30, epochs=4))
    with pytest.raises(DivergedError, match=r"trial 1, iteration 1: the loss is not finite in epoch \d, step"):
        run(archive, network, chosen)


def test_keys_differ_for_every_purpose_trial_iteration_and_epoch() -> None:
    keys = {
        tuple(jax.random.key_data(derive_key(seed, purpose, trial, iteration, epoch)).tolist())
        for seed in (0, 1)
        for purpose in Purpose
        for trial in (0, 1)
        for iteration in (0, 1)
        for epoch in (0, 1)
    }
    assert len(keys) == 2 * len(Purpose) * 8


def test_network_whose_predictions_are_not_finite_is_named(archive, network, tmp_path, monkeypatch) -> None:
    predict = querying.predict_batches

    def broken(*arguments, **engine):
        for rows, batch in predict(*arguments, **engine):
            yield rows, batch._replace(probabilities=batch.probabilities * np.nan)

    monkeypatch.setattr(querying, "predict_batches", broken)
    with pytest.raises(DivergedError, match="trial 1, iteration 1: what the network predicts is not finite"):
        run(archive, network, settings(tmp_path))


def test_scores_that_are_not_finite_are_named(archive, network, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(table, "mge_scores", lambda layer, embeddings: embeddings[:, 0] * np.nan)
    with pytest.raises(DivergedError, match="trial 1, iteration 1: what the network predicts is not finite"):
        run(archive, network, settings(tmp_path))


def test_more_candidates_than_tiles_are_all_of_them(archive, network, tmp_path) -> None:
    chosen = settings(tmp_path, trials=1, multiplier=10**9, max_labels=8)
    assert [len(record.selected) for record in run(archive, network, chosen)] == [4, 0]
