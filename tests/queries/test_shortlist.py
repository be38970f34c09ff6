"""The shortlist selects the same tiles as a selection from the whole pool, in whatever batches the pool arrives."""

import tracemalloc

import jax
import numpy as np
import pytest

from aljax.queries.selection import select
from aljax.queries.shortlist import Shortlist


def stream(size: int, rows: np.ndarray, scores: np.ndarray, embeddings: np.ndarray, batch: int) -> Shortlist:
    shortlist = Shortlist(size)
    for start in range(0, len(rows), batch):
        # The last batch is filled up by repetition, as prediction does.
        chunk = np.resize(rows[start : start + batch], batch)
        shortlist.add(chunk, scores[chunk], embeddings[chunk])
    return shortlist


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize("ties", [False, True])
def test_choice_equals_that_from_the_whole_pool(batch: int, multiplier: int, ties: bool) -> None:
    rng = np.random.default_rng(batch)
    scores = rng.random(90).astype(np.float32)
    if ties:
        scores = np.round(scores, 1)
    embeddings = rng.normal(size=(90, 5)).astype(np.float32)
    key = jax.random.key(3)
    shortlist = stream(8 * multiplier, rng.permutation(90), scores, embeddings, batch)
    whole = select(key, scores, embeddings, 8, multiplier)
    np.testing.assert_array_equal(shortlist.select(key, 8, multiplier), whole)
    np.testing.assert_array_equal(shortlist.embeddings, embeddings[shortlist.rows])
    np.testing.assert_array_equal(shortlist.scores, scores[shortlist.rows])


def test_pool_smaller_than_the_list_is_kept_whole() -> None:
    scores = np.arange(5, dtype=np.float32)
    shortlist = stream(20, np.arange(5), scores, scores[:, None], 2)
    assert sorted(shortlist.rows) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(shortlist.select(jax.random.key(0), 10, 2), [4, 3, 2, 1, 0])


def test_embeddings_of_tiles_that_drop_out_are_not_kept() -> None:
    rng = np.random.default_rng(0)
    scores, embeddings = rng.random(1000).astype(np.float32), rng.normal(size=(1000, 4)).astype(np.float32)
    shortlist = stream(10, np.arange(1000), scores, embeddings, 50)
    assert shortlist.embeddings.base.shape == (10, 4)
    assert set(shortlist.rows) == set(np.argsort(-scores)[:10])


def test_memory_is_that_of_the_list_whatever_the_pool() -> None:
    rng = np.random.default_rng(0)
    size, dimension, batch, pool = 3000, 64, 4096, 1_000_000
    shortlist, best = Shortlist(size), np.empty(0, np.float32)
    tracemalloc.start()
    for start in range(0, pool, batch):
        scores = rng.random(batch, np.float32)
        shortlist.add(np.arange(start, start + batch), scores, np.repeat(scores[:, None], dimension, 1))
        best = np.sort(np.concatenate([best, scores]))[-size:]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * (size + 2 * batch) * dimension * 4
    np.testing.assert_array_equal(np.sort(shortlist.scores), best)
    np.testing.assert_array_equal(shortlist.embeddings[:, 0], shortlist.scores)


def test_choosing_from_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Shortlist(3).select(jax.random.key(0), 3, 1)


@pytest.mark.parametrize("every", [1, 3])
def test_list_put_together_from_its_changes_goes_on_as_the_list_does(every: int) -> None:
    rng = np.random.default_rng(0)
    scores, embeddings = np.round(rng.random(200), 2).astype(np.float32), rng.normal(size=(200, 4)).astype(np.float32)
    whole, copy, seen, sizes = Shortlist(10), Shortlist(10), np.empty(0, np.int64), []
    for number, chunk in enumerate(np.split(rng.permutation(200), 20)):
        whole.add(chunk, scores[chunk], embeddings[chunk])
        if number < 12 and number % every == every - 1:
            changes = whole.changes(seen)
            copy.put(**changes)
            seen = whole.rows
            sizes.append(len(changes["rows"]))
        elif number >= 12:
            copy.add(chunk, scores[chunk], embeddings[chunk])
    assert max(sizes[1:]) < 10
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(copy.arrays()[name], array)
