"""A run directory: the whole run to disk and back, at iteration boundaries."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from aljax.errors import InputError
from aljax.history import Record
from aljax.loop import RunState
from aljax.pool import Pool

CHECKPOINTS_KEPT = 2


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces `path` in one go: a reader, or a crash, finds the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class RunStore:
    """Checkpoints, `config.json` and `history.jsonl` of one run.

    The newest checkpoint is the truth: it carries the history, from which `history.jsonl` is written whole,
    so the two cannot disagree for longer than it takes to start again. Use as a context manager. Raises
    InputError if the directory holds a run with another configuration.
    """

    def __init__(self, run_dir: Path, config: Mapping[str, Any], variables: PyTree, probabilities: np.ndarray) -> None:
        """`variables` and `probabilities` are templates: their shapes and types are what is restored."""
        import orbax.checkpoint as ocp

        self.run_dir = run_dir
        self._ocp = ocp
        self._template = {"variables": variables, "probabilities": probabilities}
        _claim(run_dir, config)
        options = ocp.CheckpointManagerOptions(max_to_keep=CHECKPOINTS_KEPT, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager((run_dir / "checkpoints").absolute(), options=options)

    def __enter__(self) -> "RunStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.close()

    def save(self, state: RunState) -> None:
        """Keeps the state of a finished iteration; returns when it is on disk."""
        arrays = {"variables": state.variables, "probabilities": state.probabilities}
        progress = {
            "trial": state.trial,
            "iteration": state.iteration,
            "pool_size": state.pool.size,
            "rounds": [list(chosen) for chosen in state.pool.rounds],
            "history": [record.to_line() for record in state.history],
        }
        args = self._ocp.args
        items = args.Composite(arrays=args.StandardSave(arrays), progress=args.JsonSave(progress))
        if not self._manager.save(len(state.history), args=items):
            raise RuntimeError(f"the checkpoint in {self.run_dir / 'checkpoints'} was not written")
        self._write_history(state.history)

    def restore(self) -> RunState | None:
        """The newest state, or None for a new run."""
        step = self._manager.latest_step()
        if step is None:
            return None
        args, device = self._ocp.args, jax.sharding.SingleDeviceSharding(jax.devices()[0])
        template = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), self._template
        )
        items = args.Composite(arrays=args.StandardRestore(template), progress=args.JsonRestore())
        saved = self._manager.restore(step, args=items)
        progress = saved["progress"]
        history = tuple(Record.from_line(line) for line in progress["history"])
        pool = Pool(progress["pool_size"], tuple(tuple(chosen) for chosen in progress["rounds"]))
        self._write_history(history)
        probabilities = np.asarray(saved["arrays"]["probabilities"])
        return RunState(
            progress["trial"], progress["iteration"], pool, saved["arrays"]["variables"], probabilities, history
        )

    def _write_history(self, history: tuple[Record, ...]) -> None:
        text = "".join(f"{record.to_line()}\n" for record in history)
        write_atomically(self.run_dir / "history.jsonl", text)


def _claim(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Writes `config.json` into a new run directory, or compares it with the one that is there."""
    path = run_dir / "config.json"
    if run_dir.exists() and not run_dir.is_dir():
        raise InputError(f"{run_dir} is a file: give --run-dir a folder")
    if not path.exists():
        if run_dir.exists() and any(not entry.name.startswith(".") for entry in run_dir.iterdir()):
            raise InputError(f"{run_dir} is not empty and holds no run (no config.json): choose another --run-dir")
        run_dir.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(config, indent=2) + "\n")
        return
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not readable as JSON ({error}): choose another --run-dir") from error
    differences = [
        f"{name} is {json.dumps(config.get(name))} here and {json.dumps(earlier.get(name))} there"
        for name in dict.fromkeys((*config, *earlier))
        if config.get(name) != earlier.get(name)
    ]
    if differences:
        raise InputError(
            f"{run_dir} holds a run with other settings ({'; '.join(differences)}): "
            "repeat them or choose another --run-dir"
        )
