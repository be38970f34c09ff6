"""The paper's figures: which runs they need, that shared runs are made once, and what is written from them."""

import csv
import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from figure_runs import parse
from PIL import Image
from places import ROOT
from run_command import run as run_command
from small_runs import run, settings
from tiny import make_archive

from aljax.data.archive import random_split
from aljax.errors import InputError
from aljax.loop.history import TIMES
from aljax.runs.run_dir import read_finished
from aljax.training.recipe import Recipe
from experiments import fig1, fig2, fig3, fig4, fig5, figures
from experiments.run_names import PlannedRun, to_options
from experiments.treesatai import TreeSatAISettings
from experiments.ucmerced import UCMercedSettings
from tools import publish


def test_options_give_the_settings_that_they_were_made_of(tmp_path) -> None:
    chosen = UCMercedSettings(
        run_dir=tmp_path, query="ll", clustering=False, start="cold", first_trial=3, trials=1, recipe=Recipe(epochs=7)
    )
    options = to_options(chosen)
    assert "--no-clustering" in options
    assert parse(UCMercedSettings, options) == chosen
    assert to_options(UCMercedSettings()) == []


def test_runs_have_the_same_name_only_for_the_same_settings() -> None:
    base = TreeSatAISettings(trials=1)
    name = PlannedRun("experiments.treesatai", base).name
    assert name.startswith("treesatai-mge-cold-b1000-trial1-")
    others = [
        replace(base, first_trial=2),
        replace(base, clustering=False),
        replace(base, seed=1),
        replace(base, recipe=replace(base.recipe, ranking_weight=0.5)),
    ]
    assert len({name, *(PlannedRun("experiments.treesatai", other).name for other in others)}) == 5
    elsewhere = replace(base, data_dir=Path("elsewhere"), checkpoint_seconds=5.0)
    assert PlannedRun("experiments.treesatai", elsewhere).name == name


def test_trial_that_is_run_alone_is_that_of_the_whole_run(tmp_path) -> None:
    run(settings(tmp_path / "whole", trials=2))
    run(settings(tmp_path / "alone", trials=1, first_trial=2))

    def lines(folder: str) -> list[dict[str, object]]:
        rows = [json.loads(line) for line in (tmp_path / folder / "history.jsonl").read_text().splitlines()]
        return [{name: value for name, value in row.items() if name not in TIMES} for row in rows if row["trial"] == 2]

    assert lines("alone") == lines("whole")
    assert len(lines("alone")) == 3


def test_unfinished_run_is_not_taken_for_a_finished_one(tmp_path) -> None:
    run(settings(tmp_path / "run"))
    finished = read_finished(tmp_path / "run")
    assert finished is not None
    assert [record.num_labeled for record in finished.history] == [8, 12, 16]
    assert finished.machine["aljax"]
    assert read_finished(tmp_path / "nothing") is None
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"trials": 2}))
    assert read_finished(tmp_path / "run") is None


def test_figures_make_the_runs_that_they_share_once(made, monkeypatch, tmp_path, capsys) -> None:
    small = ("--run-dir", tmp_path, "--scale", "small", "--trials", 1)
    assert run_command(monkeypatch, fig2.main, *small) == 0
    assert len(made) == 2
    assert run_command(monkeypatch, fig4.main, *small) == 0
    assert len(made) == 2 + 3  # LL+Clustering is there
    assert run_command(monkeypatch, fig4.main, *small) == 0
    assert len(made) == 5
    assert run_command(monkeypatch, fig4.main, *small, "--trials", 2) == 0
    assert len(made) == 5 + 4
    assert len(set(made)) == 9
    assert "paper 79.87; no run here has that many labels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("figure", "runs", "panels"), [(fig1, 4, 1), (fig2, 2, 1), (fig3, 4, 2), (fig4, 4, 1), (fig5, 4, 2)]
)
def test_every_figure_is_drawn_and_summarised(figure, runs, panels, made, monkeypatch, tmp_path, capsys) -> None:
    name = figure.FIGURE.name
    assert run_command(monkeypatch, figure.main, "--run-dir", tmp_path, "--scale", "small", "--trials", 1) == 0
    assert len(made) == (3 if figure is fig1 else runs) + (figure is fig1)
    folder = tmp_path / f"{name}-small"
    summary = json.loads((folder / "summary.json").read_text())
    assert "small scale, not the paper's" in summary["title"][1]
    assert len(summary["paper"]) == sum(len(axes.quotes) for axes in figure.FIGURE.panels)
    assert summary["runs"] == sorted(set(made))
    assert all("comparison" in one for one in summary["series"].values())
    with Image.open(folder / "curve.png") as picture:
        assert picture.width == panels * 840
        assert np.asarray(picture.convert("L")).std() > 10
    archives = {axes.archive for axes in figure.FIGURE.panels}
    assert len(list(folder.glob("classes-*.png"))) == len(archives)
    assert f"curve: {folder / 'curve.png'}" in capsys.readouterr().out


