#!/bin/sh
# JAX 0.10.2, CPU: a compiled mean over a ReLU counts NaN as 0.
#
# jax.nn.relu(NaN) is NaN, and so is a mean with NaN in it. One would guess that compiling changes the last digits at
# most. Compiled for a CPU (seen on x86-64), the mean of a ReLU over the pixels of a map takes the ReLU into the sum
# and leaves NaN out as if it were 0. Called step by step the same function gives NaN, and so does the compiled one
# where the map is small: so a test on tiny maps does not show it.
#
# Why it matters: a network ends in a ReLU and a mean over the map. One that has diverged, or a tile with a broken
# pixel, gives finite embeddings, finite scores, and tiles that are chosen by them.
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
import jax.numpy as jnp
import numpy as np

print("JAX", jax.__version__, "on", jax.default_backend())


def embed(maps):
    return jax.nn.relu(maps).mean((1, 2))


def with_nan(side):
    maps = np.ones((2, side, side, 8), np.float32)
    maps[0, 1, 1] = np.nan  # one pixel of the first of two tiles
    return jnp.asarray(maps)


by_steps = np.asarray(embed(with_nan(16)))[:, 0]
compiled = np.asarray(jax.jit(embed)(with_nan(16)))[:, 0]
small = np.asarray(jax.jit(embed)(with_nan(2)))[:, 0]
print("16 x 16 pixels, step by step:", by_steps)
print("16 x 16 pixels, compiled:    ", compiled)
print("  2 x 2 pixels, compiled:    ", small)
if not (np.isnan(by_steps[0]) and np.isnan(small[0])):
    sys.exit("changed: NaN no longer comes through step by step, or in small maps")
if np.isnan(compiled[0]):
    sys.exit("changed: NaN comes through in the compiled mean of a larger map, too")
if compiled[0] != 255 / 256:
    sys.exit("changed: NaN is no longer counted as 0")
END
