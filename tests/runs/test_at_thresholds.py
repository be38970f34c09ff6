"""Scores at fitted thresholds go into the history, follow from what is kept, and older runs go on without them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_command import run as run_command
from small_runs import run, run_until_save, settings
from tiny import make_archive

import aljax
from aljax.commands import predict
from aljax.commands.compare import read_run
from aljax.data.archive import random_split
from aljax.data.labels import read_csv
from aljax.loop import querying
from aljax.loop.constant import KEYS
from aljax.loop.history import LATER
from aljax.loop.state import Predicted
from aljax.loop.thresholds import fit_class_thresholds, fit_threshold
from aljax.runs.probabilities import read_probabilities
from aljax.runs.run_dir import read_history

ARCHIVE = make_archive()
SPLIT = random_split(0, len(ARCHIVE.ids), 10, 10)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    chosen = settings(tmp_path_factory.mktemp("whole") / "run", max_labels=12)
    run(chosen)
    return chosen.run_dir


def test_scores_at_thresholds_follow_from_the_validation_tiles(whole: Path) -> None:
    for record in read_history(whole):
        kept = read_probabilities(whole, record.trial, record.iteration)
        assert record.validation_threshold == fit_threshold(kept.validation, ARCHIVE.labels[SPLIT.validation])
        own = fit_class_thresholds(kept.validation, ARCHIVE.labels[SPLIT.validation])
        assert record.class_thresholds == tuple(own)
        common = aljax.evaluate(kept.test, ARCHIVE.labels[SPLIT.test], record.validation_threshold)
        assert common[:2] == (record.micro_f1_at_validation_threshold, record.macro_f1_at_validation_threshold)
        classes = aljax.evaluate(kept.test, ARCHIVE.labels[SPLIT.test], np.array(record.class_thresholds))
        assert classes[:2] == (record.micro_f1_at_class_thresholds, record.macro_f1_at_class_thresholds)
    lines = [json.loads(line) for line in (whole / "history.jsonl").read_text().splitlines()]
    assert list(lines[0])[-7:] == [
        *("class_f1", "validation_threshold", "micro_f1_at_validation_threshold", "macro_f1_at_validation_threshold"),
        *("class_thresholds", "micro_f1_at_class_thresholds", "macro_f1_at_class_thresholds"),
    ]
    trained = aljax.load(whole)
    assert trained.thresholds == (record.validation_threshold, record.class_thresholds)


def test_older_run_goes_on_and_its_later_lines_have_the_scores(whole: Path, tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", max_labels=12)
    with monkeypatch.context() as patch:
        patch.setattr(querying, "_at_thresholds", lambda *arguments: None)
        run_until_save(replace(chosen, checkpoint_seconds=0.0), 8, monkeypatch)
    config = json.loads((chosen.run_dir / "config.json").read_text())
    older = {name: value for name, value in config.items() if name not in KEYS}
    assert len(older) == len(config) - 3
    (chosen.run_dir / "config.json").write_text(json.dumps(older))
    before = (chosen.run_dir / "history.jsonl").read_text()
    fitted = [name for name in LATER if name != "loss_rank_correlation"]  # which is LL's
    assert not any(name in before for name in fitted)
    run(chosen)
    first, second = (chosen.run_dir / "history.jsonl").read_text().splitlines()
    assert first + "\n" == before
    there = json.loads((whole / "history.jsonl").read_text().splitlines()[1])
    assert {name: json.loads(second)[name] for name in fitted} == {name: there[name] for name in fitted}
    assert json.loads((chosen.run_dir / "config.json").read_text()) == older
    assert read_run(chosen.run_dir).history[0].validation_threshold is None


def write_tiles(folder: Path) -> Path:
    folder.mkdir()
    for name, pixels in zip(ARCHIVE.ids, ARCHIVE.images, strict=True):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("asked", ["validation", "per-class", 0.3])
def test_command_writes_0_and_1_at_the_threshold_that_was_asked_for(asked, whole, tmp_path, monkeypatch) -> None:
    given = ("--run-dir", whole, "--images", write_tiles(tmp_path / "tiles"), "--out", tmp_path / "labels.csv")
    assert run_command(monkeypatch, predict.main, *given, "--threshold", asked) == 0
    trained = aljax.load(whole)
    assert trained.thresholds is not None
    above = {"validation": trained.thresholds.validation, "per-class": np.array(trained.thresholds.classes)}
    found = read_csv(tmp_path / "labels.csv").labels
    np.testing.assert_array_equal(found, trained.predict(ARCHIVE.images) > above.get(asked, asked))
    assert (found != (trained.predict(ARCHIVE.images) > 0.5)).any()


def test_threshold_that_a_run_does_not_have_is_one_line(tmp_path, monkeypatch, capsys) -> None:
    chosen = settings(tmp_path / "run", max_labels=8)
    with monkeypatch.context() as patch:
        patch.setattr(querying, "_at_thresholds", lambda *arguments: None)
        run(chosen)
    assert aljax.load(chosen.run_dir).thresholds is None
    capsys.readouterr()
    given = ("--run-dir", chosen.run_dir, "--images", tmp_path, "--out", tmp_path / "labels.csv", "--threshold")
    assert run_command(monkeypatch, predict.main, *given, "per-class") == 2
    assert capsys.readouterr().err == (
        f"error: --threshold per-class: {chosen.run_dir} has no thresholds that are fitted, for want of validation "
        "tiles or as an older version made it: give a number, such as 0.5\n"
    )
    for wrong in (1.5, "nan"):
        assert run_command(monkeypatch, predict.main, *given, wrong) == 2
        assert capsys.readouterr().err == f"error: --threshold is {wrong}: it is a probability, from 0 to 1\n"


def test_thresholds_of_a_model_that_is_evaluated_and_not_complete_are_its_own(whole, tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", max_labels=12)
    state = run_until_save(chosen, 7, monkeypatch)
    assert isinstance(state.stage, Predicted)
    first = read_history(whole)[0]
    trained = aljax.load(chosen.run_dir)
    assert trained.thresholds == (first.validation_threshold, first.class_thresholds)


def test_no_threshold_is_fitted_to_the_tiles_that_it_is_measured_on(tiles) -> None:
    found = np.full(tiles.test.labels.shape, 0.3, np.float32)
    alike = tiles._replace(validation=tiles.test)
    assert querying._at_thresholds(alike, found, found) is None
    assert querying._at_thresholds(tiles, found[: tiles.validation.num_tiles], found) is not None
