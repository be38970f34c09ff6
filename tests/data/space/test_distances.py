"""Distances between tiles are those on the ground, wherever on the Earth and in whatever reference system."""

import numpy as np
import pytest
from on_the_ground import geodesic_gap, grid, squares

from aljax.data.space.distances import closer_than, gaps, sphere_radius, spread, to_degrees, to_earth_centred
from aljax.data.space.footprints import locate

PAIRS = {
    "one zone": (squares("EPSG:32632", [(400_000, 5.5e6)], 250), squares("EPSG:32632", [(401_000, 5.5e6 + 700)], 250)),
    # 6 degrees east, where zones 31 and 32 meet, one kilometre or so apart
    "two zones": (squares("EPSG:32631", [(676_000, 6.6e6)], 960), squares("EPSG:32632", [(330_500, 6.6e6)], 960)),
    "south": (squares("EPSG:32756", [(334_000, 6.25e6)], 100), squares("EPSG:32756", [(334_000, 6.2483e6)], 100)),
    "degrees": (squares("EPSG:4326", [(25.0, 70.0)], 0.01), squares("EPSG:4326", [(25.05, 70.0)], 0.01)),
    "over 180 degrees": (squares("EPSG:32660", [(831_500, 2e5)], 900), squares("EPSG:32601", [(168_500, 2e5)], 900)),
    "at the pole": (squares("EPSG:3413", [(-900, 300)], 500), squares("EPSG:3413", [(400, -200)], 500)),
    "web mercator at 69 degrees": (
        squares("EPSG:3857", [(2e6, 1.1e7)], 600),
        squares("EPSG:3857", [(2.002e6, 1.1e7)], 600),
    ),
}


@pytest.mark.parametrize("where", PAIRS)
def test_gap_is_the_way_along_the_ellipsoid(where: str) -> None:
    one, other = (outlines[0] for outlines in PAIRS[where])
    footprints = locate([one, other])
    expected = geodesic_gap(one, other)
    assert 90.0 < expected < 5000.0
    found = gaps(footprints.corners, footprints.of[:1], footprints.of[1:])
    assert found == pytest.approx(expected, rel=2e-3)
    assert closer_than(footprints, np.array([0]), float(found[0]) + 0.01).tolist() == [True, True]
    assert closer_than(footprints, np.array([1]), float(found[0]) - 0.01).tolist() == [False, True]


def test_corners_are_where_another_implementation_has_them_and_come_back() -> None:
    import pyproj

    degrees = np.array([(0, 0), (180, 10), (-75.5, -33.25), (12, 89.9), (100, -90)], float)
    there = pyproj.Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    expected = np.stack(there.transform(*degrees.T, np.zeros(5)), -1)
    np.testing.assert_allclose(to_earth_centred(degrees), expected, atol=1e-6)
    back = to_degrees(to_earth_centred(degrees[:4]))
    np.testing.assert_allclose(back, degrees[:4], atol=1e-10)
    assert sphere_radius(0.0) == pytest.approx(6_356_752.3, abs=0.1)  # the root of 6,335,439.3 m times 6,378,137 m


def test_tiles_that_touch_cross_or_hold_each_other_have_no_gap() -> None:
    touching = grid("EPSG:32632", (500_000, 5e6), 1, 2, 100, 100)
    long, high = squares("EPSG:32632", [(500_000, 5e6)], 100), squares("EPSG:32632", [(500_000, 5e6)], 100)
    middle = long[0].mean(0)
    plus = [middle + (long[0] - middle) * (3.0, 0.2), middle + (high[0] - middle) * (0.2, 3.0)]
    inner = [middle + (long[0] - middle) * 0.3]
    footprints = locate([*touching, *plus, *inner])
    pairs = np.array([(0, 1), (2, 3), (0, 4), (0, 0)])
    np.testing.assert_allclose(gaps(footprints.corners, *footprints.of[pairs].T), 0.0, atol=1e-6)


def test_tiles_too_near_are_those_that_a_comparison_of_all_pairs_finds() -> None:
    rng = np.random.default_rng(0)
    places = [(500_000 + 6000 * x, 6.5e6 + 6000 * y) for x, y in rng.random((150, 2))]
    outlines = [
        one
        for place, side in zip(places, rng.choice([50, 400, 1500], 150), strict=True)
        for one in squares("EPSG:32633", [place], side)
    ]
    footprints = locate([*outlines, None])
    held = np.arange(0, 150, 17)
    every, each = (grid.ravel() for grid in np.meshgrid(np.arange(150), held))
    distance = gaps(footprints.corners, footprints.of[every], footprints.of[each]).reshape(len(held), -1).min(0)
    for metres in (0.5, 120.0, 700.0, 3000.0):
        found = closer_than(footprints, held, metres)
        np.testing.assert_array_equal(found[:-1], distance < metres)
        assert not found[-1]
    assert 0 < (distance < 120.0).sum() < (distance < 700.0).sum() < 150


def test_spread_keeps_the_first_that_are_far_enough() -> None:
    footprints = locate([*grid("EPSG:32633", (500_000, 6.5e6), 12, 12, 100, 100), None, None])
    order = np.random.default_rng(1).permutation(146)
    kept = spread(footprints, order, 250.0, 146)
    one, other = np.triu_indices(len(kept), 1)
    placed = (kept[one] < 144) & (kept[other] < 144)
    assert gaps(footprints.corners, footprints.of[kept[one[placed]]], footprints.of[kept[other[placed]]]).min() >= 250.0
    assert {144, 145} <= {*kept.tolist()}
    ranks = {row: rank for rank, row in enumerate(order.tolist())}
    for row in np.setdiff1d(order, kept):  # a better one stands in its way
        better = np.array([one for one in kept if ranks[one] < ranks[row]])
        assert closer_than(footprints, better, 250.0)[row]
    np.testing.assert_array_equal(spread(footprints, order, 250.0, 3), kept[:3])
    np.testing.assert_array_equal(spread(footprints, order, 0.0, 9), order[:9])
