"""A run that was killed goes on from its last checkpoint to the bytes of a run that nothing happened to."""

import errno
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from places import SUPPORT
from small_runs import RECIPE, KilledError, run, run_until_save, settings
from tiles_on_disk import on_disk
from tiny import make_archive, tiny_network

from aljax.commands.compare import join_trials, read_run
from aljax.data.archive import Split, random_split
from aljax.errors import InputError, InputWarning
from aljax.loop.state import Fitted, Predicted, RunState, Training
from aljax.runs.checkpoints import CheckpointFolder, find_damage, list_checkpoints, read_newest
from aljax.runs.experiment import run_experiment
from aljax.runs.run_dir import FORMAT, RunStore
from aljax.system.files import checksums
from tools.run_contents import contents, differences


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, object]:
    """What the run of `settings` leaves when nothing happens to it."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    run(settings(run_dir))
    return contents(run_dir)


@pytest.mark.parametrize("query", ["random", "ll", "tpd", "mge"])
def test_killed_after_every_save_equals_uninterrupted(query: str, tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "whole", query=query, trials=2, max_labels=12)
    run(chosen)
    save = RunStore.save
    stages: list[type] = []

    def save_and_die(store: RunStore, state: RunState) -> None:
        save(store, state)
        stages.append(type(state.stage))
        raise KilledError

    broken = replace(chosen, run_dir=tmp_path / "broken", checkpoint_seconds=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "save", save_and_die)
        for _ in range(200):
            try:
                run(broken)
            except KilledError:
                continue
            break
    assert differences(contents(tmp_path / "broken"), contents(tmp_path / "whole")) == []
    # In each of two trials two iterations of two and three steps in each of two epochs; a trial's begin is saved too.
    counts = {kind: stages.count(kind) for kind in (Training, Fitted, Predicted, type(None))}
    assert counts == {Training: 20, Fitted: 4, Predicted: 4, type(None): 6}


def test_no_work_is_done_twice(tmp_path, monkeypatch) -> None:
    from aljax.training import fitting

    steps: list[int] = []
    step = fitting.train_on_batch
    monkeypatch.setattr(fitting, "train_on_batch", lambda *arguments: steps.append(1) or step(*arguments))
    chosen = settings(tmp_path / "run")
    run_until_save(chosen, 12, monkeypatch)
    assert 0 < len(steps) < 18
    run(chosen)
    assert len(steps) == 18  # two, three and four steps in each of two epochs


def test_checkpoints_are_as_far_apart_as_was_asked_and_close_every_iteration(tmp_path, monkeypatch) -> None:
    stages: list[object] = []
    save = RunStore.save
    monkeypatch.setattr(RunStore, "save", lambda store, state: stages.append(state.stage) or save(store, state))
    run(settings(tmp_path / "run"))
    assert stages == [None, None, None]


def test_finished_iteration_stays_when_training_goes_on(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run")
    run_until_save(chosen, 12, monkeypatch)  # inside the training of the second iteration
    numbers = sorted(int(path.stem) for path in (chosen.run_dir / "checkpoints").glob("*.sha256"))
    facts = [json.loads(path.read_text()) for path in sorted((chosen.run_dir / "checkpoints").glob("*/facts/metadata"))]
    assert len(numbers) == 3
    assert sorted(str(fact["stage"]) for fact in facts) == ["None", "Training", "Training"]


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(data)


def newest(run_dir: Path) -> Path:
    return max((run_dir / "checkpoints").glob("*.sha256"), key=lambda path: int(path.stem)).with_suffix("")


def test_damaged_checkpoint_is_named_and_the_one_before_it_taken(tmp_path, monkeypatch, whole) -> None:
    chosen = settings(tmp_path / "run")
    run_until_save(chosen, 12, monkeypatch)
    bad = newest(chosen.run_dir)
    damage(max(bad.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else -1))
    with pytest.warns(InputWarning, match=f"the checkpoint {bad} is damaged: {bad.name}/.* is not as it was written"):
        run(chosen)
    assert differences(contents(chosen.run_dir), whole) == []


def test_run_without_a_sound_checkpoint_is_refused_and_left_alone(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run")
    run_until_save(chosen, 12, monkeypatch)
    for path in (chosen.run_dir / "checkpoints").glob("*.sha256"):
        damage(path)
    before = sorted(path for path in chosen.run_dir.rglob("*"))
    with pytest.warns(InputWarning), pytest.raises(InputError, match=r"no checkpoint in .* is sound"):
        run(chosen)
    assert sorted(path for path in chosen.run_dir.rglob("*")) == before


def test_history_without_checkpoints_is_not_overwritten(tmp_path) -> None:
    chosen = settings(tmp_path / "run")
    run(chosen)
    (chosen.run_dir / "checkpoints").rename(tmp_path / "elsewhere")
    before = (chosen.run_dir / "history.jsonl").read_bytes()
    with pytest.raises(InputError, match="has finished iterations, but there is no checkpoint"):
        run(chosen)
    assert (chosen.run_dir / "history.jsonl").read_bytes() == before


@pytest.mark.parametrize("tear", [lambda text: text[:-30], lambda text: text + text[: len(text) // 3], lambda text: ""])
def test_torn_history_is_mended_and_no_line_is_there_twice(tear, tmp_path, monkeypatch, whole) -> None:
    chosen = settings(tmp_path / "run")
    run_until_save(chosen, 12, monkeypatch)
    history = chosen.run_dir / "history.jsonl"
    history.write_text(tear(history.read_text()))
    run(chosen)
    assert differences(contents(chosen.run_dir), whole) == []


def test_compared_curves_do_not_come_from_a_damaged_history(tmp_path) -> None:
    chosen = settings(tmp_path / "run")
    run(chosen)
    sound = read_run(chosen.run_dir)
    history = chosen.run_dir / "history.jsonl"
    history.write_text(history.read_text().replace('"micro_f1": 0.', '"micro_f1": 0.9'))
    assert read_run(chosen.run_dir) == sound
    for path in (chosen.run_dir / "checkpoints").glob("*.sha256"):
        damage(path)
    with pytest.warns(InputWarning), pytest.raises(InputError, match=r"no checkpoint in .* is sound"):
        read_run(chosen.run_dir)


def test_run_with_other_sets_is_refused_and_one_that_does_not_know_its_sets_goes_on(tmp_path) -> None:
    chosen, archive = settings(tmp_path / "run", max_labels=12), make_archive()
    run(chosen)
    split = random_split(chosen.seed, len(archive.ids), 10, 10)
    other = Split(split.pool, split.test, split.validation)
    with pytest.raises(InputError, match="other tiles are in the pool, for validation or for the test"):
        run_experiment(chosen, archive, other, tiny_network())
    config = chosen.run_dir / "config.json"
    older = json.loads(config.read_text())
    del older["split"]  # as an older version wrote it
    config.write_text(json.dumps(older))
    run(chosen)


def test_same_tiles_in_a_folder_of_another_name_are_the_same_run(tmp_path, whole) -> None:
    chosen = settings(tmp_path / "run", max_labels=12)
    run(chosen)
    config = (chosen.run_dir / "config.json").read_bytes()
    elsewhere = replace(make_archive(), name="elsewhere")
    run(replace(chosen, checkpoint_seconds=1e9), elsewhere)
    assert (chosen.run_dir / "config.json").read_bytes() == config
    run(replace(chosen, run_dir=tmp_path / "other", first_trial=2), elsewhere)
    assert len(join_trials([read_run(chosen.run_dir), read_run(tmp_path / "other")])) == 1
    with pytest.raises(InputError, match=r"\(the tiles, their labels or their ids are others"):
        run(replace(chosen, checkpoint_seconds=1e9), make_archive(seed=1))


def test_other_tiles_are_reported_in_words_and_not_in_numbers_of_every_band(tmp_path) -> None:
    run(settings(tmp_path / "sound", max_labels=8))
    sound = json.loads((tmp_path / "sound" / "config.json").read_text())
    tiles = [1] * len(sound["class_names"])
    before = {**sound, "fingerprint": "a", "class_tiles": tiles, "mean": [0.5] * 13, "deviation": [1.5] * 13}
    after = {**sound, "fingerprint": "b", "class_tiles": [2, *tiles[1:]], "mean": [0.6] * 13, "deviation": [1.6] * 13}
    with RunStore(tmp_path / "run", before, RECIPE):
        pass
    with pytest.raises(InputError) as caught, RunStore(tmp_path / "run", after, RECIPE):
        pass
    assert str(caught.value) == (
        f"{tmp_path / 'run'} holds a run with other settings or data (the tiles, their labels or their ids are others; "
        "the pool has other numbers of tiles of the classes; the pool's bands have another mean or deviation): repeat "
        "them or choose another --run-dir"
    )


def test_what_a_kill_left_half_written_is_removed(tmp_path, monkeypatch, whole) -> None:
    chosen = settings(tmp_path / "run")
    run_until_save(chosen, 5, monkeypatch)
    checkpoints = chosen.run_dir / "checkpoints"
    (checkpoints / "6.orbax-checkpoint-tmp" / "arrays").mkdir(parents=True)
    (checkpoints / "6").mkdir()  # complete for Orbax, without checksums
    (checkpoints / "7.sha256").write_text("")
    (checkpoints / ".6.sha256.99999999.part").write_text("half")
    (chosen.run_dir / ".history.jsonl.99999999.part").write_text("half")
    run(chosen)
    assert differences(contents(chosen.run_dir), whole) == []


def test_reader_takes_what_replaced_the_checkpoint_that_it_was_reading(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run")
    run(chosen)
    folder = chosen.run_dir / "checkpoints"
    before = read_newest(folder)
    assert before is not None
    left = list_checkpoints(folder)[0]

    def replace_first(folder: Path, number: int) -> str | None:
        if number == left and (folder / str(left)).exists():
            (folder / f"{left}.sha256").unlink()
            (folder / str(left)).rename(folder / str(left + 1))
            (folder / f"{left + 1}.sha256").write_text(checksums(folder / str(left + 1)))
        return find_damage(folder, number)

    monkeypatch.setattr("aljax.runs.checkpoints.find_damage", replace_first)
    after = read_newest(folder)  # a warning would be an error
    assert after is not None
    assert (after.number, after.facts) == (left + 1, before.facts)


def test_checkpoint_that_orbax_does_not_write_is_an_error(tmp_path, monkeypatch) -> None:
    import orbax.checkpoint as ocp

    monkeypatch.setattr(ocp.CheckpointManager, "save", lambda *arguments, **named: False)
    with pytest.raises(RuntimeError, match=r"the checkpoint .* was not written"):
        run(settings(tmp_path / "run"))


def test_run_of_another_version_is_refused(tmp_path) -> None:
    chosen = settings(tmp_path / "run")
    run(chosen)
    path = chosen.run_dir / "config.json"
    config = json.loads(path.read_text())
    for old in ({**config, "format": 1}, {name: value for name, value in config.items() if name != "format"}):
        path.write_text(json.dumps(old))
        with pytest.raises(
            InputError, match=rf"written by another version of aljax \(format 1 where this one has {FORMAT}\)"
        ):
            run(chosen)


def test_run_that_moves_to_another_device_goes_on_and_says_so(tmp_path, monkeypatch, whole) -> None:
    chosen = settings(tmp_path / "run")
    there = {"device": "NVIDIA H100 80GB HBM3", "devices": 2, "jax": "0.12.0", "aljax": "0.1.0"}
    with monkeypatch.context() as patch:
        patch.setattr("aljax.runs.run_dir.describe_machine", lambda: there)
        run_until_save(chosen, 12, monkeypatch)
    with pytest.warns(
        InputWarning,
        match=r"cpu \(.+\) instead of NVIDIA H100 80GB HBM3 and .*devices 1 instead of 2.* not the same bytes",
    ):
        run(chosen)
    assert differences(contents(chosen.run_dir), whole) == []


WRITER = """
import sys, time
from pathlib import Path
from aljax.system.locking import WriterLock
with WriterLock(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_second_writer_is_refused_by_name_and_a_dead_one_blocks_nobody(tmp_path, whole) -> None:
    chosen = settings(tmp_path / "run")
    chosen.run_dir.mkdir()
    other = subprocess.Popen([sys.executable, "-c", WRITER, str(chosen.run_dir)], stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match=rf"run is in use by process {other.pid} on .* since 20"):
            run(chosen)
        other.kill()
    assert (chosen.run_dir / ".writer.json").exists()
    run(chosen)
    assert differences(contents(chosen.run_dir), whole) == []


FULL_DISK = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tiny import make_archive
from small_runs import run, settings
from aljax.commands.process import command
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
command(lambda: run(settings(Path(sys.argv[1]), checkpoint_seconds=0.0)))
"""


@pytest.mark.parametrize("room", [100, 6000])
def test_disk_without_room_is_one_line_and_the_run_goes_on_later(room: int, tmp_path, whole) -> None:
    chosen = settings(tmp_path / "run")
    arguments = [sys.executable, "-c", FULL_DISK, str(chosen.run_dir), str(SUPPORT), str(room)]
    # JAX would leave programs half written, and say so.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: {chosen.run_dir} cannot be written (File too large): mend")
    run(chosen)
    assert differences(contents(chosen.run_dir), whole) == []


def test_thread_that_fails_after_the_error_was_raised_says_nothing(tmp_path, monkeypatch, caplog) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # as it was, after the test
    late = {"msg": "a thread raised an exception", "exc_info": OSError("no room")}
    with CheckpointFolder(tmp_path / "checkpoints") as folder:
        with monkeypatch.context() as patch:
            patch.setattr(folder._manager, "save", fail)
            with pytest.raises(OSError, match="no room"):
                folder.write(1, {"float32": np.zeros(3, np.float32)}, {})
        logging.getLogger("absl").error(**late)
        assert not caplog.records
        folder.write(1, {"float32": np.zeros(3, np.float32)}, {})
    logging.getLogger("absl").error(**late)  # of something else
    assert len(caplog.records) == 1


def test_run_directory_in_a_place_that_takes_no_files_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be written"):
        run(settings(Path("/proc/run")))


def test_tiles_that_vanish_are_named_and_the_run_goes_on_when_they_are_back(tmp_path, monkeypatch) -> None:
    archive = on_disk(make_archive(), tmp_path / "tiles")
    run(settings(tmp_path / "whole"), archive)
    chosen = settings(tmp_path / "run")
    save = RunStore.save

    def save_and_lose_the_tiles(store: RunStore, state: RunState) -> None:
        save(store, state)
        if state.history and (tmp_path / "tiles").exists():
            (tmp_path / "tiles").rename(tmp_path / "elsewhere")

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "save", save_and_lose_the_tiles)
        with pytest.raises(InputError, match=rf"{tmp_path / 'tiles'}/tile\d+.png is not readable .* check that it is"):
            run(chosen, archive)
    (tmp_path / "elsewhere").rename(tmp_path / "tiles")
    run(chosen, archive)
    assert differences(contents(chosen.run_dir), contents(tmp_path / "whole")) == []


def test_file_that_a_desktop_left_in_a_checkpoint_is_no_damage(tmp_path, monkeypatch, whole) -> None:
    chosen = settings(tmp_path / "run")
    run_until_save(chosen, 12, monkeypatch)
    for folder in [newest(chosen.run_dir), *(path for path in newest(chosen.run_dir).iterdir() if path.is_dir())]:
        (folder / ".DS_Store").write_bytes(b"view")
    run(chosen)
    assert differences(contents(chosen.run_dir), whole) == []


@pytest.mark.parametrize("name", ["lr=[0.1,0.2]", "a\\b", os.fsdecode(b"caf\xe9")])
def test_folder_whose_checkpoints_could_not_be_read_is_refused_before_the_run(name: str, tmp_path) -> None:
    with pytest.raises(InputError, match="checkpoints in it could not be read: give --run-dir another"):
        run(settings(tmp_path / name / "run"))
    assert not (tmp_path / name).exists()


def test_run_in_a_folder_that_a_link_leads_to_goes_on(tmp_path, monkeypatch, whole) -> None:
    (tmp_path / "far" / "there").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/there")
    chosen = settings(tmp_path / "link" / ".." / "run")
    run_until_save(chosen, 12, monkeypatch)
    run(chosen)
    assert differences(contents(tmp_path / "far" / "run"), whole) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["far", "link"]


def test_what_is_no_checkpoint_is_left_among_them(tmp_path) -> None:
    chosen = settings(tmp_path / "run", max_labels=8)
    run(chosen)
    folder = chosen.run_dir / "checkpoints"
    (folder / "copy of 3").mkdir()
    (folder / "elsewhere").symlink_to(tmp_path)
    for left in ("77", "88.orbax-checkpoint-tmp"):
        (folder / left).mkdir()
    run(chosen)
    names = {path.name for path in folder.iterdir()}
    assert {"copy of 3", "elsewhere"} <= names
    assert not names & {"77", "88.orbax-checkpoint-tmp"}


def test_checkpoint_on_a_file_system_that_cannot_be_flushed_is_sound(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", max_labels=8)
    run(chosen)

    def refuse(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    assert read_newest(chosen.run_dir / "checkpoints") is not None
