"""JAX's persistent cache of compiled programs, and the repair of entries that a killed process left half written."""

import glob
import os
import re
from contextlib import suppress
from pathlib import Path

import jax

from aljax.system.machine import caches_dir

VARIABLE = "JAX_COMPILATION_CACHE_DIR"
SECONDS_VARIABLE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
# Programs that took longer to compile are kept. JAX's default of one second leaves out many that add up to most of one.
SECONDS = 0.1
# JAX warns of an entry that it cannot read and compiles the program, but never replaces the entry.
UNREADABLE = re.compile(r"Error reading persistent compilation cache entry for '(\w+)")


def programs_dir() -> str:
    """JAX_COMPILATION_CACHE_DIR, a folder or a bucket's address; by default `xla` in `caches_dir()`."""
    return os.environ.get(VARIABLE) or str(caches_dir() / "xla")


def keep_programs() -> None:
    """Has JAX keep programs in `programs_dir` that took `SECONDS`, or as long as JAX's own variable says."""
    jax.config.update("jax_compilation_cache_dir", programs_dir())
    if SECONDS_VARIABLE not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)


def remove_unreadable(warning: str) -> bool:
    """Whether the warning is JAX's of an unreadable program; if so, removes that program's entries from the cache."""
    found, folder = UNREADABLE.match(warning), programs_dir()
    if found is None or "://" in folder:
        return False
    for entry in Path(folder).glob(f"{glob.escape(found[1])}-*-cache"):
        with suppress(OSError):  # in a read-only folder the program is compiled each time
            entry.unlink()
    return True
