#!/bin/sh
# JAX 0.10.2: a damaged program in the compilation cache stays there for ever.
#
# The cache (jax_compilation_cache_dir) keeps compiled programs between processes. A process that is killed, or a disk
# that is full, can leave half a file there. One would guess that JAX, which notices and compiles anew, puts the new
# program in the place of the bad one. It warns, compiles, and leaves the bad file as it is: every later process warns
# and compiles again.
#
# Why it matters: a training step of a deep network takes minutes to compile on a GPU. After one bad moment each start
# of each run pays for it, until somebody deletes the file by hand.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
cat > start.py <<'END'
"""Compiles a program with a cache, and prints how many warnings came and how large the cache's file is."""

import pathlib
import warnings

import jax
import numpy as np

jax.config.update("jax_compilation_cache_dir", "programs")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    jax.jit(lambda tile: tile @ tile.T)(np.ones((8, 8), np.float32)).block_until_ready()
unread = [warning for warning in caught if "persistent compilation cache" in str(warning.message)]
(file,) = pathlib.Path("programs").glob("*-cache")
print(len(unread), file.stat().st_size)
END
export JAX_PLATFORMS=cpu
venv/bin/python -c 'import jax; print("JAX", jax.__version__)'
whole=$(venv/bin/python start.py)
echo "first start: warnings and bytes: $whole"
venv/bin/python -c 'import os, sys; os.truncate(sys.argv[1], int(sys.argv[2]))' programs/*-cache $((${whole#* } / 2))
second=$(venv/bin/python start.py)
echo "after the file is cut in half: $second"
third=$(venv/bin/python start.py)
echo "and once more: $third"
if [ "${whole% *}" != 0 ]; then
    echo "changed: there are warnings with a sound cache" >&2
    exit 1
fi
if [ "$second" != "1 $((${whole#* } / 2))" ] || [ "$third" != "$second" ]; then
    echo "changed: the damaged file is replaced, or not warned of" >&2
    exit 1
fi
