"""The probabilities that TPD compares with are written once in an iteration, and checkpoints rely on that file."""

import hashlib
from contextlib import suppress
from pathlib import Path

import pytest
from small_runs import KilledError, run, run_until_save, settings

from aljax.errors import InputWarning
from aljax.runs import checkpoints, packing
from aljax.runs.checkpoints import CheckpointFolder, files_beside, list_checkpoints
from aljax.runs.run_dir import RunStore
from tools.run_contents import contents, differences

LAST = 12  # the save, of one in each step, that is in the training of the second iteration


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    run(settings(run_dir, max_labels=12))
    return run_dir


def shared(run_dir: Path) -> dict[str, Path]:
    """The files of the newest checkpoint and of the one before."""
    folder = run_dir / "checkpoints"
    newest, before, *_ = list_checkpoints(folder)
    return dict(zip(("newest", "before"), (*files_beside(folder, newest), *files_beside(folder, before)), strict=True))


@pytest.mark.parametrize(("query", "arrays"), [("tpd", 2), ("mge", 0)])
def test_each_array_is_written_twice_and_kept_while_a_checkpoint_names_it(query, arrays, tmp_path, monkeypatch) -> None:
    folder, seen, save = tmp_path / "run/checkpoints", set(), RunStore.save

    def save_and_look(store: RunStore, state) -> None:
        save(store, state)
        named = {path for number in list_checkpoints(folder) for path in files_beside(folder, number)}
        assert named == {*folder.glob("probabilities-*")}
        seen.update((path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in named)

    monkeypatch.setattr(RunStore, "save", save_and_look)
    run(settings(tmp_path / "run", query=query, max_labels=12, checkpoint_seconds=0.0))
    assert len(seen) == 2 * arrays  # unknown ones and those of the first iteration; the second chooses nothing
    for path in folder.glob("probabilities-*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(path.stem[-16:])


@pytest.mark.parametrize("which", ["newest", "before"])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:-1]), lambda path: path.unlink()])
def test_damaged_file_costs_the_newest_checkpoint_alone(which, damage, whole, tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", max_labels=12)
    run_until_save(chosen, LAST, monkeypatch)
    path = shared(chosen.run_dir)[which]
    damage(path)
    if which == "newest":
        with pytest.warns(InputWarning, match=rf"checkpoints/{LAST} is damaged: {path.name} is not as it was written"):
            run(chosen)
    else:
        run(chosen)
    assert differences(contents(chosen.run_dir), contents(whole)) == []
    assert all(checkpoints.find_damage(path.parent, number) is None for number in list_checkpoints(path.parent))


def test_checkpoint_of_an_older_version_with_the_probabilities_in_it_goes_on(whole, tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", max_labels=12)
    with monkeypatch.context() as patch:
        for module in (packing, checkpoints):
            patch.setattr(module, "APART", {})
        run_until_save(chosen, LAST, patch)
        assert not [*chosen.run_dir.glob("checkpoints/probabilities-*")]
    run(chosen)
    assert differences(contents(chosen.run_dir), contents(whole)) == []


def test_file_of_a_checkpoint_that_was_not_finished_is_removed(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", max_labels=12)
    write = CheckpointFolder._write_beside

    def write_and_die(self: CheckpointFolder, *arguments) -> str:
        write(self, *arguments)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFolder, "_write_beside", write_and_die)
        with suppress(KilledError):
            run(chosen)
    (left,) = chosen.run_dir.glob("checkpoints/probabilities-*")
    with CheckpointFolder(left.parent) as folder:
        folder.keep({0})
    assert not left.exists()
