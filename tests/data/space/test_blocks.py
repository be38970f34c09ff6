"""Held-out tiles lie in few blocks, so that few other tiles are near to them."""

import numpy as np
from on_the_ground import grid, squares

from aljax.data.space.blocks import in_blocks
from aljax.data.space.distances import closer_than
from aljax.data.space.footprints import locate

MOSAIC = locate([*grid("EPSG:32633", (500_000, 6.5e6), 40, 40, 100, 100), None])


def lost(order: np.ndarray, wanted: int, metres: float) -> int:
    return int(closer_than(MOSAIC, order[:wanted], metres).sum()) - wanted


def test_blocks_cost_fewer_tiles_than_tiles_drawn_one_by_one() -> None:
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(1601)
        found = in_blocks(MOSAIC, order, 100, 150.0)
        assert sorted(found.tolist()) == [*range(1601)]
        assert found[0] == order[order < 1600][0]
        np.testing.assert_array_equal(in_blocks(MOSAIC, order, 100, 150.0), found)
        assert lost(found, 100, 150.0) < 450 < 900 < lost(order, 100, 150.0)
        row, column = np.divmod(found[:16], 40)  # the first block
        assert np.ptp(row) <= 7
        assert np.ptp(column) <= 7


def test_scattered_tiles_are_drawn_one_by_one_and_near_ones_together() -> None:
    rng = np.random.default_rng(0)
    places = [(500_000 + 20_000.0 * x, 6.5e6 - 20_000.0 * y) for x in range(12) for y in range(12)]
    scattered = locate(squares("EPSG:32633", places, 100))
    order = rng.permutation(144)
    np.testing.assert_array_equal(in_blocks(scattered, order, 30, 500.0), order)
    twins = locate(squares("EPSG:32633", [*places, *((x + 300, y) for x, y in places)], 100))
    found = in_blocks(twins, rng.permutation(288), 30, 500.0)[:30].reshape(15, 2)
    np.testing.assert_array_equal(found[:, 0] % 144, found[:, 1] % 144)


def test_tiles_without_a_place_come_last() -> None:
    assert 1600 not in in_blocks(MOSAIC, np.arange(1601)[::-1], 20, 1.0)[:20]
    nowhere = locate([None] * 5)
    assert in_blocks(nowhere, np.arange(5), 2, 1.0).tolist() == [0, 1, 2, 3, 4]
