"""Free blocks that compiling leaves between those in use."""

import subprocess
import sys

import pytest

from aljax.xla import heap

LIBRARY = heap._glibc()

# Makes 20,000 holes of 4 KiB and two of 8 MiB, and prints usage before and after a program was compiled.
PROGRAM = """
import resource
import jax
from aljax.xla import heap
from aljax.xla.compiling import COMPILED

def say():
    usage = library.mallinfo2()
    print(usage.ordblks, usage.fordblks, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

library = heap._glibc()
heap.keep_freed_memory()
blocks = [library.malloc(8 << 20 if at % 2 == 0 and at < 4 else 4096 - heap.HEADER) for at in range(40_000)]
for block in blocks[::2]:
    library.free(block)
say()
for seconds in (heap.SECONDS / 2, heap.SECONDS * 2):
    jax.monitoring.record_event_duration_secs(COMPILED, seconds)
    say()
"""


@pytest.mark.skipif(LIBRARY is None or not hasattr(LIBRARY, "mallinfo2"), reason="glibc since 2.33")
def test_compiling_leaves_no_holes_but_large_ones_and_takes_no_memory() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, check=True)
    before, short, long = (tuple(map(int, line.split())) for line in ended.stdout.splitlines())
    assert before[0] > 20_000
    assert short == before
    assert long[0] < before[0] / 4
    assert long[1] > 2 * (8 << 20)  # the large ones are free as before
    assert long[2] - before[2] < 20_000  # KiB
