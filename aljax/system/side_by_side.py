"""Processes side by side: one per accelerator, or each on its own share of a CPU's cores.

With small batches a run leaves a second core idle between operations, so several runs at a time finish sooner than the
same runs one after the other. Not on an accelerator: two at a time on an H200 take twice as long.
"""

import itertools
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from aljax.errors import InputError
from aljax.system.machine import SIDE_BY_SIDE
from aljax.system.stopping import STOPS_WITH_STARTER, StoppedError, StopRequest

POLL_SECONDS = 0.2

Process = subprocess.Popen[bytes]


class Place(NamedTuple):
    """Where a process runs: extra environment variables and cores."""

    environment: dict[str, str]
    cores: frozenset[int] = frozenset()
    """CPU cores; empty: all."""


class Job(NamedTuple):
    """A command, and the file for its standard output and error."""

    command: Sequence[str]
    log: Path


def find_places(count: int) -> list[Place]:
    """`count` places on this machine; with 0 one per accelerator or, without one, per core.

    Another process looks up the device, because a process in which JAX opens an accelerator keeps it. Raises InputError
    for more places than cores, or for several on a device that cannot be assigned to processes.
    """
    program = "import jax; print(jax.default_backend(), jax.local_device_count())"
    looked_up = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if looked_up.returncode:
        raise InputError(f"JAX finds no device here: {looked_up.stderr.strip().splitlines()[-1]}")
    backend, devices = looked_up.stdout.split()[-2:]
    if backend == "cpu":
        return _on_cores(sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [], count)
    if backend in ("gpu", "cuda"):
        return _on_cards(int(devices), count)
    if count > 1:
        raise InputError(f"--jobs {count} needs CUDA cards or CPU cores, and this is a {backend}: leave it out")
    return [Place({})]


def _on_cores(cores: Sequence[int], count: int) -> list[Place]:
    if not cores:  # the system has no CPU affinity
        return [Place({})] * max(count, 1)
    count = count or len(cores)
    if count > len(cores):
        raise InputError(f"--jobs {count} is more than there are cores ({len(cores)}): lower it")
    ends = [round(index * len(cores) / count) for index in range(count + 1)]
    return [Place({}, frozenset(cores[start:end])) for start, end in itertools.pairwise(ends)]


def _on_cards(cards: int, count: int) -> list[Place]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",")[:cards] if visible else [str(index) for index in range(cards)]
    count = count or len(names)
    shared = math.ceil(count / len(names))
    # JAX reserves three quarters of a card's memory at once, so processes on one card need a smaller fraction each.
    memory = {} if shared == 1 else {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / shared:.2f}"}
    return [Place({"CUDA_VISIBLE_DEVICES": names[index % len(names)], **memory}) for index in range(count)]


def run_jobs(jobs: Sequence[Job], places: Sequence[Place], on_poll: Callable[[int], None] = lambda ended: None) -> None:
    """Runs all jobs, as many at a time as there are places; returns when all have ended.

    `on_poll(ended)` is called a few times a second with the number of jobs that have ended. A signal to stop is passed
    on to the processes; StoppedError is raised when all have ended. Raises InputError if a job fails, after the others
    have been stopped.
    """
    waiting, ended = list(jobs), 0
    running: dict[int, tuple[Job, Process]] = {}
    free = list(range(len(places)))
    with StopRequest() as stop, _lifeline() as lifeline:
        try:
            while (waiting and stop.number is None) or running:
                while waiting and free and stop.number is None:
                    job, place = waiting.pop(0), free.pop(0)
                    running[place] = job, _start(job, places[place], min(len(places), len(jobs)), lifeline)
                time.sleep(POLL_SECONDS)
                if stop.number is not None:
                    _stop(process for _, process in running.values())
                for place, (job, process) in list(running.items()):
                    if process.poll() is not None:
                        del running[place]
                        free.append(place)
                        ended += 1
                        if stop.number is None:
                            _check(job, process.returncode)
                on_poll(ended)
        finally:
            _stop(process for _, process in running.values())
    if stop.number is not None:
        raise StoppedError(stop.number)


def _stop(processes: Iterable[Process]) -> None:
    """Sends each process SIGTERM, upon which it saves and ends, and waits for all."""
    waiting = list(processes)
    for process in waiting:
        process.terminate()
    for process in waiting:
        process.wait()


def _check(job: Job, status: int) -> None:
    """Raises StoppedError if a signal stopped the process (a cluster signals them all), InputError if it failed."""
    if status > 128:
        raise StoppedError(status - 128)
    if status:
        said = job.log.read_text(errors="replace").strip().splitlines()
        last = said[-1] if said else "it said nothing"
        raise InputError(f"a run ended with status {status} ({last}); all it said is in {job.log}")


@contextmanager
def _lifeline() -> Iterator[int]:
    """The read end of an empty pipe, as standard input for processes: it closes when this process ends."""
    reader, writer = os.pipe()
    try:
        yield reader
    finally:
        os.close(reader)
        os.close(writer)


def _start(job: Job, place: Place, side_by_side: int, lifeline: int) -> Process:
    """Starts a process in its own session, so that Ctrl-C reaches only this one, which passes it on (or ends)."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with _on(place.cores), job.log.open("ab") as log:  # append: the output of an earlier start stays
        variables = {SIDE_BY_SIDE: str(side_by_side), STOPS_WITH_STARTER: "1"}
        return _open(job.command, {**os.environ, **place.environment, **variables}, lifeline, log)


def _open(command: Sequence[str], environment: dict[str, str], lifeline: int, log: IO[bytes]) -> Process:
    return subprocess.Popen(command, env=environment, stdin=lifeline, stdout=log, stderr=log, start_new_session=True)


@contextmanager
def _on(cores: frozenset[int]) -> Iterator[None]:
    """Processes that are started in the context inherit these cores."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
