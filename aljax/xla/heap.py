"""The heap of a process that computes: what glibc's malloc keeps for the next step, without the holes of compiling."""

import ctypes
import os
import sys
from contextlib import suppress
from typing import Any

import jax

from aljax.xla.compiling import COMPILED

# A program that compiled for longer has left holes: half a minute of LLVM leaves 80,000.
SECONDS = 1.0
# Holes that are filled: a step asks for blocks of such sizes thousands of times, and malloc searches lists for them.
SMALLEST, LARGEST = 1 << 10, 1 << 20
HEADER = 16  # bytes of malloc's own before each block

_COUNTS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Usage(ctypes.Structure):
    """`struct mallinfo2`, whose fields are all sizes."""

    _fields_ = [(name, ctypes.c_size_t) for name in _COUNTS]


def _glibc() -> Any:
    """The C library, if it is the one whose calls are known here."""
    if sys.platform != "linux" or "GLIBC" not in str(os.confstr("CS_GNU_LIBC_VERSION")).upper():
        return None
    library = ctypes.PyDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.restype, library.free.argtypes = None, [ctypes.c_void_p]
    library.sbrk.restype, library.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
    with suppress(AttributeError):  # before glibc 2.33
        library.mallinfo2.restype = _Usage
    return library


def return_freed_memory() -> None:
    """Gives the system back what is free now, as after arrays over a pool of millions that are needed once."""
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory in the process, for the next step to reuse, and fill what compiling leaves free.

    By default it returns large blocks at once, and the kernel zeroes every page of a training step's gigabytes again: a
    sixth of the step on two CPU cores. Call it before the first computation, because one heap must serve all threads.
    Without effect on other C libraries.
    """
    if (library := _glibc()) is None:
        return
    trim_threshold, mmap_max, arena_max = -1, -4, -8
    library.mallopt(arena_max, 1)
    library.mallopt(mmap_max, 0)
    library.mallopt(trim_threshold, -1)  # never
    jax.monitoring.register_event_duration_secs_listener(_fill_holes_after_compiling)


def _fill_holes_after_compiling(event: str, duration_secs: float, **_: str | int) -> None:
    if event == COMPILED and duration_secs > SECONDS:
        fill_holes()


def fill_holes() -> None:
    """Takes the free blocks between those in use, up to about a megabyte each, from the heap for good.

    malloc keeps free blocks of similar size in one list and searches it at each call, while other threads wait: after
    DenseNet121 was compiled, a training step took 1.2 times the CPU time and 1.3 times the time, and with the holes
    filled neither. It costs a quarter of a second and no memory: their whole pages are returned to the system first.
    """
    library = _glibc()
    if library is None or not hasattr(library, "mallinfo2"):
        return
    library.malloc_trim(0)
    usage = library.mallinfo2()
    holes, end = usage.fordblks - usage.keepcost, library.sbrk(0) - usage.keepcost
    larger = _take(library, 64 * LARGEST, 2 * LARGEST, holes, end)  # stay whole, for the arrays of a step
    _take(library, LARGEST, SMALLEST, holes - sum(size for _, size in larger), end)
    for block, _ in larger:
        library.free(block)


def _take(library: Any, largest: int, smallest: int, limit: int, end: int) -> list[tuple[int, int]]:
    """Blocks below the address `end`, `limit` bytes at most, of halving sizes: what malloc finds without growing."""
    taken: list[tuple[int, int]] = []
    size = largest
    while size >= smallest:
        block = library.malloc(size - HEADER) if limit >= size else None
        if block is None or block >= end:
            library.free(block)
            size //= 2
        else:
            taken.append((block, size))
            limit -= size
    return taken
