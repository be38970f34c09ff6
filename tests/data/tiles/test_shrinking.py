"""Thumbnails are means over blocks."""

import numpy as np

from aljax.data.tiles.resizing import shrink


def test_thumbnail_is_the_mean_over_blocks_also_of_sizes_that_do_not_divide() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (19, 33, 2), dtype=np.uint8)
    small = shrink(pixels, 8)
    for row in range(8):
        for column in range(8):
            block = pixels[row * 19 // 8 : (row + 1) * 19 // 8, column * 33 // 8 : (column + 1) * 33 // 8]
            np.testing.assert_allclose(small[row, column], block.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(shrink(np.full((8, 8, 1), 7, np.uint16), 8), 7.0)
