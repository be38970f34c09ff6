"""`select` returns exactly the budget, whatever the data."""

import inspect

import jax
import numpy as np
import pytest

from aljax import kmeans, select

rng = np.random.default_rng(0)
FEATURES = {
    "random": rng.normal(size=(50, 6)),
    "all equal": np.ones((50, 6)),
    "three points repeated": np.repeat(rng.normal(size=(3, 6)), [40, 9, 1], axis=0),
    "one dimension": rng.normal(size=(50, 1)),
}
SCORES = {
    "random": rng.random(50),
    "all equal": np.full(50, 0.25),
    "two values": (np.arange(50) % 2).astype(float),
    "infinite": np.where(np.arange(50) < 30, -np.inf, np.inf),
}


@pytest.mark.parametrize("budget", [1, 7, 50])
@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("scores", SCORES)
def test_exactly_the_budget_of_distinct_candidates_comes_back(
    scores: str, features: str, multiplier: int, budget: int
) -> None:
    s, f = SCORES[scores].astype(np.float32), FEATURES[features].astype(np.float32)
    chosen = select(jax.random.key(0), s, f, budget, multiplier)
    assert len(set(chosen.tolist())) == len(chosen) == budget
    candidates = np.argsort(-s, kind="stable")[: budget * multiplier]
    assert set(chosen) <= set(candidates)
    assert np.all(s[chosen][:-1] >= s[chosen][1:])
    assert chosen[0] == candidates[0]


def test_each_cluster_gives_its_highest_score() -> None:
    features = np.repeat(100.0 * np.eye(4), 5, axis=0).astype(np.float32)
    features += rng.normal(0, 0.01, features.shape).astype(np.float32)
    scores = rng.random(20).astype(np.float32)
    chosen = select(jax.random.key(0), scores, features, budget=4, multiplier=5)
    by_hand = {5 * cluster + scores[5 * cluster : 5 * cluster + 5].argmax() for cluster in range(4)}
    assert set(chosen.tolist()) == by_hand


def test_clusters_are_those_of_the_candidates_alone() -> None:
    scores, features = rng.random(40).astype(np.float32), rng.normal(size=(40, 3)).astype(np.float32)
    candidates = np.argsort(-scores, kind="stable")[:15]
    assignment = np.asarray(kmeans(jax.random.key(1), features[candidates], 5).assignment)
    chosen = select(jax.random.key(1), scores, features, budget=5, multiplier=3)
    best = {candidates[assignment == cluster][0] for cluster in np.unique(assignment)}
    assert best <= set(chosen)


def test_empty_clusters_are_made_up_for_by_the_next_highest_scores() -> None:
    scores = np.arange(12, dtype=np.float32)
    chosen = select(jax.random.key(0), scores, np.zeros((12, 2), np.float32), budget=4, multiplier=3)
    np.testing.assert_array_equal(chosen, [11, 10, 9, 8])


@pytest.mark.parametrize(("left", "expected"), [(5, 4), (4, 4), (3, 3), (0, 0)])
def test_when_fewer_tiles_than_candidates_or_budget_are_left(left: int, expected: int) -> None:
    scores, features = rng.random(left).astype(np.float32), rng.normal(size=(left, 2)).astype(np.float32)
    chosen = select(jax.random.key(0), scores, features, budget=4, multiplier=3)
    assert len(set(chosen.tolist())) == expected


def test_multiplier_1_is_the_ranking_alone() -> None:
    scores, features = rng.random(30).astype(np.float32), rng.normal(size=(30, 2)).astype(np.float32)
    np.testing.assert_array_equal(select(jax.random.key(0), scores, features, 6), np.argsort(-scores)[:6])


def test_same_key_gives_the_same_choice_for_numpy_and_jax_arrays() -> None:
    scores, features = rng.random(60).astype(np.float32), rng.normal(size=(60, 4)).astype(np.float32)
    first = select(jax.random.key(5), scores, features, 10, 3)
    second = select(jax.random.key(5), jax.numpy.asarray(scores), jax.numpy.asarray(features), 10, 3)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("budget", "multiplier"), [(0, 1), (1, 0), (-1, 2)])
def test_budget_or_multiplier_below_1_is_refused(budget: int, multiplier: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        select(jax.random.key(0), np.ones(3, np.float32), np.ones((3, 1), np.float32), budget, multiplier)


def test_a_score_that_is_nan_is_refused_by_its_index() -> None:
    with pytest.raises(ValueError, match="score 2 is NaN"):
        select(jax.random.key(0), np.array([1, 2, np.nan], np.float32), np.ones((3, 1), np.float32), 1)


def test_whole_numbers_without_a_sign_are_ranked_as_numbers(key) -> None:
    unchecked = inspect.unwrap(select)  # signatures ask for floats, in tests alone
    np.testing.assert_array_equal(unchecked(key, np.arange(10, dtype=np.uint8), np.ones((10, 2)), 3), [9, 8, 7])


def test_features_of_another_number_of_tiles_are_refused(key) -> None:
    with pytest.raises(ValueError, match="10 scores and features of 4 tiles"):
        inspect.unwrap(select)(key, np.arange(10.0), jax.numpy.ones((4, 2)), 2, 3)
