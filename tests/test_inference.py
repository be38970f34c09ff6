"""What a run has learnt can be opened elsewhere and predicts what it predicted in the run."""

import json

import jax
import numpy as np
import pytest
from small_runs import run, run_until_save, settings
from test_resume import damage, newest
from tiny import make_archive

import aljax
from aljax.errors import InputError, InputWarning
from aljax.metrics import evaluate


def test_loaded_model_scores_what_the_history_says(tmp_path) -> None:
    from aljax.data.archive import random_split

    chosen = settings(tmp_path / "run", query="ll", trials=2)
    run(chosen)
    archive = make_archive()
    split = random_split(0, len(archive.ids), 10, 10)
    trained = aljax.load(chosen.run_dir)
    probabilities = trained.predict(archive.images[split.test])
    last = json.loads((chosen.run_dir / "history.jsonl").read_text().splitlines()[-1])
    assert evaluate(probabilities, archive.labels[split.test]).micro_f1 == last["micro_f1"]
    assert (trained.trial, trained.iteration, trained.num_labeled) == (2, 3, 16)
    assert trained.class_names == archive.class_names
    assert trained.image_size == 32
    np.testing.assert_allclose(trained.statistics.mean, archive.images[split.pool].mean((0, 1, 2)), rtol=1e-5)
    assert trained.model.loss_head is not None
    assert "loss_head" in trained.variables["params"]
    assert trained.predict(archive.images[:0]).shape == (0, 3)


def test_run_under_way_gives_the_model_of_its_last_iteration_and_is_left_alone(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run")
    state = run_until_save(chosen, 12, monkeypatch)
    before = {path: path.stat().st_mtime_ns for path in chosen.run_dir.rglob("*")}
    trained = aljax.load(chosen.run_dir)
    assert (state.iteration, trained.iteration, trained.num_labeled) == (2, 1, 8)
    assert {path: path.stat().st_mtime_ns for path in chosen.run_dir.rglob("*")} == before
    assert trained.predict(make_archive().images[:5]).shape == (5, 3)


def test_fitted_model_of_an_unfinished_iteration_is_the_newest(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run")
    state = run_until_save(chosen, 15, monkeypatch)
    trained = aljax.load(chosen.run_dir)
    assert (trained.iteration, trained.num_labeled) == (2, 12)
    for loaded, own in zip(jax.tree.leaves(trained.variables), jax.tree.leaves(state.variables), strict=True):
        np.testing.assert_array_equal(loaded, own)


def test_damaged_model_is_not_used(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run")
    run(chosen)
    bad = newest(chosen.run_dir)
    damage(max(bad.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else -1))
    with pytest.warns(InputWarning, match="is damaged"):
        aljax.load(chosen.run_dir)


def test_what_cannot_be_loaded_is_told(tmp_path, monkeypatch) -> None:
    with pytest.raises(InputError, match=r"config.json is not readable"):
        aljax.load(tmp_path)
    chosen = settings(tmp_path / "run")
    run_until_save(chosen, 1, monkeypatch)
    with pytest.raises(InputError, match="no fitted model yet"):
        aljax.load(chosen.run_dir)
    run(chosen)
    with pytest.raises(InputError, match="the tiles have 4 bands, those in training had 3"):
        aljax.load(chosen.run_dir).predict(np.zeros((2, 32, 32, 4), np.uint8))