def test_statement_beside_the_papers_is_the_difference_of_the_curves(made, monkeypatch, tmp_path) -> None:
    assert run_command(monkeypatch, fig2.main, "--run-dir", tmp_path, "--scale", "small", "--trials", 2) == 0
    summary = json.loads((tmp_path / "fig2-small" / "summary.json").read_text())
    curves = {
        name: {row["num_labeled"]: row["micro_f1"] for row in one["curve"]} for name, one in summary["series"].items()
    }
    (lead,) = summary["paper"]
    assert list(lead["here"]) == ["12", "16"]  # not 8, where nothing has been chosen
    difference = curves["LL+Clustering, UC Merced"][16] - curves["LL, UC Merced"][16]
    assert lead["here"]["16"]["mean"] == pytest.approx(100 * difference)
    assert lead["here"]["16"]["trials"] == 2
    above = sum(lead["here"][labels]["mean"] > 0 for labels in ("12", "16"))
    assert lead["holds_at"] == f"{above} of 2"


def test_commands_of_missing_runs_are_printed_and_nothing_is_made(made, monkeypatch, tmp_path, capsys) -> None:
    options = ("--run-dir", tmp_path, "--ucmerced-dir", "some where", "--trials", 1, "--print-commands")
    assert run_command(monkeypatch, fig4.main, *options) == 0
    commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert made == []
    assert [command[2] for command in commands] == ["experiments.ucmerced"] * 4
    chosen = [parse(UCMercedSettings, command[3:]) for command in commands]
    assert [one.query for one in chosen] == ["random", "ll", "tpd", "mge"]
    assert {one.data_dir for one in chosen if isinstance(one, UCMercedSettings)} == {Path("some where")}
    paper = UCMercedSettings()
    assert {(one.max_labels, one.budget, one.image_size, one.recipe, one.start) for one in chosen} == {
        (paper.max_labels, paper.budget, paper.image_size, paper.recipe, "warm")
    }


def test_settings_that_the_paper_leaves_open_reach_the_runs_and_the_title(made, monkeypatch, tmp_path) -> None:
    options = ("--run-dir", tmp_path, "--scale", "small", "--trials", 1)
    assert run_command(monkeypatch, fig2.main, *options, "--momentum", 0.5, "--head-rate", 0.1) == 0
    summary = json.loads((tmp_path / "fig2-small" / "summary.json").read_text())
    assert summary["title"][-1] == "momentum 0.5, head rate 0.1"
    assert summary["settings"]["UC Merced"]["momentum"] == 0.5
    assert summary["settings"]["UC Merced"]["head_rate"] == 0.1
    assert run_command(monkeypatch, fig2.main, *options) == 0
    assert len(set(made)) == 4
    assert len(json.loads((tmp_path / "fig2-small" / "summary.json").read_text())["title"]) == 2


def test_sizes_other_than_the_scales_reach_the_runs_the_title_and_a_folder_of_their_own(
    made, monkeypatch, tmp_path
) -> None:
    options = ("--run-dir", tmp_path, "--scale", "small", "--trials", 1)
    assert run_command(monkeypatch, fig2.main, *options) == 0
    before = set(made)
    assert run_command(monkeypatch, fig2.main, *options, "--image-size", 48, "--epochs", 1, "--max-labels", 12) == 0
    assert len(set(made) - before) == len(before) == 2
    summary = json.loads((tmp_path / "fig2-small-48px-1epochs-12labels" / "summary.json").read_text())
    assert summary["title"][1] == "small scale, not the paper's: 48 px, 1 epoch, up to 12 labels"
    chosen = summary["settings"]["UC Merced"]
    assert (chosen["image_size"], chosen["epochs"], chosen["max_labels"]) == (48, 1, 12)
    assert [row["num_labeled"] for row in summary["series"]["LL, UC Merced"]["curve"]] == [8, 12]
    assert set(json.loads((tmp_path / "fig2-small" / "summary.json").read_text())["runs"]) == before


def test_epochs_and_steps_are_not_both_taken(made, monkeypatch, tmp_path, capsys) -> None:
    options = ("--run-dir", tmp_path, "--scale", "small", "--epochs", 1, "--steps", 4)
    assert run_command(monkeypatch, fig2.main, *options) == 2
    assert "--epochs and --steps both say how long a training is" in capsys.readouterr().err
    assert made == []


