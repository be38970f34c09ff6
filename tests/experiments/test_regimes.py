"""The comparison of regimes: splits and tails that follow from the seed, and numbers worked by hand."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

from aljax.data.archive import Archive, Split
from aljax.loop.history import Record
from aljax.loop.iterations import initial_labels
from aljax.queries.table import QUERIES
from experiments.regime_report import RARE_ANY, TITLES, labels_needed, rare_tiles, series_title, write_map, write_regime
from experiments.regimes import REGIMES, TAIL, long_tail

RESULTS = ROOT / "experiments" / "results" / "regimes"


def history(scores: dict[int, list[float]], selected: tuple[str, ...] = ()) -> list[Record]:
    """By number of labels, of each trial."""
    return [
        Record(trial + 1, 1, labels, score, score / 2, score, score, selected, 0.0, 0.0, 0.0)
        for labels, values in scores.items()
        for trial, score in enumerate(values)
    ]


RANDOM = history({40: [0.5, 0.5], 60: [0.6, 0.6], 80: [0.7, 0.7]})
BETTER = history({40: [0.5, 0.5], 60: [0.8, 0.8], 80: [0.9, 0.9]})
WORSE = history({40: [0.4, 0.4], 60: [0.5, 0.5], 80: [0.6, 0.6]})


def test_labels_needed_are_read_off_the_mean_curve_between_points() -> None:
    expected = {"labels": 40 + 20 * 0.2 / 0.3, "low": 53.33, "high": 53.33}
    assert labels_needed(BETTER, RANDOM, "micro_f1") == pytest.approx(expected, abs=0.01)
    assert labels_needed(WORSE, RANDOM, "micro_f1") == {"labels": None, "low": None, "high": None}


def test_interval_of_labels_needed_covers_what_other_trials_would_have_said() -> None:
    spread = history({40: [0.5, 0.5, 0.5], 60: [0.65, 0.75, 0.85], 80: [0.9, 0.9, 0.9]})
    random = history({40: [0.5] * 3, 60: [0.6] * 3, 80: [0.7] * 3})
    found = labels_needed(spread, random, "micro_f1")
    assert found["low"] < found["labels"] < found["high"]


def test_long_tail_keeps_scenes_by_their_rank_and_is_the_same_for_a_seed() -> None:
    scenes = [f"scene{index % 21:02d}" for index in range(2100)]
    pool = np.arange(0, 2100, 2)
    kept = long_tail(pool, scenes, 0)
    assert set(kept) <= set(pool)
    counts = sorted(np.unique([scenes[tile] for tile in kept], return_counts=True)[1], reverse=True)
    assert counts == [max(round(50 * (rank + 1) ** -TAIL), 1) for rank in range(21)]
    np.testing.assert_array_equal(kept, long_tail(pool, scenes, 0))
    assert not np.array_equal(kept, long_tail(pool, scenes, 1))


def test_report_has_a_row_for_each_series_and_marks_what_is_out_of_reach(tmp_path: Path) -> None:
    labels = np.zeros((40, 2), np.uint8)
    labels[:, 0], labels[0, 1] = 1, 1
    ids = tuple(f"tile{index}" for index in range(40))
    archive = Archive("few", np.zeros((40, 1, 1, 3), np.float32), labels, ids, ("common", "rare"))
    split = Split(np.arange(30), np.arange(30, 35), np.arange(35, 40))
    found = history({40: [0.5, 0.6], 60: [0.6, 0.7], 80: [0.7, 0.8]}, selected=("tile0",))
    assert rare_tiles(found, archive, split) == {
        RARE_ANY: 3.0,
        "rare": 3.0,
    }  # the same tile in three iterations of each trial
    series = {("random", "random"): RANDOM, ("mge", "random"): found, ("mge", "coverage"): WORSE}
    summary = write_regime(tmp_path / "few", "Few tiles", series, archive, split)
    assert list(summary["series"]) == ["Random", "MGE", "coverage, then MGE"]
    write_map(tmp_path, {"few": "Few tiles"}, {"few": summary})
    table = (tmp_path / "table.md").read_text()
    assert "| coverage, then MGE | -10.0 [-10.0, -10.0] | -5.0 [-5.0, -5.0] | -10.0 [-10.0, -10.0] |" in table
    assert "| MGE | 300% | 300% |" in table
    assert "| coverage, then MGE | more than 80 | more than 80 | more than 80 |" in table
    for picture in ("few/curve.png", "few/scores.png", "map.png"):
        assert (tmp_path / picture).read_bytes()[:4] == b"\x89PNG"


def published(name: str, first: str) -> dict[str, tuple[dict, list[Record]]]:
    """Settings and history of each query's run."""
    found = {}
    with tarfile.open(RESULTS / name / f"histories-{first}.tar.xz") as archive:
        for query in QUERIES.keys() - {"residual"}:  # on features it is MGE
            config, history = (archive.extractfile(f"{query}/{part}") for part in ("config.json", "history.jsonl"))
            assert config is not None
            assert history is not None
            records = [Record.from_line(line) for line in history.read().decode().splitlines()]
            found[query] = json.load(config), records
    return found


@pytest.mark.parametrize("name", [name for name, regime in REGIMES.items() if regime.on_features])
def test_published_runs_give_the_published_numbers_and_begin_as_the_seed_says(name: str) -> None:
    summary = json.loads((RESULTS / name / "summary.json").read_text())
    runs = {first: published(name, first) for first in ("random", "coverage")}
    baseline = runs["random"]["random"][1]
    for first, of_queries in runs.items():
        for query, (config, records) in of_queries.items():
            row = summary["series"][series_title(query, first)]
            for metric in TITLES:
                assert labels_needed(records, baseline, metric) == row[metric]["labels_needed"]
            assert {record.trial for record in records} == set(range(1, 21))
            assert config["split"] == runs["random"]["random"][0]["split"]
            assert (config["initial"], config["budget"]) == (REGIMES[name].initial, REGIMES[name].budget)
    pool = summary["pool"]
    for trial in (1, 20):
        first_tiles = set(initial_labels(0, trial - 1, pool, REGIMES[name].initial).tolist())
        chosen = {tile for record in baseline if record.trial == trial for tile in record.selected}
        assert len(first_tiles) == REGIMES[name].initial
        assert len(chosen) == REGIMES[name].max_labels - REGIMES[name].initial
