"""A run directory: saves a run and restores it, however and whenever its process ended."""

import json
import time
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from aljax.errors import InputError, InputWarning
from aljax.loop import constant
from aljax.loop.history import Record, to_text
from aljax.loop.state import Fitted, Measured, RunState
from aljax.runs.checkpoints import Checkpoint, CheckpointFolder, read_newest
from aljax.runs.config import FORMAT, read_config
from aljax.runs.packing import pack
from aljax.runs.probabilities import remove_unfinished, write_probabilities
from aljax.runs.shards import add_shards, remove_shards, restore_state
from aljax.system.files import disk_errors, remove_leftovers, write_atomically
from aljax.system.locking import WriterLock
from aljax.system.machine import describe_machine, differences
from aljax.system.stopping import StoppedError
from aljax.training.recipe import Recipe

# Messages for differing settings whose values would tell a user nothing.
MESSAGES = {
    "fingerprint": "the tiles, their labels or their ids are others",
    "split": "other tiles are in the pool, for validation or for the test",
    "class_tiles": "the pool has other numbers of tiles of the classes",
    "mean": "the pool's bands have another mean or deviation",
    "deviation": "the pool's bands have another mean or deviation",
}
# The tiles are known by their fingerprint, whatever their folder is called.
MAY_DIFFER = ("archive",)
# Settings that older versions did not write.
MAY_LACK = ("split", "pixel_type", *constant.KEYS)


@runtime_checkable
class Stop(Protocol):
    """Records a request to stop."""

    def check(self) -> int | None:
        """The number of the signal that was received; None if none was."""


class RunStore:
    """Checkpoints, shards, probabilities, `config.json` and `history.jsonl` of one run, for one process at a time.

    The newest sound checkpoint is authoritative: it includes the history, from which `history.jsonl` is rewritten
    whenever they differ. Use as a context manager. Raises InputError if the directory holds a run with another
    configuration, is in use, or cannot be written.
    """

    def __init__(
        self,
        run_dir: Path,
        config: Mapping[str, Any],
        recipe: Recipe,
        checkpoint_seconds: float = 60.0,
        stop: Stop | None = None,
        remedy: str = "choose another --run-dir",
    ) -> None:
        """`checkpoint_seconds` is the least time between two checkpoints inside an iteration.

        `remedy`, part of the error message, is what a user can do about a run with another configuration.
        """
        self.run_dir = run_dir
        self.saves, self.save_seconds = 0, 0.0
        self._config, self._recipe = {"format": FORMAT, **config}, recipe
        self._interval, self._stop, self._remedy = checkpoint_seconds, stop, remedy
        self._state: RunState | None = None
        self._number = self._end_of_iteration = self._shards = 0
        self._saved_at = time.monotonic()

    def __enter__(self) -> "RunStore":
        with disk_errors(self.run_dir), ExitStack() as stack:
            _make_folder(self.run_dir)
            stack.enter_context(WriterLock(self.run_dir))
            remove_leftovers(self.run_dir)
            remove_unfinished(self.run_dir)
            _claim(self.run_dir, self._config, self._remedy)
            self._read()
            self._checkpoints = stack.enter_context(CheckpointFolder(self.run_dir / "checkpoints"))
            # Checkpoints that are newer than the newest sound one are damaged, and their numbers are used again.
            self._checkpoints.keep(range(self._number + 1))
            self._opened = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    @property
    def number(self) -> int:
        """The number of the newest checkpoint; 0 before the first."""
        return self._number

    @property
    def shards(self) -> int:
        """How many shards of passes belong to that checkpoint."""
        return self._shards

    def restore(self) -> RunState | None:
        """The state of the newest sound checkpoint, or None for a new run."""
        return self._state

    def offer(self, state: RunState) -> None:
        """Saves what is new in the state if that is due (`checkpoint_seconds`), or if the run is to stop.

        Of passes that are under way it adds only what they found since. Raises StoppedError, after saving, if the run
        is to stop.
        """
        to_stop = self._stop.check() if self._stop is not None else None
        if to_stop or time.monotonic() - self._saved_at >= self._interval:
            if state is not self._state:
                self.save(state)
            if isinstance(state.stage, Fitted) and state.stage.passes:
                self._save_passes(state.stage)
        if to_stop:
            raise StoppedError(to_stop)

    def keep(self, state: RunState, measured: Measured) -> None:
        """Writes the probabilities of the iteration, before any checkpoint with its scores. Raises InputError."""
        with disk_errors(self.run_dir):
            write_probabilities(self.run_dir, state.trial + 1, state.iteration, measured)

    def save(self, state: RunState) -> None:
        """Saves the state; returns when it is on disk. Raises InputError if it cannot be written."""
        jax.block_until_ready(state)  # running steps are not part of the time to save
        started = time.monotonic()
        number = self._number + 1
        # Between two trials a state has no model; `aljax.load` then reads the last end of an iteration, which is kept.
        is_end = state.stage is None and state.variables is not None
        end_of_iteration = number if is_end else self._end_of_iteration
        vectors, facts = pack(state)
        facts |= {"end_of_iteration": end_of_iteration, "machine": describe_machine()}
        with disk_errors(self.run_dir):
            self._checkpoints.write(number, vectors, facts)
            self._write_history(state.history)
            remove_shards(self.run_dir)
            self._checkpoints.keep({number, self._number, end_of_iteration})
        self._number, self._end_of_iteration, self._state, self._shards = number, end_of_iteration, state, 0
        self._count_save(started)

    def _save_passes(self, fitted: Fitted) -> None:
        """Adds shards to the newest checkpoint, that of the fitted model."""
        started = time.monotonic()
        with disk_errors(self.run_dir):
            self._shards = add_shards(self.run_dir, self._number, self._shards, fitted.passes)
        self._count_save(started)

    def _count_save(self, started: float) -> None:
        self._saved_at = time.monotonic()
        self.saves += 1
        self.save_seconds += self._saved_at - started

    def _read(self) -> None:
        newest = read_newest(self.run_dir / "checkpoints")
        history = self.run_dir / "history.jsonl"
        if newest is None:
            remove_shards(self.run_dir)
            if history.exists() and history.stat().st_size:
                raise InputError(
                    f"{history} has finished iterations, but there is no checkpoint beside it to go on from: bring "
                    "checkpoints back, or choose another --run-dir"
                )
            return
        if changes := differences(describe_machine(), newest.facts["machine"]):
            warnings.warn(
                InputWarning(
                    f"{self.run_dir} goes on with {' and '.join(changes)}: a sound run, but not the same bytes as one "
                    "that was begun and ended on one machine"
                ),
                stacklevel=2,
            )
        self._number, self._end_of_iteration = newest.number, newest.facts["end_of_iteration"]
        self._state, self._shards = restore_state(self.run_dir, newest, self._recipe)
        remove_shards(self.run_dir, after=self._shards)
        self._write_history(self._state.history)

    def _write_history(self, history: tuple[Record, ...]) -> None:
        """Writes `history.jsonl` unless it has this content already."""
        path, text = self.run_dir / "history.jsonl", to_text(history)
        if history and not (path.exists() and path.read_bytes() == text.encode()):
            write_atomically(path, text)


