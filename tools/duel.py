"""Timing several ways to do the same work, each in a process of its own, in turns.

Machines are noisy, so the ways alternate round by round. Processes of their own keep threads and memory apart. Nothing
is timed while anything is being built.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from tools.workers import PeakMemory, end_with_parent, peak_device_bytes

Work = Callable[[], Mapping[str, float]]
"""Does the work once, waits for it, and returns other figures by name (such as the inertia of a clustering)."""

CPU = "CPU s"  # the figure that says least of what else the machine does
LEAST_SECONDS = 0.2  # of a measurement: shorter work is repeated within it


class Way(NamedTuple):
    """One way to do the work; importable, because another process builds it."""

    name: str
    build: Callable[..., Work]
    arguments: Mapping[str, Any]
    at_first: Callable[[], None] | None = None
    """Called in the process before it starts a second thread."""


class Timing(NamedTuple):
    """The measurements of a way."""

    seconds: list[float]
    """Of each round."""
    first_seconds: float
    """Of building it and doing it once, mostly compilation."""
    peak_bytes: int
    """Peak memory of the process, or of the accelerator where there is one."""
    figures: dict[str, float]
    """The other figures that the work returned, and CPU seconds of its process, medians over all rounds."""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def duels(works: Sequence[Sequence[Way]], rounds: int, builders: int = 1) -> Iterator[dict[str, Timing | str]]:
    """Times the ways of each work in turns, work by work; for a way that fails, yields its error instead.

    With one builder the ways of a work are built one after the other, because compilers use all cores. With several,
    the ways of all works are built first, so many at once: for machines with more cores than a compiler uses, and
    enough memory for all ways.
    """
    together = max(len(works), 1) if builders > 1 else 1
    for start in range(0, len(works), together):
        group = works[start : start + together]
        with ThreadPoolExecutor(builders) as pool:
            ready = pool.map(_Worker, chain.from_iterable(group))
        for ways in group:
            workers = list(islice(ready, len(ways)))
            for worker in workers * rounds:
                worker.request("again")
            yield {worker.way.name: worker.end() for worker in workers}


class _Worker:
    """A process that builds a way, does its work once, and repeats it on request until it fails."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self._failure: str | None = None
        self._answers: list[Any] = []
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, way))
        self._process.start()
        theirs.close()
        self.request(None)

    def request(self, word: str | None) -> None:
        """Sends a request, if any, and keeps the answer: seconds, at the end the other measurements, or an error."""
        if self._failure is not None:
            return
        try:
            if word is not None:
                self._connection.send(word)
            answer = self._connection.recv()
        except (EOFError, OSError):  # the process was killed, for lack of memory for instance
            self._process.join()
            answer = f"ended with status {self._process.exitcode}"
        if isinstance(answer, str):
            self._failure = answer
        else:
            self._answers.append(answer)

    def end(self) -> Timing | str:
        """Ends the process and returns its measurements, or why it failed."""
        self.request("end")
        self._process.join()
        if self._failure is not None:
            return self._failure
        first, *seconds, (peak_bytes, figures) = self._answers
        return Timing(seconds, first, peak_bytes, figures)


def _serve(connection: Connection, way: Way) -> None:
    if way.at_first is not None:
        way.at_first()
    end_with_parent()
    with PeakMemory() as memory:
        started = time.perf_counter()
        try:
            work = way.build(**way.arguments)
            figures = [work()]
            connection.send(time.perf_counter() - started)
            while connection.recv() == "again":
                started, elapsed, repeats = time.perf_counter(), 0.0, 0
                while elapsed < LEAST_SECONDS:
                    before = time.process_time()
                    figures.append({**work(), CPU: time.process_time() - before})
                    elapsed, repeats = time.perf_counter() - started, repeats + 1
                connection.send(elapsed / repeats)
        except Exception as error:
            connection.send(" ".join([f"{type(error).__name__}:", *str(error).splitlines()[:1]])[:200])
            return
    # What is done first compiles, which is no part of the CPU time.
    medians = {name: statistics.median(each[name] for each in figures[1:]) for name in figures[-1]}
    connection.send((peak_device_bytes() or memory.bytes, medians))
