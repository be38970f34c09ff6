#!/bin/sh
# rasterio 1.4.4 (GDAL 3.10): the fourth of four uint8 bands becomes transparency, and hides pixels of the other three.
#
# A GeoTIFF is written with count=4 and dtype=uint8, and nothing else said. One would guess that its bands are four
# equal ones, as they are for uint16. GDAL calls the fourth "alpha". Pixels come back as they were, but everything that
# asks which of them are valid goes by the fourth band: read(masked=True) hides those where it is 0, stats() leaves
# them out, and a read at a smaller size weighs the other bands by it. photometric="RGB" or "MINISBLACK" in the
# options avoids it.
#
# Why it matters: near infrared as the fourth band is 0 over clear water and in deep shadows. Such pixels drop out of
# means and deviations, previews show them black, and the mask passes for missing data.
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
from rasterio.enums import Resampling

warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
print("rasterio", rasterio.__version__, "GDAL", rasterio.__gdal_version__)
# Water above, with 0 in near infrared, and land below.
tile = np.full((4, 16, 16), 100, np.uint8)
tile[:, :8] = 10
tile[3, :8] = 0
found = {}
for dtype in ("uint8", "uint16"):
    with rasterio.open("tile.tif", "w", driver="GTiff", height=16, width=16, count=4, dtype=dtype) as file:
        file.write(tile.astype(dtype))
    with rasterio.open("tile.tif") as file:
        assert np.array_equal(file.read(), tile), "all pixels are in the file"
        kind = file.colorinterp[3].name
        hidden = float(np.ma.getmaskarray(file.read(1, masked=True)).mean())
        preview = file.read(1, out_shape=(4, 4), resampling=Resampling.average)[:, 0].tolist()
        mean = file.stats(indexes=1)[0].mean
    found[dtype] = kind, hidden, preview, mean
    print(f"{dtype}: fourth band is {kind}, {hidden:.0%} of the first is hidden, at 4 x 4 it is {preview}, mean {mean}")
if found["uint16"] != ("undefined", 0.0, [10, 10, 100, 100], 55.0):
    sys.exit("changed: what four bands of uint16 are")
if found["uint8"] != ("alpha", 0.5, [0, 0, 100, 100], 100.0):
    sys.exit("changed: what the fourth of four bands of uint8 is, or what it hides")
END
