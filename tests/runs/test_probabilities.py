"""What every iteration predicts of validation and test tiles is kept: whole, the same after a kill, and readable."""

from pathlib import Path

import numpy as np
import pytest
from small_runs import KilledError, run, settings
from tiny import make_archive

import aljax
from aljax.data.archive import random_split
from aljax.errors import InputError
from aljax.loop.pool import Pool
from aljax.loop.state import Measured, RunState
from aljax.runs import run_dir
from aljax.runs.probabilities import probabilities_file, read_probabilities, write_probabilities
from aljax.runs.processes import FollowingStore
from aljax.runs.run_dir import RunStore, read_history
from aljax.system.stopping import StopRequest


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run of two trials of two iterations."""
    chosen = settings(tmp_path_factory.mktemp("whole") / "run", trials=2, max_labels=12)
    run(chosen)
    return chosen.run_dir


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("probabilities/*/*")}


def test_scores_of_the_history_follow_from_what_is_kept(whole: Path) -> None:
    archive = make_archive()
    split = random_split(0, len(archive.ids), 10, 10)
    names = [f"probabilities/trial-{trial}/iteration-{iteration}.npz" for trial in (1, 2) for iteration in (1, 2)]
    assert sorted(files(whole)) == names
    for record in read_history(whole):
        kept = read_probabilities(whole, record.trial, record.iteration)
        scores = aljax.evaluate(kept.test, archive.labels[split.test])
        assert scores == (record.micro_f1, record.macro_f1, record.mean_average_precision, record.class_f1)
        assert aljax.evaluate(kept.validation, archive.labels[split.validation])[0] == record.validation_micro_f1
    assert kept.test.dtype == np.float32
    np.testing.assert_array_equal(aljax.load(whole).predict(archive.images[split.test]), kept.test)


@pytest.mark.parametrize("when", ["before the file", "while it is written", "after the file"])
def test_iteration_that_is_repeated_after_a_kill_leaves_the_same_bytes(when, whole, tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", trials=2, max_labels=12)
    keep = RunStore.keep

    def keep_and_die(store: RunStore, state, measured: Measured) -> None:
        if (state.trial, state.iteration) == (1, 2):
            folder = probabilities_file(store.run_dir, 2, 1).parent
            if when == "after the file":
                keep(store, state, measured)
            elif when == "while it is written":
                (folder / ".iteration-2.npz.99999999.part").write_bytes(b"half")
            raise KilledError
        keep(store, state, measured)

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "keep", keep_and_die)
        with pytest.raises(KilledError):
            run(chosen)
    assert len(read_history(chosen.run_dir)) == 3  # the iteration has no checkpoint yet
    run(chosen)
    assert files(chosen.run_dir) == files(whole)


def test_file_is_there_before_a_checkpoint_with_its_scores(tmp_path, monkeypatch) -> None:
    seen = []
    save = RunStore.save

    def look(store: RunStore, state) -> None:
        if type(state.stage).__name__ == "Predicted" or (state.stage is None and state.history):
            seen.append(probabilities_file(store.run_dir, state.trial + 1, state.iteration).exists())
        save(store, state)

    monkeypatch.setattr(RunStore, "save", look)
    run(settings(tmp_path / "run", max_labels=12, checkpoint_seconds=0.0))
    assert seen == [True] * 4


def test_times_of_files_are_not_in_them_and_a_process_that_follows_writes_none(tmp_path, monkeypatch) -> None:
    measured = Measured(np.ones((2, 3), np.float32), np.zeros((4, 3), np.float32))
    write_probabilities(tmp_path / "a", 1, 1, measured)
    monkeypatch.setattr("time.time", lambda: 1e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2001, 9, 9, 1, 46, 40, 6, 252, 0))
    write_probabilities(tmp_path / "b", 1, 1, measured)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    chosen, state = settings(tmp_path / "c"), RunState(0, 1, Pool(3), None, None, ())
    FollowingStore(chosen.run_dir, chosen.recipe, StopRequest()).keep(state, measured)
    assert not (tmp_path / "c").exists()


def test_file_that_is_damaged_or_gone_is_named(whole: Path, tmp_path) -> None:
    path = probabilities_file(tmp_path, 1, 2)
    with pytest.raises(InputError, match=r"probabilities/trial-1/iteration-2\.npz is not there: bring it back"):
        read_probabilities(tmp_path, 1, 2)
    path.parent.mkdir(parents=True)
    data = bytearray(probabilities_file(whole, 1, 2).read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"iteration-2\.npz is damaged \(.*\): bring it back"):
        read_probabilities(tmp_path, 1, 2)


def test_disk_that_takes_no_file_is_one_line(tmp_path, monkeypatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_dir, "write_probabilities", refuse)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\): mend that"):
        run(settings(tmp_path / "run"))
