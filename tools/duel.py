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
"""Does the work once, waits for it, and gives other figures by name (such as the inertia of a clustering)."""

LEAST_SECONDS = 0.2  # of a measurement: shorter work is repeated within it


class Way(NamedTuple):
    """One way to do the work; importable, because another process builds it."""

    name: str
    build: Callable[..., Work]
    arguments: Mapping[str, Any]
    at_first: Callable[[], None] | None = None
    """Called in the process before it has a second thread."""


class Timing(NamedTuple):
    """What was measured of a way."""

    seconds: list[float]
    """Of each round."""
    first_seconds: float
    """Of building it and doing it once: compilation, mostly."""
    peak_bytes: int
    """Largest memory of the process, of the accelerator's where there is one."""
    figures: dict[str, float]
    """What the work gave beside, medians over all times."""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def duels(works: Sequence[Sequence[Way]], rounds: int, builders: int = 1) -> Iterator[dict[str, Timing | str]]:
    """Times the ways of each work in turns, work by work; a way that fails gives its error instead.

    One builder makes the ways of a work ready one by one, because compilers use all cores. Several make those of all
    works ready first, that many at once: for machines with more cores than a compiler uses, and room for all ways.
    """
    together = max(len(works), 1) if builders > 1 else 1
    for start in range(0, len(works), together):
        group = works[start : start + together]
        with ThreadPoolExecutor(builders) as pool:
            ready = pool.map(_Worker, chain.from_iterable(group))
        for ways in group:
            workers = list(islice(ready, len(ways)))
            for worker in workers * rounds:
                worker.tell("again")
            yield {worker.way.name: worker.end() for worker in workers}


class _Worker:
    """A process that has built a way and done its work once, and does it again when told to, until something fails."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self._failure: str | None = None
        self._heard: list[Any] = []
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, way))
        self._process.start()
        theirs.close()
        self.tell(None)

    def tell(self, word: str | None) -> None:
        """Says a word, if any, and keeps the answer: seconds, at the end what else was measured, or why it failed."""
        if self._failure is not None:
            return
        try:
            if word is not None:
                self._connection.send(word)
            heard = self._connection.recv()
        except (EOFError, OSError):  # it was killed, for want of memory for instance, maybe before the word
            self._process.join()
            heard = f"ended with status {self._process.exitcode}"
        if isinstance(heard, str):
            self._failure = heard
        else:
            self._heard.append(heard)

    def end(self) -> Timing | str:
        """What was measured, or why it failed."""
        self.tell("end")
        self._process.join()
        if self._failure is not None:
            return self._failure
        first, *seconds, (peak_bytes, figures) = self._heard
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
                    figures.append(work())
                    elapsed, repeats = time.perf_counter() - started, repeats + 1
                connection.send(elapsed / repeats)
        except Exception as error:
            connection.send(" ".join([f"{type(error).__name__}:", *str(error).splitlines()[:1]])[:200])
            return
    medians = {name: statistics.median(each[name] for each in figures) for name in figures[0]}
    connection.send((peak_device_bytes() or memory.bytes, medians))
