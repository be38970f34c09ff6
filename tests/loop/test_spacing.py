"""Tiles that are chosen at once are as far from each other as asked for, by every query."""

from dataclasses import replace

import numpy as np
import pytest
from on_the_ground import grid
from test_loop import settings
from test_querying import fitted

from aljax.data.archive import random_split, split_tiles
from aljax.data.space.distances import gaps
from aljax.data.space.footprints import locate
from aljax.errors import InputError, InputWarning
from aljax.loop import querying
from aljax.loop.iterations import first_tiles
from aljax.loop.spacing import choose_spaced
from aljax.queries.shortlist import Shortlist
from aljax.queries.table import QUERIES

MOSAIC = locate(grid("EPSG:32633", (500_000, 6.5e6), 6, 10, 100, 100))


@pytest.fixture(scope="module")
def placed(archive):
    return split_tiles(replace(archive, footprints=MOSAIC), random_split(0, len(archive.ids), 10, 10), seed=0)


def least_gap(places) -> float:
    one, other = np.triu_indices(len(places.of), 1)
    return float(gaps(places.corners, places.of[one], places.of[other]).min())


@pytest.mark.parametrize("query", [name for name in QUERIES if name not in ("ll", "tpd")])
def test_batch_of_every_query_is_apart(query: str, model, placed, tmp_path) -> None:
    chosen = settings(tmp_path, query=query, budget=6, max_labels=30)
    state = fitted(model, placed, chosen)
    scored = querying.predict(model, placed, chosen, state)
    _, touching = querying.choose(chosen, scored, model, placed.pool)
    apart = replace(chosen, min_distance=90.0)
    scored = querying.predict(model, placed, apart, state)
    _, found = querying.choose(apart, scored, model, placed.pool)
    assert len(set(found.tolist())) == 6
    assert least_gap(placed.pool.footprints.take(found)) >= 90.0
    places = placed.pool.footprints
    clash = next((k for k in range(2, 7) if least_gap(places.take(touching[:k])) < 90.0), 7)
    kept = touching[: clash - 1]
    np.testing.assert_array_equal(found[: len(kept)], kept)  # goes on from there


@pytest.mark.parametrize("first", ["random", "coverage"])
def test_first_tiles_are_apart_or_refused(first: str, placed, tmp_path) -> None:
    images = np.random.default_rng(0).normal(size=(60, 1, 1, 8)).astype(np.float32)
    pool = replace(placed.pool, images=images)
    pool = replace(pool, statistics=pool.statistics._replace(mean=np.zeros(8, np.float32)))
    chosen = settings(tmp_path, first=first, initial=6, min_distance=90.0)
    found = first_tiles(pool, chosen, 0)
    assert len(set(found.tolist())) == 6
    assert least_gap(pool.footprints.take(found)) >= 90.0
    plain = first_tiles(pool, replace(chosen, min_distance=0.0), 0)
    assert found[0] == plain[0]
    with pytest.raises(InputError, match=r"only \d tiles are 450 m from each other, and --initial is 6: lower"):
        first_tiles(pool, replace(chosen, min_distance=450.0), 0)
    with pytest.raises(InputError, match="the archive does not know where its tiles are"):
        first_tiles(replace(pool, footprints=None), chosen, 0)


def test_next_best_takes_the_place_of_one_too_near_and_what_is_missing_is_reported() -> None:
    line = locate(grid("EPSG:32633", (500_000, 6.5e6), 1, 8, 100, 100))
    rows, scores = np.arange(8), np.array([9, 8, 7, 6, 5, 4, 3, 2], np.float32)
    shortlist = Shortlist(8, rows, scores, np.zeros((8, 1), np.float32))
    asked = []

    def best(count: int) -> np.ndarray:
        asked.append(count)
        return rows[:count]

    assert choose_spaced(best, shortlist, 3, False, line, 50.0).tolist() == [0, 2, 4]
    assert asked == [3]
    assert choose_spaced(best, shortlist, 3, True, line, 50.0).tolist() == [0, 2, 4]
    assert asked[1:] == [3, 8]
    with pytest.warns(InputWarning, match="only 3 tiles in place of 4 are 150 m from each other: the batch"):
        assert choose_spaced(best, shortlist, 4, False, line, 150.0).tolist() == [0, 3, 6]
    assert choose_spaced(best, shortlist, 4, False, None, 0.0).tolist() == [0, 1, 2, 3]