def _make_folder(run_dir: Path) -> None:
    if run_dir.exists() and not run_dir.is_dir():
        raise InputError(f"{run_dir} is a file: give --run-dir a folder")
    check_name(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)


def check_name(run_dir: Path) -> None:
    """Raises InputError for a path in which Orbax could write checkpoints but not read them."""
    whole = str(run_dir.resolve())
    # Orbax reads brackets as a pattern, backslashes as slashes, and needs UTF-8: it would not find what it wrote.
    if "[" in whole or "\\" in whole or whole.encode(errors="ignore").decode() != whole:
        raise InputError(
            f"{whole} has a bracket, a backslash or what is not UTF-8 in its name, and checkpoints in it could not be "
            "read: give --run-dir another, or rename the folder"
        )


def _claim(run_dir: Path, config: Mapping[str, Any], remedy: str) -> None:
    """Writes `config.json` into a new run directory; raises InputError if one with another configuration exists."""
    path = run_dir / "config.json"
    if not path.exists():
        if any(not entry.name.startswith(".") for entry in run_dir.iterdir()):
            raise InputError(f"{run_dir} is not empty and holds no run (no config.json): {remedy}")
        write_atomically(path, json.dumps(config, indent=2, ensure_ascii=False) + "\n")
        return
    earlier = read_config(run_dir)
    changed = [
        MESSAGES.get(name, f"{name} is {json.dumps(config.get(name))} here and {json.dumps(earlier.get(name))} there")
        for name in dict.fromkeys((*config, *earlier))
        if config.get(name) != earlier.get(name)
        and name not in MAY_DIFFER
        and not (name in MAY_LACK and name not in earlier)
    ]
    if changed:
        raise InputError(
            f"{run_dir} holds a run with other settings or data ({'; '.join(dict.fromkeys(changed))}): repeat them or "
            f"{remedy}"
        )


def read_history(run_dir: Path) -> list[Record]:
    """The records of a run, from its newest sound checkpoint or, where no checkpoints are, from `history.jsonl`.

    Raises InputError if no checkpoint is sound or the file is damaged, OSError if there is none.
    """
    return _records(run_dir, read_newest(run_dir / "checkpoints"))


def _records(run_dir: Path, newest: Checkpoint | None) -> list[Record]:
    if newest is not None:
        return [Record.from_line(line) for line in newest.facts["history"]]
    path = run_dir / "history.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [Record.from_line(line) for line in lines]
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}): bring it, or the checkpoints, back") from error


class FinishedRun(NamedTuple):
    """A run that has ended: its configuration and results."""

    run_dir: Path
    config: dict[str, Any]
    history: tuple[Record, ...]
    machine: dict[str, Any]
    """`describe_machine` of its last process; empty if there are no checkpoints."""


def read_finished(run_dir: Path) -> FinishedRun | None:
    """The run in a directory if it has ended, otherwise None. Raises InputError if it cannot be read."""
    if not (run_dir / "config.json").exists() or not (run_dir / "history.jsonl").exists():
        return None
    config = read_config(run_dir)
    newest = read_newest(run_dir / "checkpoints")
    history = tuple(_records(run_dir, newest))
    over = bool(history) and not history[-1].selected
    if not over or history[-1].trial != config["first_trial"] + config["trials"] - 1:
        return None
    return FinishedRun(run_dir, config, history, {} if newest is None else newest.facts["machine"])
