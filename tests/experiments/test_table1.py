"""Table I: measured like a run's own selection, and arranged like the paper's."""

import json
from pathlib import Path

import numpy as np
import pytest
from run_command import run as run_command
from tiny import make_archive

from aljax.data.archive import Split, random_split, split_tiles
from aljax.loop.settings import Settings
from aljax.networks.densenet import DenseNet
from aljax.training.recipe import Recipe
from experiments import table1
from experiments.table1 import as_markdown, prepare_selection, with_few_to_evaluate


def test_selection_is_timed_with_the_budget_of_the_settings(monkeypatch) -> None:
    tiny = DenseNet(num_classes=3, depths=(1,), growth=4, stem_channels=8)
    monkeypatch.setattr(table1, "DenseNet121", lambda classes, dtype: tiny)
    archive = make_archive()
    split = random_split(0, 60, 10, 10)
    tiles = split_tiles(archive, with_few_to_evaluate(split), 0)
    chosen = Settings(initial=8, budget=4, multiplier=2, max_labels=40, image_size=32, recipe=Recipe(batch_size=4))
    selections = {query: prepare_selection(query, archive, tiles, chosen) for query in table1.QUERIES}
    assert all(selection.seconds() > 0.0 for selection in selections.values())
    assert selections["ll"].model.loss_head is not None
    assert selections["mge"].model.loss_head is None


def test_few_tiles_are_evaluated_and_all_of_the_pool_are_scored() -> None:
    few = with_few_to_evaluate(Split(np.arange(300), np.arange(300, 500), np.arange(500, 700)))
    assert [len(part) for part in few] == [300, 64, 64]


def test_table_has_a_row_per_query_and_the_papers_seconds_beside_ours() -> None:
    rows = {
        query: {"seconds": seconds, "paper_seconds": 7.25, "parameters": 7_332_754}
        for query, seconds in (("ll", 1.5), ("tpd", 2.5), ("mge", 3.5))
    }
    column = {"tiles": 1010, "image_size": 256, "budget": 20, "multiplier": 3, "rows": rows}
    lines = as_markdown({"UC Merced": column, "TreeSatAI": column}, "device cpu").splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["LL+Clustering", "TPD+Clustering", "MGE+Clustering"]
    assert lines[3].count("| 7,332,754 | 2.50 | 7.25 ") == 2
    assert len({line.count("|") for line in lines[:5]}) == 1
    assert "20 of 1,010 tiles of 256 x 256 pixels, m = 3" in lines[-1]


@pytest.mark.parametrize(
    "arguments", [("--rounds", 0), ("--ucmerced-dir", "nothing"), ("--seed", -1), ("--run-dir", __file__)]
)
def test_what_cannot_be_measured_is_one_line(arguments, monkeypatch, tmp_path: Path, capsys) -> None:
    assert run_command(monkeypatch, table1.main, "--run-dir", tmp_path, *arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_folder_of_another_archive_is_reported(monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr(table1, "open_archive", lambda folder, size, seed: make_archive())
    assert run_command(monkeypatch, table1.main, "--run-dir", tmp_path) == 2
    assert "data/ucmerced holds noise and not UC Merced" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[]", '{"archives":', '{"seed": 0}', '{"archives": []}'])
def test_measurements_that_cannot_be_read_are_made_again(content: str, tmp_path: Path) -> None:
    (tmp_path / "measured.json").write_text(content)
    assert table1.read_measured(tmp_path / "measured.json", {"seed": 0}) == {}


def test_command_that_was_stopped_goes_on_with_the_archive_that_it_was_at(monkeypatch, tmp_path: Path, capsys) -> None:
    rows = {query: {"seconds": 1.0, "paper_seconds": 2.0, "parameters": 3} for query in table1.QUERIES}
    column = {"tiles": 10, "image_size": 32, "budget": 2, "multiplier": 2, "rows": rows}
    measured: list[str] = []

    def measure(name: str, settings: table1.TableSettings) -> dict[str, object]:
        measured.append(name)
        if measured == ["UC Merced", "TreeSatAI"]:
            raise KeyboardInterrupt
        return column

    monkeypatch.setattr(table1, "measure_archive", measure)
    assert run_command(monkeypatch, table1.main, "--run-dir", tmp_path) == 130
    assert run_command(monkeypatch, table1.main, "--run-dir", tmp_path) == 0
    assert measured == ["UC Merced", "TreeSatAI", "TreeSatAI"]
    summary = json.loads((tmp_path / "table1" / "summary.json").read_text())
    assert summary["archives"] == {"UC Merced": column, "TreeSatAI": column}
    assert {path.name for path in (tmp_path / "table1").iterdir()} == {"summary.json", "table.md"}
    assert summary["machine"]["device"] in capsys.readouterr().out
    # A command that has ended is measured anew when it is repeated.
    assert run_command(monkeypatch, table1.main, "--run-dir", tmp_path) == 0
    assert len(measured) == 5
