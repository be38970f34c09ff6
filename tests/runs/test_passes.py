"""A pass over the tiles that was killed goes on from its last shard, to the bytes of one that nothing happened to."""

import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_runs import KilledError, run, settings
from stand_in_engine import provide_engine

from aljax.data.archive import Tiles
from aljax.errors import InputWarning
from aljax.loop import querying
from aljax.loop.settings import Settings
from aljax.loop.state import Fitted
from aljax.runs import run_dir as run_dirs
from aljax.runs import shards
from aljax.runs.checkpoints import list_checkpoints
from aljax.runs.run_dir import RunStore, read_history
from tools.run_contents import contents, differences

AT_ONCE = 8  # 2 batches of the test and of the validation tiles, 4 of the pool without 8 labelled ones, 4 and 3 later


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tiles, "at_once", property(lambda tiles: AT_ONCE))


def count_batches(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """How many batches were predicted from now on, by the size of the set that their tiles are of."""
    counts: Counter = Counter()
    predict = querying.predict_batches

    def counted(model, variables, tiles, rows, **rest):
        for chunk, batch in predict(model, variables, tiles, rows, **rest):
            counts[tiles.num_tiles] += 1
            yield chunk, batch

    monkeypatch.setattr(querying, "predict_batches", counted)
    return counts


def run_and_die(chosen: Settings, monkeypatch: pytest.MonkeyPatch, shards_until: int = 1) -> int:
    """Runs, saving whenever it can, and dies after so many shards; how many there were in this process."""
    written = []

    def add_and_die(*arguments):
        number = shards.add_shards(*arguments)
        written.append(number)
        if len(written) == shards_until:
            raise KilledError
        return number

    with monkeypatch.context() as patch:
        patch.setattr(run_dirs, "add_shards", add_and_die)
        with suppress(KilledError):
            run(replace(chosen, checkpoint_seconds=0.0))
    return len(written)


def shard_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("shards/*"))


@pytest.mark.parametrize(
    ("query", "changes"),
    [
        *(("ll", {}), ("tpd", {}), ("mge", {}), ("badge", {}), ("coreset", {})),
        *(("tpd", {"candidates": 16}), ("tpd", {"engine": "openvino"})),
    ],
)
def test_killed_after_every_shard_equals_uninterrupted(query: str, changes: dict, tmp_path, monkeypatch) -> None:
    provide_engine(monkeypatch)
    chosen = settings(tmp_path / "whole", query=query, max_labels=12, **changes)
    run(chosen)
    counts = count_batches(monkeypatch)
    broken = replace(chosen, run_dir=tmp_path / "broken")
    kills = 0
    while run_and_die(broken, monkeypatch):
        kills += 1
    assert differences(contents(broken.run_dir), contents(chosen.run_dir)) == []
    of_pool = 2 if "candidates" in changes else 4
    assert kills == 2 * (2 + 2) + of_pool  # the last iteration chooses nothing
    batches = counts[40] - (2 if query == "coreset" else 0)  # which predicts the labelled tiles as well
    assert batches <= of_pool + 1  # nothing twice, but for the one that was under way and is cut off


