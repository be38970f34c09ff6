"""The first tiles of a trial where nothing is learnt yet: they cover what tiles look like."""

from pathlib import Path

import numpy as np
from test_loop import settings

from aljax.data.archive import Archive, Split, split_tiles
from aljax.loop.iterations import first_tiles


def test_first_tiles_of_a_pool_with_pixels_cover_what_they_look_like(tmp_path: Path) -> None:
    # Three kinds of tiles, by colour and form; random ones would be of one kind in a case of nine.
    kinds = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], 20))
    looks = np.zeros((3, 32, 32, 3), np.uint8)
    looks[0, :, :, 0], looks[1, :16], looks[2, :, :16] = 200, 200, 200
    noise = np.random.default_rng(1).integers(0, 40, (60, 32, 32, 3), dtype=np.uint8)
    named = tuple(f"tile{index}" for index in range(60))
    found = Archive("looks", looks[kinds] + noise, np.ones((60, 1), np.uint8), named, ("any",))
    pool = split_tiles(found, Split(np.arange(60), np.arange(0), np.arange(0)), 0).pool
    for trial in range(3):
        chosen = first_tiles(pool, settings(tmp_path, first="coverage", initial=3), trial)
        assert sorted(kinds[chosen]) == [0, 1, 2]