def test_scale_that_is_changed_is_no_longer_the_papers() -> None:
    assert "\nthe paper's scale: 256 px" in figures.describe(fig4.FIGURE, figures.OnUCMerced())
    same = figures.OnUCMerced(image_size=256, epochs=100, max_labels=400)
    assert figures.describe(fig4.FIGURE, same) == figures.describe(fig4.FIGURE, figures.OnUCMerced())
    shorter = figures.describe(fig4.FIGURE, figures.OnUCMerced(max_labels=200))
    assert "\nnot the paper's scale: 256 px, 100 epochs, up to 200 labels" in shorter


def test_generated_tiles_are_called_so(tmp_path) -> None:
    settings = figures.OnTreeSatAI(treesatai_dir=tmp_path)
    assert "generated" not in figures.describe(fig5.FIGURE, settings)
    (tmp_path / "generated.json").write_text("{}")
    assert "generated tiles in this format, 288 px" in figures.describe(fig5.FIGURE, settings)


def test_size_that_can_never_work_is_refused_before_a_run_begins(made, monkeypatch, tmp_path, capsys) -> None:
    options = ("--run-dir", tmp_path, "--scale", "small", "--max-labels", 4)
    assert run_command(monkeypatch, fig2.main, *options) == 2
    assert "--max-labels 4 is below --initial 8" in capsys.readouterr().err
    assert made == []


def test_runs_on_different_data_are_not_put_into_one_figure(made, monkeypatch, tmp_path, capsys) -> None:
    options = ("--run-dir", tmp_path, "--scale", "small", "--trials", 1)
    assert run_command(monkeypatch, fig2.main, *options) == 0
    path = tmp_path / "runs" / made[0] / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "other"}))
    assert run_command(monkeypatch, fig2.main, *options) == 2
    assert "were made from different data" in capsys.readouterr().err


def test_published_runs_come_with_the_tiles_of_each_set_and_of_each_initial_set(
    made, monkeypatch, tmp_path, capsys
) -> None:
    options = ("--run-dir", tmp_path / "runs", "--scale", "small", "--trials", 2)
    assert run_command(monkeypatch, fig2.main, *options) == 0
    archive = replace(make_archive(), name="ucmerced")
    split = random_split(0, 60, 10, 10)
    monkeypatch.setattr(publish, "open_archive", lambda folder, size, seed: replace(archive, split=split))
    publish.publish(tmp_path / "runs", tmp_path / "out", ucmerced_dir=tmp_path)
    with (tmp_path / "out" / "ucmerced-seed0-initial8.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows if row["set"] == "test"] == [archive.ids[index] for index in split.test]
    for trial in ("1", "2"):
        initial = [row for row in rows if trial in row["initial in trials"].split()]
        assert len(initial) == 8
        assert {row["set"] for row in initial} == {"pool"}
    for name in made:
        source, copy = tmp_path / "runs" / "runs" / name, tmp_path / "out" / "runs" / name
        assert {path.name for path in copy.iterdir()} == {"config.json", "history.jsonl"}
        assert (copy / "history.jsonl").read_bytes() == (source / "history.jsonl").read_bytes()
    assert (tmp_path / "out" / "fig2-small" / "curve.png").exists()
    (tmp_path / "out" / "runs" / made[0]).rename(tmp_path / "out" / "runs" / "another")
    with pytest.raises(InputError, match="out has 1 other runs, as another"):
        publish.publish(tmp_path / "runs", tmp_path / "out", ucmerced_dir=tmp_path)
    (tmp_path / "out" / "runs" / "another").rename(tmp_path / "out" / "runs" / made[0])
    publish.publish(tmp_path / "runs", tmp_path / "out", ucmerced_dir=tmp_path)
    monkeypatch.setattr(
        publish, "open_archive", lambda folder, size, seed: replace(archive, split=split, digest="other")
    )
    with pytest.raises(InputError, match="does not hold the data"):
        publish.publish(tmp_path / "runs", tmp_path / "out", ucmerced_dir=tmp_path)
    with pytest.raises(InputError, match="runs on ucmerced need its folder"):
        publish.publish(tmp_path / "runs", tmp_path / "out")


QUERIES = ("random", "ll", "tpd", "mge")


def test_runs_have_the_names_of_those_that_were_published(tmp_path: Path) -> None:
    published = {path.name for path in (ROOT / "experiments/results/chosen-settings/runs").iterdir()}
    chosen = figures.OnUCMerced(run_dir=tmp_path, scale="small", epochs=20, max_labels=120, trials=8)
    changes = ({"query": query, "trials": 1, "first_trial": trial + 1} for query in QUERIES for trial in range(8))
    assert {figures.plan(chosen, "UC Merced", change).name for change in changes} == published
