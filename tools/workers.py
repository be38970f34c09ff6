"""Worker processes: they end with their parent, and measure their peak memory."""

import multiprocessing
import os
import sys
import threading
from pathlib import Path


def end_with_parent() -> None:
    """Makes a process that `multiprocessing` started end when its parent ends, however that happens.

    Otherwise it would go on, hold its memory and disturb later work.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait_and_end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_and_end, daemon=True).start()


class PeakMemory(threading.Thread):
    """Measures the peak memory of this process in the context, without memory-mapped files (Linux)."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._over = threading.Event()

    def __enter__(self) -> "PeakMemory":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.02):
            lines = Path("/proc/self/status").read_text().splitlines()
            kibibytes = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self.bytes = max(self.bytes, 1024 * kibibytes)


def peak_device_bytes() -> int | None:
    """Peak accelerator memory of this process, by JAX or PyTorch; None on a CPU."""
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    if torch:
        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    statistics = jax.local_devices()[0].memory_stats() if jax else None
    return statistics["peak_bytes_in_use"] if statistics else None
