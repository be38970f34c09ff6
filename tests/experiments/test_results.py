"""Committed runs can be checked by anybody: their sets follow from the seed, and their choices from their sets."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

from aljax.data.archive import Split, random_split
from aljax.data.archives.treesatai import split_treesatai
from aljax.data.archives.ucmerced import SPLIT_SIZES
from aljax.loop.iterations import initial_labels
from experiments.quickstart import TEST_TILES, VALIDATION_TILES

RESULTS = ROOT / "experiments" / "results"
LISTS = sorted(RESULTS.rglob("*-seed*-initial*.csv"))
HISTORIES = sorted(RESULTS.rglob("history.jsonl"))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def about(path: Path) -> tuple[str, int, int]:
    """Archive, seed and number of initial labels of a list."""
    found = re.fullmatch(r"(.+)-seed(\d+)-initial(\d+)\.csv", path.name)
    assert found is not None
    return found[1], int(found[2]), int(found[3])


def derive(archive: str, seed: int, rows: list[dict[str, str]]) -> Split:
    tested = sum(row["set"] == "test" for row in rows)
    if archive == "treesatai":
        return split_treesatai(seed, len(rows) - tested, tested)
    sizes = SPLIT_SIZES if archive == "ucmerced" else (VALIDATION_TILES, TEST_TILES)
    return random_split(seed, len(rows), *sizes)


def list_of(history: Path) -> Path:
    """The list of tiles that goes with a history: of the same archive, in a folder above it."""
    config = history.with_name("config.json")
    archive = json.loads(config.read_text())["archive"] if config.exists() else "generated-scenes"
    folder = next(parent for parent in history.parents if parent.parent == RESULTS)
    (found,) = [path for path in LISTS if path.parent == folder and about(path)[0] == archive]
    return found


def trials_of(path: Path) -> list[int]:
    """The trials of the histories that go with a list of tiles."""
    lines = [line for history in HISTORIES if list_of(history) == path for line in history.read_text().splitlines()]
    return sorted({json.loads(line)["trial"] for line in lines})


def test_there_are_results() -> None:
    assert LISTS
    assert HISTORIES


@pytest.mark.parametrize("path", LISTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_split_and_initial_sets_follow_from_the_seed(path: Path) -> None:
    archive, seed, initial = about(path)
    rows = read(path)
    split = derive(archive, seed, rows)
    for name, tiles in split._asdict().items():
        assert [index for index, row in enumerate(rows) if row["set"] == name] == tiles.tolist()
    trials = sorted({int(trial) for row in rows for trial in row["initial in trials"].split()})
    assert trials == trials_of(path)
    for trial in trials:
        chosen = split.pool[initial_labels(seed, trial - 1, len(split.pool), initial)]
        named = [index for index, row in enumerate(rows) if str(trial) in row["initial in trials"].split()]
        assert named == np.sort(chosen).tolist()


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: "/".join(path.parts[-4:-1]))
def test_chosen_tiles_are_new_ones_of_the_pool(path: Path) -> None:
    rows = read(list_of(path))
    pool = {row["id"] for row in rows if row["set"] == "pool"}
    labelled: dict[int, set[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        trial = record["trial"]
        initial = {row["id"] for row in rows if str(trial) in row["initial in trials"].split()}
        known = labelled.setdefault(trial, initial)
        assert record["num_labeled"] == len(known)
        selected = set(record["selected"])
        assert len(selected) == len(record["selected"])
        assert selected <= pool - known
        known |= selected
