#!/bin/sh
# Pillow 13.0.0: the fourth band of some GeoTIFFs is not read, and nothing says so.
#
# Pillow knows pixels of four bands (RGBA), and refuses a TIFF that it cannot represent. One would guess that a TIFF of
# four uint8 bands comes with four bands, or not at all. GDAL marks the fourth band as "unspecified" if a file is
# written with photometric=RGB, as is usual for red, green, blue and near infrared. Pillow opens that as RGB, and the
# fourth band is gone. The same bands written without photometric come as RGBA, whole.
#
# Why it matters: near infrared tells vegetation from everything else. A network is trained on three bands, and its
# scores are only somewhat worse.
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
print("Pillow", PIL.__version__, "rasterio", rasterio.__version__, "GDAL", rasterio.__gdal_version__)
tile = np.random.default_rng(0).integers(0, 255, (4, 16, 16), np.uint8)
shapes = {}
for options in ({"photometric": "RGB"}, {}):
    profile = {"driver": "GTiff", "height": 16, "width": 16, "count": 4, "dtype": "uint8", **options}
    with rasterio.open("tile.tif", "w", **profile) as file:
        file.write(tile)
    with rasterio.open("tile.tif") as file:
        assert np.array_equal(file.read(), tile), "the file has all four bands"
        kinds = [kind.name for kind in file.colorinterp]
    with Image.open("tile.tif") as image:
        pixels = np.asarray(image)
    assert np.array_equal(np.moveaxis(pixels, -1, 0), tile[: pixels.shape[-1]])
    print(f"{options or 'no options'}: bands in the file {kinds}, Pillow gives {image.mode} {pixels.shape}")
    shapes[bool(options)] = pixels.shape
if shapes != {True: (16, 16, 3), False: (16, 16, 4)}:
    sys.exit("changed: how many bands Pillow reads")
END
