"""The study of the settings that the paper leaves open: trainings that differ in one setting, compared in pairs."""

import json

import numpy as np
import pytest
from PIL import Image
from run_command import run as run_command
from small_runs import run, settings

from aljax.commands import convert_weights
from aljax.runs.run_dir import read_finished
from aljax.training.weights import load_weights
from experiments import open_settings
from experiments.run_names import flatten

CUT = "F with F_L, gradient cut from the start"
TRIED = (open_settings.ALONE, "F alone, momentum 0.9", "F alone, pixels from 0 to 1", "F with F_L", CUT)


def test_every_kind_of_training_has_settings_that_exist(tmp_path) -> None:
    base = open_settings.StudySettings(run_dir=tmp_path)
    planned = {name: open_settings.plan(base, "UC Merced", changes) for name, changes in open_settings.VARIANTS.items()}
    assert len({run.name for run in planned.values()}) == len(planned)
    for name, changes in open_settings.VARIANTS.items():
        now = flatten(planned[name].settings)
        assert {key: now[key] for key in changes} == changes


def test_every_training_has_the_same_tiles_and_one_setting_changed(made, monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(open_settings, "VARIANTS", {name: open_settings.VARIANTS[name] for name in TRIED})
    options = ("--run-dir", tmp_path, "--scale", "small", "--trials", 2, "--labels", 12)
    assert run_command(monkeypatch, open_settings.main, *options) == 0
    assert len(made) == len(set(made)) == len(open_settings.VARIANTS)
    summary = json.loads((tmp_path / "open-settings-small-12labels" / "summary.json").read_text())
    trainings = summary["trainings"]
    runs = {name: read_finished(tmp_path / "runs" / one["run"]) for name, one in trainings.items()}
    alone = runs[open_settings.ALONE]
    assert alone is not None
    for name, one in runs.items():
        assert one is not None
        assert [(record.trial, record.num_labeled) for record in one.history] == [(1, 12), (2, 12)]
        differing = {key for key, value in one.config.items() if value != alone.config[key]}
        changes = trainings[name]["changes"]
        derived = {"mean", "deviation"} if "normalisation" in changes else set()
        assert differing == derived | {key for key, value in changes.items() if value != alone.config[key]}
        assert {key: one.config[key] for key in changes} == changes
        for score in open_settings.SCORES:
            pairs = zip(one.history, alone.history, strict=True)
            mean = np.mean([getattr(its, score) - getattr(other, score) for its, other in pairs])
            found = trainings[name]["scores"][score]["difference"]
            assert found["mean"] == pytest.approx(mean)
            assert found["low"] <= mean <= found["high"]
    # A head whose gradient is cut leaves the network as it is alone, but for rounding.
    cut = trainings[CUT]["scores"]["micro_f1"]
    assert cut["difference"]["mean"] == pytest.approx(0.0, abs=0.02)
    orders = [record.loss_rank_correlation for record in runs["F with F_L"].history]
    assert trainings["F with F_L"]["scores"]["loss_rank_correlation"] == pytest.approx(np.mean(orders))
    assert trainings[open_settings.ALONE]["scores"]["loss_rank_correlation"] is None
    printed = capsys.readouterr().out
    assert (tmp_path / "open-settings-small-12labels" / "table.md").read_text() in printed
    assert all(f"| {name} | " in printed for name in open_settings.VARIANTS)
    with Image.open(tmp_path / "open-settings-small-12labels" / "differences.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10
    assert run_command(monkeypatch, open_settings.main, *options) == 0
    assert len(made) == len(open_settings.VARIANTS)  # nothing is made twice
    config = runs["F with F_L"].run_dir / "config.json"
    config.write_text(config.read_text().replace(alone.config["fingerprint"], "0" * 64))
    assert run_command(monkeypatch, open_settings.main, *options) == 2
    assert "were made from different data" in capsys.readouterr().err


def test_start_from_weights_is_one_more_training(made, monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(open_settings, "VARIANTS", {open_settings.ALONE: open_settings.VARIANTS[open_settings.ALONE]})
    run(settings(tmp_path / "other", max_labels=8))
    file = tmp_path / "elsewhere.safetensors"
    convert_weights.convert_weights(tmp_path / "other", file)
    options = ("--run-dir", tmp_path, "--scale", "small", "--trials", 2, "--labels", 12, "--init-weights", file)
    assert run_command(monkeypatch, open_settings.main, *options) == 0
    assert len(made) == 2
    summary = json.loads((tmp_path / "open-settings-small-12labels" / "summary.json").read_text())
    trainings = summary["trainings"]
    starts = {
        name: read_finished(tmp_path / "runs" / one["run"]).config["init_weights"] for name, one in trainings.items()
    }
    started = starts.pop("F alone, from elsewhere")
    assert started == load_weights(file).sha256
    assert set(starts.values()) == {None}
    assert trainings["F alone, from elsewhere"]["changes"] == {"query": "random", "init_weights": file.name}
    assert "elsewhere" not in summary["title"]
    assert "| F alone, from elsewhere | " in capsys.readouterr().out


def test_fewer_labels_than_a_batch_are_refused(monkeypatch, tmp_path, capsys) -> None:
    assert run_command(monkeypatch, open_settings.main, "--run-dir", tmp_path, "--labels", 9) == 2
    assert "--labels is 9" in capsys.readouterr().err
