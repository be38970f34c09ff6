"""Compiled programs that are kept between processes, and mended where a killed process left one half written."""

import glob
import os
import re
from contextlib import suppress
from pathlib import Path

import jax

from aljax.system.machine import caches_dir

VARIABLE = "JAX_COMPILATION_CACHE_DIR"
SECONDS_VARIABLE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
# Which programs are kept. JAX keeps those that took a second, but many that took less make up most of a second.
SECONDS = 0.1
# JAX warns of an entry that it cannot read, compiles anew, and keeps the bad entry for ever.
UNREADABLE = re.compile(r"Error reading persistent compilation cache entry for '(\w+)")


def programs_dir() -> str:
    """JAX_COMPILATION_CACHE_DIR, which may be a bucket's address, or `~/.cache/aljax/xla`, or in XDG_CACHE_HOME."""
    return os.environ.get(VARIABLE) or str(caches_dir() / "xla")


def keep_programs() -> None:
    """Keeps compiled programs in `programs_dir`: those that took `SECONDS`, or as JAX's own variable says."""
    jax.config.update("jax_compilation_cache_dir", programs_dir())
    if SECONDS_VARIABLE not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)


def remove_unreadable(warning: str) -> bool:
    """Whether JAX warns of a program that it cannot read; if so, that program's entries make place for new ones."""
    found, folder = UNREADABLE.match(warning), programs_dir()
    if found is None or "://" in folder:
        return False
    for entry in Path(folder).glob(f"{glob.escape(found[1])}-*-cache"):
        with suppress(OSError):  # a folder that can only be read: it is compiled anew every time
            entry.unlink()
    return True
