"""Timing several ways to do the same work, each in a process of its own, in turns.

Machines are noisy, so the ways alternate round by round. Processes of their own keep threads and memory apart.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from tools.peak_memory import PeakMemory, peak_device_bytes

Work = Callable[[], Mapping[str, float]]
"""Does the work once, waits for it, and gives other figures by name (such as the inertia of a clustering)."""

LEAST_SECONDS = 0.2  # of a measurement: shorter work is repeated within it


class Way(NamedTuple):
    """One way to do the work; importable, because another process builds it."""

    name: str
    build: Callable[..., Work]
    arguments: Mapping[str, Any]


class Timing(NamedTuple):
    """What was measured of a way."""

    seconds: list[float]
    """Of each round."""
    first_seconds: float
    """Of building it and doing it once: compilation, mostly."""
    peak_bytes: int
    """Largest memory of the process, of the accelerator's where there is one."""
    figures: dict[str, float]
    """What the work gave beside, in the last round."""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def duel(ways: Sequence[Way], rounds: int) -> dict[str, Timing | str]:
    """Times all ways in turns; a way that fails gives its error instead."""
    workers = [_Worker(way) for way in ways]
    # One builds at a time: compilers use all cores.
    failed = {worker.way.name: reason for worker in workers if (reason := worker.begin())}
    running = [worker for worker in workers if worker.way.name not in failed]
    for _ in range(rounds):
        for worker in running:
            worker.measure()
    timings: dict[str, Timing | str] = {worker.way.name: worker.end() for worker in running}
    return {way.name: (timings | failed)[way.name] for way in ways}


class _Worker:
    def __init__(self, way: Way) -> None:
        self.way = way
        self._seconds: list[float] = []

    def begin(self) -> str | None:
        """Starts the process; returns why it failed, or None."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self.way.build, dict(self.way.arguments)))
        self._process.start()
        theirs.close()
        try:
            self._first = self._connection.recv()
        except EOFError:
            self._process.join()
            return f"ended with status {self._process.exitcode}"
        return self._first if isinstance(self._first, str) else None

    def measure(self) -> None:
        self._connection.send("again")
        self._seconds.append(self._connection.recv())

    def end(self) -> Timing:
        self._connection.send("end")
        peak, figures = self._connection.recv()
        self._process.join()
        return Timing(self._seconds, self._first, peak, figures)


def _serve(connection: Connection, build: Callable[..., Work], arguments: dict[str, Any]) -> None:
    with PeakMemory() as memory:
        started = time.perf_counter()
        try:
            work = build(**arguments)
            figures = dict(work())
        except Exception as error:
            connection.send(f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")
            return
        first = time.perf_counter() - started
        started = time.perf_counter()
        work()
        once = time.perf_counter() - started
        repeats = max(1, round(LEAST_SECONDS / max(once, 1e-9)))
        connection.send(first)
        while connection.recv() == "again":
            started = time.perf_counter()
            for _ in range(repeats):
                figures = dict(work())
            connection.send((time.perf_counter() - started) / repeats)
    connection.send((peak_device_bytes() or memory.bytes, figures))
