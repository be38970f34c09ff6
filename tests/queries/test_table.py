"""The table of queries, and a user's own: one function in their file, found by its name, run like the others."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from places import ROOT
from small_runs import run, settings

from aljax.data.archive import Archive, random_split
from aljax.errors import InputError
from aljax.networks.head import Head
from aljax.queries import QUERIES, find_query
from aljax.queries.table import series_name
from aljax.runs.experiment import run_experiment

SOURCE = """
import numpy as np

def rare(candidates):
    share = candidates.labels.mean(0)
    return np.asarray(candidates.probabilities) @ (1.0 - share)

def same(candidates):
    return np.zeros(3)

number = 3
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "theirs.py").write_text(SOURCE)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    return folder / "theirs.py"


def test_a_query_of_ones_own_runs_and_goes_on_by_its_name(theirs: Path, tmp_path: Path) -> None:
    chosen = settings(tmp_path / "run", query="theirs:rare")
    run(chosen)
    run(chosen)
    config = json.loads((chosen.run_dir / "config.json").read_text())
    assert (config["query"], len(config["query_sha256"])) == ("theirs:rare", 64)
    lines = [json.loads(line) for line in (chosen.run_dir / "history.jsonl").read_text().splitlines()]
    assert [len(line["selected"]) for line in lines] == [4, 4, 0]
    assert "theirs:rare+Clustering" in json.loads((chosen.run_dir / "summary.json").read_text())
    theirs.write_text(SOURCE.replace("1.0 - share", "1.0 + share"))
    with pytest.raises(InputError, match="query_sha256 is"):
        run(chosen)


def test_its_scores_decide(theirs: Path, tmp_path: Path, monkeypatch) -> None:
    find_query("theirs:rare")
    module = sys.modules["theirs"]
    monkeypatch.setattr(module, "rare", lambda candidates: -np.arange(len(candidates.probabilities), dtype=float))
    chosen = settings(tmp_path / "run", query="theirs:rare", clustering=False, max_labels=12)
    run(chosen)
    line = json.loads((chosen.run_dir / "history.jsonl").read_text().splitlines()[0])
    assert line["selected"] == sorted(line["selected"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("entropyy", "--query entropyy is none of random, ll, tpd, mge, .*badge: use one of them, or module:function"),
        ("nowhere:score", "--query nowhere:score is not to be found .*start where nowhere.py is"),
        ("theirs:missing", "--query theirs:missing is not to be found"),
        ("theirs:number", "--query theirs:number is no function"),
    ],
)
def test_names_that_are_no_query_are_refused(name: str, message: str, theirs: Path) -> None:
    with pytest.raises(InputError, match=message):
        find_query(name)


def test_scores_of_another_shape_are_refused(theirs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--query theirs:same gives the shape \(3,\) for \d+ tiles: give one each"):
        run(replace(settings(tmp_path / "run"), query="theirs:same"))


def test_the_papers_names() -> None:
    assert [series_name(name, True) for name in ("random", "ll", "tpd", "mge")] == [
        "Random",
        "LL+Clustering",
        "TPD+Clustering",
        "MGE+Clustering",
    ]
    assert series_name("mge", False) == "MGE"


def test_only_what_is_chosen_by_clusters_is_named_so() -> None:
    assert {name: series_name(name, True) for name in QUERIES if name not in ("random", "ll", "tpd", "mge")} == {
        "entropy": "Entropy+Clustering",
        "margin": "Margin+Clustering",
        "least-confidence": "Least confidence+Clustering",
        "bald": "BALD+Clustering",
        "rarity": "Rarity+Clustering",
        "boundary": "Boundary+Clustering",
        "residual": "Residual+Clustering",
        "coreset": "Core-set",
        "badge": "BADGE",
    }
    assert [series_name(name, False) for name in ("random", "bald", "badge")] == ["Random", "BALD", "BADGE"]


HEAD = Head(3)


def feature_archive() -> Archive:
    """Features that tell the classes, a vector for each tile."""
    rng = np.random.default_rng(0)
    labels = (rng.random((70, 3)) < 0.4).astype(np.uint8)
    features = rng.normal(0, 0.5, (70, 6)) + labels @ rng.normal(size=(3, 6))
    ids = tuple(f"tile{index}" for index in range(70))
    return Archive("features", features[:, None, None].astype(np.float32), labels, ids, ("a", "b", "c"))


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_makes_a_whole_run_on_features(query: str, tmp_path: Path) -> None:
    archive = feature_archive()
    chosen = settings(tmp_path / "run", query=query, image_size=1)
    histories = run_experiment(chosen, archive, random_split(0, 70, 10, 10), HEAD)
    (records,) = histories.values()
    assert list(histories) == [series_name(query, True)]
    assert [(record.num_labeled, len(record.selected)) for record in records] == [(8, 4), (12, 4), (16, 0)]
    chosen_ids = [tile for record in records for tile in record.selected]
    assert len(set(chosen_ids)) == 8
    assert set(chosen_ids) < set(archive.ids)


def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch) -> None:
    text = (ROOT / "aljax" / "README.md").read_text()
    example = text.split("in `theirs.py`:\n\n```python\n")[1].split("```")[0]
    (tmp_path / "theirs.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    run(settings(tmp_path / "run", query="theirs:entropy", max_labels=12))
