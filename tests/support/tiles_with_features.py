"""A folder of tiles with their features, as a user of rounds has it."""

from pathlib import Path

import numpy as np
from PIL import Image

from aljax.data.archive import Archive


def write_tiles_and_features(folder: Path, archive: Archive) -> None:
    """Writes `tiles/ID.png`, and `features.npz` with the mean colours of the tiles."""
    (folder / "tiles").mkdir()
    for tile, pixels in zip(archive.ids, np.asarray(archive.images), strict=True):
        Image.fromarray(pixels).save(folder / "tiles" / f"{tile}.png")
    pixels = np.asarray(archive.images).reshape(len(archive.ids), -1, 3).astype(np.float32)
    np.savez(folder / "features.npz", ids=np.array([f"{tile}.png" for tile in archive.ids]), embeddings=pixels.mean(1))
