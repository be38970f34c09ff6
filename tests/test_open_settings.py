"""The study of the settings that the paper leaves open: trainings that differ in one setting, compared in pairs."""

import json

import numpy as np
import pytest
from commands import run as run_command
from PIL import Image

from aljax.checkpointing import read_finished
from experiments import open_settings


def test_every_training_has_the_same_tiles_and_one_setting_changed(made, monkeypatch, tmp_path, capsys) -> None:
    options = ("--run-dir", tmp_path, "--scale", "small", "--trials", 2, "--labels", 12)
    assert run_command(monkeypatch, open_settings.main, *options) == 0
    assert len(made) == len(set(made)) == len(open_settings.VARIANTS)
    summary = json.loads((tmp_path / "open-settings-small" / "summary.json").read_text())
    trainings = summary["trainings"]
    runs = {name: read_finished(tmp_path / "runs" / one["run"]) for name, one in trainings.items()}
    alone = runs[open_settings.ALONE]
    assert alone is not None
    for name, run in runs.items():
        assert run is not None
        assert [(record.trial, record.num_labeled) for record in run.history] == [(1, 12), (2, 12)]
        differing = {key for key, value in run.config.items() if value != alone.config[key]}
        changes = trainings[name]["changes"]
        assert differing == {key for key, value in changes.items() if value != alone.config[key]}
        assert {key: run.config[key] for key in changes} == changes
        for score in open_settings.SCORES:
            pairs = zip(run.history, alone.history, strict=True)
            mean = np.mean([getattr(one, score) - getattr(other, score) for one, other in pairs])
            found = trainings[name]["scores"][score]["difference"]
            assert found["mean"] == pytest.approx(mean)
            assert found["low"] <= mean <= found["high"]
    # A head whose gradient is cut leaves the network as it is alone, but for rounding.
    cut = trainings["F with F_L, gradient cut from the start"]["scores"]["micro_f1"]
    assert cut["difference"]["mean"] == pytest.approx(0.0, abs=0.02)
    printed = capsys.readouterr().out
    assert (tmp_path / "open-settings-small" / "table.md").read_text() in printed
    assert all(f"| {name} | " in printed for name in open_settings.VARIANTS)
    with Image.open(tmp_path / "open-settings-small" / "differences.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10
    assert run_command(monkeypatch, open_settings.main, *options) == 0
    assert len(made) == len(open_settings.VARIANTS)  # nothing is made twice


def test_fewer_labels_than_a_batch_are_refused(monkeypatch, tmp_path, capsys) -> None:
    assert run_command(monkeypatch, open_settings.main, "--run-dir", tmp_path, "--labels", 9) == 2
    assert "--labels is 9" in capsys.readouterr().err
