"""One run by several processes on one or more machines: all compute, the first one writes.

Each process runs the same loop over the same state and reads its part of every batch; XLA combines the results. All
processes need access to the run directory and the tiles.
"""

import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np

from aljax.errors import InputError
from aljax.loop.state import Measured, RunState
from aljax.runs.checkpoints import read_newest
from aljax.runs.run_dir import MAY_DIFFER
from aljax.runs.shards import restore_state
from aljax.system.stopping import SIGNALS, StoppedError, StopRequest
from aljax.training.recipe import Recipe

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
# How long a process that ends waits for the others, for instance while the first one draws its curves. After an error
# the others may be waiting for this process in a collective operation; JAX ends them once it is gone, by default only
# after five minutes.
SECONDS_TO_END = 60


def join_processes() -> None:
    """Joins the run's other processes if the environment names their coordinator.

    JAX_COORDINATOR_ADDRESS is host:port of the first process, JAX_NUM_PROCESSES the number of processes and
    JAX_PROCESS_ID the index of this one; the last two are not needed on clusters that JAX knows, such as Slurm. Call it
    before any computation. Raises InputError if a variable is wrong or the processes do not find each other.
    """
    if ADDRESS not in os.environ:
        return
    numbers = {name: os.environ.get(name) for name in (COUNT, INDEX)}
    if any(value is not None and not value.isdecimal() for value in numbers.values()):
        raise InputError(f"{COUNT} and {INDEX} are numbers, not {numbers[COUNT]} and {numbers[INDEX]}: mend them")
    host, _, port = os.environ[ADDRESS].rpartition(":")
    if not (host and port.isdecimal()):
        raise InputError(f"{ADDRESS} is {os.environ[ADDRESS]}: give host and port of the first process, as node1:1234")
    count, index = (None if value is None else int(value) for value in numbers.values())
    try:
        jax.distributed.initialize(os.environ[ADDRESS], count, index, shutdown_timeout_seconds=SECONDS_TO_END)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the processes do not find each other at {ADDRESS} {os.environ[ADDRESS]}: {error}") from error


def exit_without_others(status: int) -> None:
    """Makes sure that a process that ends with an error exits with `status`, whatever the others do.

    At exit JAX waits for the other processes and, after a timeout, aborts them, as is wanted, but this process as well.
    So a timer ends this process shortly before.
    """
    if jax.distributed.is_initialized():
        timer = threading.Timer(SECONDS_TO_END - 2, os._exit, (status,))
        timer.daemon = True
        timer.start()


def is_first() -> bool:
    """Whether this process is the first, the one that writes; true for a single process."""
    return jax.process_index() == 0


def wait_for_all(place: str) -> None:
    """Returns when all processes have called it with the same `place`."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(place)


@contextmanager
def stopping_together() -> Iterator[None]:
    """On StoppedError in the context, waits until all processes stop: the first one may still be saving."""
    try:
        yield
    except StoppedError:
        wait_for_all("all have stopped")
        raise


class CommonStopRequest(StopRequest):
    """A request to stop that reaches all processes at the same step, whichever of them received a signal.

    JAX distributes SIGTERM to the other processes, so every other signal is turned into SIGTERM.
    """

    signals = tuple(name for name in SIGNALS if name != "SIGTERM")

    def __init__(self) -> None:
        super().__init__()
        self._checks = 0

    def check(self) -> int | None:
        """The signal, returned at the same call in every process; all must call it equally often."""
        from jax.experimental import multihost_utils

        self._checks += 1
        reached = multihost_utils.reached_preemption_sync_point(self._checks)
        return (self.number or signal.SIGTERM) if reached else None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        super()._receive(number, frame)
        os.kill(os.getpid(), signal.SIGTERM)


class FollowingStore:
    """The store of a process that does not write: it restores the state of the first process, and stops with it."""

    def __init__(self, run_dir: Path, recipe: Recipe, stop: StopRequest) -> None:
        self._run_dir, self._recipe, self._stop = run_dir, recipe, stop

    def restore(self) -> RunState | None:
        newest = read_newest(self._run_dir / "checkpoints")
        state, shards = (None, 0) if newest is None else restore_state(self._run_dir, newest, self._recipe)
        check_same_checkpoint(0 if newest is None else newest.number, shards, self._run_dir)
        return state

    def keep(self, state: RunState, measured: Measured) -> None:
        pass

    def save(self, state: RunState) -> None:
        pass

    def offer(self, state: RunState) -> None:
        if number := self._stop.check():
            raise StoppedError(number)


def check_same_checkpoint(number: int, shards: int, run_dir: Path) -> None:
    """Raises InputError if this process sees another newest checkpoint, or more or fewer shards, than the first one."""
    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    first = tuple(np.asarray(multihost_utils.broadcast_one_to_all(np.array([number, shards], np.int32))).tolist())
    if first != (number, shards):
        own, other = (f"{seen[0]} (and {seen[1]} shards)" for seen in ((number, shards), first))
        raise InputError(
            f"process {jax.process_index()} sees checkpoint {own} in {run_dir} and the first one {other}: give all "
            "processes the same folder"
        )


def check_same_settings(config: Mapping[str, Any]) -> None:
    """Raises InputError in every process unless all have the same settings and data."""
    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    compared = {name: value for name, value in config.items() if name not in MAY_DIFFER}
    digest = hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).digest()
    others = np.asarray(multihost_utils.process_allgather(np.frombuffer(digest, np.uint8)))
    different = np.flatnonzero((others != others[0]).any(1))
    if len(different):
        raise InputError(
            f"process {different[0]} has other settings or data than the first one: start all with the same command "
            "and tiles"
        )
