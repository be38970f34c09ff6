"""How much memory a process took at most."""

import sys
import threading
from pathlib import Path


class PeakMemory:
    """The largest memory of this process while the context lasts, without what is mapped from files."""

    def __init__(self) -> None:
        self.bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.bytes = max(self.bytes, anonymous_memory())


def anonymous_memory() -> int:
    """Bytes of this process that are not mapped from files (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def peak_device_bytes() -> int | None:
    """Largest memory of the accelerator that this process took, by whichever library it used; None on a CPU."""
    if "torch" in sys.modules:
        import torch

        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    if "jax" in sys.modules:
        import jax

        statistics = jax.local_devices()[0].memory_stats()
        return statistics["peak_bytes_in_use"] if statistics else None
    return None
