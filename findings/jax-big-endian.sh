#!/bin/sh
# JAX 0.10.2 with NumPy 2.4.6: a compiled function reads big-endian numbers as if they were native ones.
#
# FITS and classic netCDF store numbers with the high byte first, and NumPy hands them on as they are (">u2"). JAX has
# no such type: jax.numpy.asarray raises TypeError, and so does a jitted function whose first call gets such an array.
# One would guess that it always does. But a function that has been called with native numbers of the same type and
# shape before takes the big-endian ones too, without a word, and computes with their bytes in the wrong order.
#
# Why it matters: the first batch of tiles is a native one, a later one comes straight from a file of another format,
# and a pixel of 1 counts as 256. Predictions are wrong, and nothing says so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu venv/bin/python - <<'END'
import sys

import jax
import numpy as np

print("JAX", jax.__version__, "NumPy", np.__version__)
native = np.array([1, 2, 3, 4], np.uint16)
big_endian = native.astype(">u2")
assert np.array_equal(native, big_endian), "for NumPy they are equal"

refusing = jax.jit(lambda tile: tile + 0)
try:
    print("big-endian first:", refusing(big_endian))
    sys.exit("changed: the first call takes big-endian numbers")
except TypeError:
    print("big-endian first: TypeError")

warm = jax.jit(lambda tile: tile + 0)
print("native first:", warm(native))
try:
    found = np.asarray(warm(big_endian))
except TypeError as error:
    sys.exit(f"changed: big-endian numbers are refused after native ones too ({error})")
print("big-endian after it:", found)
if found.tolist() != [256, 512, 768, 1024]:
    sys.exit("changed: big-endian numbers no longer become others")
END