def test_pass_that_stopped_goes_on_behind_its_last_shard(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", query="mge", max_labels=12)
    assert run_and_die(chosen, monkeypatch, 6) == 6
    assert shard_names(chosen.run_dir) == [
        *("000001-test.npz", "000002-test.npz", "000003-validation.npz", "000004-validation.npz"),
        *("000005-pool.npz", "000006-pool.npz"),
    ]
    counts = count_batches(monkeypatch)
    monkeypatch.setattr(querying, "_labels_wanted", lambda *arguments: 4)  # and no second iteration
    monkeypatch.setattr(RunStore, "save", lambda *arguments: (_ for _ in ()).throw(KilledError))
    with pytest.raises(KilledError):
        run(chosen)
    assert counts == {40: 2}


def test_shards_go_with_the_checkpoint_of_their_model(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", query="mge", max_labels=12)
    run_and_die(chosen, monkeypatch, 6)
    seen = []
    save = RunStore.save

    def save_and_look(store: RunStore, state) -> None:
        before = shard_names(chosen.run_dir)
        save(store, state)
        seen.append((before, shard_names(chosen.run_dir)))

    monkeypatch.setattr(RunStore, "save", save_and_look)
    run(chosen)
    assert len(seen[0][0]) == 6
    assert all(after == [] for _, after in seen)
    assert not (chosen.run_dir / "shards").exists()


@pytest.mark.parametrize("query", ["mge", "tpd"])
def test_a_shard_has_what_is_new_and_not_the_pool(query: str, tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", query=query, budget=2, multiplier=2, max_labels=12)
    run_and_die(chosen, monkeypatch, 8)
    (number,) = list_checkpoints(chosen.run_dir / "checkpoints")[:1]
    pool = shards.read_shards(chosen.run_dir, number).by_pass["pool"]
    assert [shard["span"].tolist() for shard in pool] == [[0, 8], [8, 16], [16, 24], [24, 32]]
    for shard in pool:
        assert len(shard["shortlist_rows"]) <= chosen.multiplier * chosen.budget
        assert ("probabilities" in shard) == (query == "tpd")
        assert query != "tpd" or shard["probabilities"].shape == (8, 3)
    assert sum(len(shard["shortlist_rows"]) for shard in pool[1:]) < 3 * chosen.multiplier * chosen.budget


@pytest.mark.parametrize("damage", [lambda data: data[:-30], lambda data: b"", "flip"])
def test_damaged_shard_is_named_and_what_it_had_done_again(damage, tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", query="tpd", max_labels=12)
    run(replace(chosen, run_dir=tmp_path / "whole"))
    run_and_die(chosen, monkeypatch, 7)
    path = chosen.run_dir / "shards" / "000006-pool.npz"
    data = path.read_bytes()
    at = data.index(b"probabilities.npy") + 200
    path.write_bytes(damage(data) if callable(damage) else data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :])
    counts = count_batches(monkeypatch)
    with pytest.warns(InputWarning, match=f"{path} is damaged .*: what it has of a pass over the tiles is done again"):
        run(chosen)
    assert counts[40] == 3
    assert differences(contents(chosen.run_dir), contents(tmp_path / "whole")) == []


def test_shards_of_another_checkpoint_are_not_taken(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", query="mge", max_labels=12)
    run(replace(chosen, run_dir=tmp_path / "whole"))
    run_and_die(chosen, monkeypatch, 6)
    for path in (chosen.run_dir / "shards").iterdir():
        with np.load(path) as arrays:
            changed = dict(arrays)
        if "probabilities" in changed:
            changed["probabilities"] += 0.5
        if "shortlist_scores" in changed:
            changed["shortlist_scores"] *= 9
        np.savez(path, **{**changed, "checkpoint": "of another"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(chosen)
    assert differences(contents(chosen.run_dir), contents(tmp_path / "whole")) == []


def test_state_without_shards_as_an_older_version_left_it_goes_on(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", query="tpd", max_labels=12)
    run(replace(chosen, run_dir=tmp_path / "whole"))
    save, stages = RunStore.save, []

    def save_and_die(store: RunStore, state) -> None:
        save(store, state)
        stages.append(state.stage)
        if isinstance(state.stage, Fitted):
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "save", save_and_die)
        with pytest.raises(KilledError):
            run(replace(chosen, checkpoint_seconds=0.0))
    assert not (chosen.run_dir / "shards").exists()
    run(chosen)
    assert differences(contents(chosen.run_dir), contents(tmp_path / "whole")) == []


def test_seconds_of_a_pass_count_what_was_spent_before_the_kill(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", query="mge", max_labels=12)
    clock = iter(range(10_000))
    monkeypatch.setattr(querying.time, "perf_counter", lambda: float(next(clock)))
    run_and_die(chosen, monkeypatch, 6)
    (number,) = list_checkpoints(chosen.run_dir / "checkpoints")[:1]
    before = float(shards.read_shards(chosen.run_dir, number).by_pass["pool"][-1]["seconds"])
    run(chosen)
    assert before >= 2
    assert read_history(chosen.run_dir)[0].predict_seconds > before
