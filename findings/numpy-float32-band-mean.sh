#!/bin/sh
# NumPy 2.4.6: the mean of float32 bands is wrong in the second digit where the bands are the last axis.
#
# NumPy adds in pairs, so that rounding hardly grows with the number of summands. One would guess that a mean of float32
# is good to six digits. It adds in pairs only along numbers that lie beside each other. Over the pixels of tiles
# (n, height, width, bands) the sum of each band grows one pixel at a time, and loses what a pixel has below the sum's
# last digit: of 1,000 tiles of 64 x 64 pixels that all hold 0.1 the mean is 0.096, and the deviation, which is 0, is
# 0.004. With bands first, or with dtype=np.float64, all is well. The documentation of mean warns of low precision,
# but not that the order of the axes decides.
#
# Why it matters: tiles are standardised by the mean and the deviation of each band. Reflectances are float32, and
# tiles have their bands last.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6
cd "$folder"
venv/bin/python - <<'END'
import sys

import numpy as np

print("NumPy", np.__version__)
tiles = np.full((1000, 64, 64, 3), 0.1, np.float32)
last = tiles.mean((0, 1, 2))
deviation = tiles.std((0, 1, 2))
first = np.ascontiguousarray(np.moveaxis(tiles, -1, 0)).mean((1, 2, 3))
wide = tiles.mean((0, 1, 2), dtype=np.float64)
print("every pixel is 0.1")
print("bands last:            mean", last, "deviation", deviation)
print("bands first:           mean", first)
print("bands last in float64: mean", wide)
if not (np.allclose(first, 0.1, rtol=1e-4) and np.allclose(wide, 0.1, rtol=1e-6)):
    sys.exit("changed: the mean is wrong with bands first or in float64, too")
if np.allclose(last, 0.1, rtol=1e-2) or np.all(deviation < 1e-3):
    sys.exit("changed: the mean or the deviation of float32 with bands last is good to two digits")
END
