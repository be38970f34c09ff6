#!/bin/sh
# Pillow 13.0.0: a PNG of three bands of 16 bits is read as one of 8 bits.
#
# Pillow keeps the 16 bits of a PNG of one band (mode I;16). One would guess that it keeps them for three bands, too, or
# refuses what it has no mode for. It opens such a file as RGB with 8 bits, drops the lower half of each number, and
# neither its mode nor a warning tells that there was more.
#
# Why it matters: satellites measure 10 to 14 bits, and reflectances are often stored as whole numbers up to 10,000. Of
# the 256 levels in which the pixels of a dark scene differ, one is left.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 rasterio==1.4.4 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'END'
import sys
import warnings

import numpy as np
import PIL
import rasterio
from PIL import Image

warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
print("Pillow", PIL.__version__, "rasterio", rasterio.__version__)
# Reflectances from 1,024 to 1,279, as of a dark scene.
tile = np.arange(1024, 1280, dtype=np.uint16).reshape(16, 16)
levels = {}
for bands in (1, 3):
    with rasterio.open("tile.png", "w", driver="PNG", height=16, width=16, count=bands, dtype="uint16") as file:
        file.write(np.stack([tile] * bands))
    with rasterio.open("tile.png") as file:
        assert np.array_equal(file.read(bands), tile), "the file has all 16 bits"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Image.open("tile.png") as image:
            pixels = np.asarray(image)
    levels[bands] = len(np.unique(pixels)), len(caught)
    print(f"{bands} bands: mode {image.mode}, {pixels.dtype}, {levels[bands][0]} of 256 levels, {len(caught)} warnings")
if levels != {1: (256, 0), 3: (1, 0)}:
    sys.exit("changed: what Pillow keeps of 16 bits, or that it says nothing")
END
