"""Tiles of one place are known as such: other years, other cuts and other sizes, and neighbours are not."""

import time

import numpy as np
from on_the_ground import grid, squares

from aljax.data.space.footprints import groups, locate, of_same_place

CORNER = (500_000, 6.5e6)


def pairs(outlines: list) -> set[tuple[int, ...]]:
    footprints = locate(outlines)
    tiles = {place: row for row, place in enumerate(footprints.of.tolist())}
    return {tuple(sorted(tiles[place] for place in pair)) for pair in footprints.same.tolist()}


def test_tiles_that_share_more_than_half_of_the_smaller_are_one_place() -> None:
    x, y = CORNER
    first = squares("EPSG:32633", [CORNER], 100)
    moved = [
        squares("EPSG:32633", [(x + dx, y + dy)], 100)[0] for dx, dy in ((45, 0), (55, 0), (25, 25), (35, 35), (100, 0))
    ]
    assert pairs([*first, moved[0]]) == {(0, 1)}
    assert pairs([*first, moved[1]]) == set()
    assert pairs([*first, moved[2]]) == {(0, 1)}  # 0.75 * 0.75
    assert pairs([*first, moved[3]]) == set()  # 0.65 * 0.65
    assert pairs([*first, moved[4]]) == set()
    small = squares("EPSG:32633", [(x + 10, y - 10)], 20)
    assert pairs([*first, *small]) == {(0, 1)}
    degrees = [first[0] + 1e-6]  # the same place in another system, a hand away
    assert pairs([*first, *degrees]) == {(0, 1)}


def test_mosaic_has_no_pairs_and_years_of_it_have_each_place_once() -> None:
    mosaic = grid("EPSG:32633", CORNER, 5, 5, 100, 100)
    assert not len(locate(mosaic).same)
    later = grid("EPSG:32633", (CORNER[0] + 7, CORNER[1] + 3), 5, 5, 100, 100)
    assert pairs([*mosaic, *later]) == {(row, row + 25) for row in range(25)}
    found = groups(locate([*mosaic, *mosaic, *later, None]), None)
    assert found.tolist() == [*range(25), *range(25), *range(25), 75]


def test_copies_join_places_and_a_chain_of_overlaps_is_not_one() -> None:
    mosaic = grid("EPSG:32633", CORNER, 1, 4, 100, 100)
    copy_of = np.array([0, 1, 2, 0, 4])
    assert groups(locate([*mosaic, None]), copy_of).tolist() == [0, 1, 2, 0, 4]
    chain = locate(grid("EPSG:32633", CORNER, 1, 9, 30, 100))
    assert groups(chain, None).tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8]
    assert np.flatnonzero(of_same_place(chain, np.array([4]))).tolist() == [3, 4, 5]


def test_many_dates_of_few_places_take_no_square_of_their_number() -> None:
    dates = [outline for outline in grid("EPSG:32633", CORNER, 1, 3, 100, 100) for _ in range(10_000)]
    started = time.process_time()
    found = groups(locate(dates), None)
    assert np.unique(found).tolist() == [0, 10_000, 20_000]
    assert time.process_time() - started < 5.0


def test_no_tile_with_a_place_is_no_trouble() -> None:
    nowhere = locate([None, None])
    assert groups(nowhere, None).tolist() == [0, 1]
    assert not of_same_place(nowhere, np.array([0])).any()
