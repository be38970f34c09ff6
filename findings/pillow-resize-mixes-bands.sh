#!/bin/sh
# Pillow 13.0.0: resizing four bands mixes them; where the fourth is 0, the other three become 0.
#
# Image.fromarray takes uint8 pixels of four bands, and resize averages neighbouring pixels. One would guess that it
# does so band by band. Four bands are RGBA to Pillow: the colours are multiplied by the fourth band, averaged, and
# divided again. So bright pixels of the fourth band outweigh dark ones in the other three, and where it is 0 over the
# whole neighbourhood, nothing is left of them. (Two bands are LA, and fare the same.) Each band resized as an image of
# its own keeps apart.
#
# Why it matters: near infrared as the fourth band is close to 0 over water and in shadows. There the tile turns black,
# and everywhere else its colours shift.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'END'
import sys

import numpy as np
import PIL
from PIL import Image

print("Pillow", PIL.__version__)
bilinear = Image.Resampling.BILINEAR
water = np.full((16, 16, 4), 100, np.uint8)
water[..., 3] = 0
# Rows in turns: 200 and 50 in the first three bands, 10 and 250 in the fourth.
stripes = np.zeros((16, 16, 4), np.uint8)
stripes[::2], stripes[1::2] = (200, 200, 200, 10), (50, 50, 50, 250)


def shrink(pixels):
    return np.asarray(Image.fromarray(pixels).resize((8, 8), bilinear))[4, 4].tolist()


together = {"water": shrink(water), "stripes": shrink(stripes)}
apart = {
    name: [shrink(np.ascontiguousarray(tile[..., band])) for band in range(4)]
    for name, tile in (("water", water), ("stripes", stripes))
}
print("four bands together:", together)
print("band by band:       ", apart)
if apart != {"water": [100, 100, 100, 0], "stripes": [125, 125, 125, 130]}:
    sys.exit("changed: what a band by itself becomes")
if together["water"] != [0, 0, 0, 0] or together["stripes"][0] > 70:
    sys.exit("changed: the fourth band no longer decides on the others")
END
