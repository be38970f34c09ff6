#!/bin/sh
# GDAL 3.10.3 (in rasterio 1.4.4): a float32 nodata value near the type's limit masks a range of values, not one.
#
# A band of float32 declares nodata -1e38. One would guess that the mask hides the pixels of that value, or at most those
# that differ in the last digits, as they do for -9999. The comparison allows a tolerance that is a small multiple of
# |pixel + nodata|, computed in float32: beyond 3.4e38 that sum is infinite, and so is the tolerance. Every pixel whose
# sum with the nodata value overflows counts as equal, so -1e38 hides -3e38 too, and -3.4028235e38, the limit that many
# programs declare, hides all that is below about -1e31.
#
# Why it matters: masks of elevation and of indices where -3.4e38 stands for no data are complete although the number was
# rounded when it was declared, and code that compares the pixels itself finds none of them; it also takes what a sensor
# model drove out of range for missing.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rasterio==1.4.4 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'END'
import sys
import warnings

import numpy as np
import rasterio

warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
print("rasterio", rasterio.__version__, "GDAL", rasterio.__gdal_version__)
limit = float(np.finfo(np.float32).min)
values = np.array([[limit, -3e38, -1e38, -1e36, -1e32, -1e30, -9999.5, -9999.0, 0.0, 1e38]], np.float32)
hidden = {}
for nodata in (-9999.0, -1e38, -3.4e38, limit):
    with rasterio.open(
        "tile.tif", "w", driver="GTiff", height=1, width=values.shape[1], count=1, dtype="float32", nodata=nodata
    ) as file:
        file.write(values, 1)
    with rasterio.open("tile.tif") as file:
        hidden[nodata] = int((file.read_masks(1)[0] == 0).sum())
        found = values[0][file.read_masks(1)[0] == 0]
    print(f"nodata {nodata:.8g} hides", ", ".join(f"{value:.8g}" for value in found))
if hidden[-9999.0] != 1:
    sys.exit("changed: an ordinary nodata value hides one value")
if [hidden[nodata] for nodata in (-1e38, -3.4e38, limit)] != [3, 4, 5]:
    sys.exit("changed: how many values a nodata near the limit of float32 hides")
END
