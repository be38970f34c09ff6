"""Pool-wide selection: against slow reference implementations, and on degenerate features."""

import inspect
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import make_blobs

from aljax import gradient_embeddings
from aljax.queries import badge, coreset, coverage, kmeans, pseudo_residuals
from aljax.queries.diversity import _greedy_k_centre, _nearest_distances, _seed_gradients, cover

rng = np.random.default_rng(0)
FEATURES = {
    "random": rng.normal(size=(30, 6)),
    "all zero": np.zeros((30, 6)),
    "all equal": np.full((30, 6), 3.7),
    "three points repeated": np.repeat(rng.normal(size=(3, 6)), [20, 9, 1], axis=0),
    "on a line": rng.normal(size=(30, 1)) * np.arange(6),
    "far from the origin": 1000.0 + rng.normal(size=(30, 6)),
}
# Name: the selection of `budget` tiles by features alone.
CHOICES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "badge": lambda features, budget: badge(0, features, features, budget),
    "badge, of certainty": lambda features, budget: badge(0, features, np.zeros_like(features), budget),
    "coreset": lambda features, budget: coreset(features, features[:2] + 0.5, budget),
    "coreset, none labelled": lambda features, budget: coreset(features, features[:0], budget),
    "coreset, copies of labelled ones": lambda features, budget: coreset(features, features, budget),
    "coverage": lambda features, budget: coverage(0, features, budget),
}
every_choice = pytest.mark.parametrize("choice", CHOICES)


@every_choice
@pytest.mark.parametrize("features", FEATURES)
def test_exactly_the_budget_of_distinct_tiles_comes_back(choice: str, features: str) -> None:
    for budget in (1, 7) if choice == "coverage" else (1, 7, 29):
        chosen = CHOICES[choice](FEATURES[features].astype(np.float32), budget)
        assert len(set(chosen.tolist())) == len(chosen) == budget
        assert set(chosen.tolist()) <= set(range(30))


@every_choice
@pytest.mark.parametrize("left", [0, 1, 3])
def test_all_tiles_come_back_where_fewer_than_the_budget_are_left(choice: str, left: int) -> None:
    features = FEATURES["random"].astype(np.float32)[:left]
    assert sorted(CHOICES[choice](features, 5).tolist()) == list(range(left))


@every_choice
def test_a_budget_below_1_is_refused(choice: str) -> None:
    for budget in (0, -1):
        with pytest.raises(ValueError, match=f"budget is {budget}: it must be at least 1"):
            CHOICES[choice](np.ones((3, 2), np.float32), budget)


@pytest.mark.parametrize("choose", [coverage, lambda key, points, budget: badge(key, points, points, budget)])
def test_a_key_and_its_whole_number_draw_the_same_and_others_draw_others(choose: Callable) -> None:
    features = FEATURES["random"].astype(np.float32)
    first = choose(jax.random.key(3), features, 7)
    np.testing.assert_array_equal(choose(jax.random.key(3), features, 7), first)
    np.testing.assert_array_equal(choose(3, jnp.asarray(features), 7), first)
    assert choose(4, features, 7).tolist() != first.tolist()


def test_lists_choose_like_arrays() -> None:
    features = FEATURES["random"].astype(np.float32)
    rows = features.tolist()
    np.testing.assert_array_equal(inspect.unwrap(badge)(0, rows, rows, 7), badge(0, features, features, 7))
    np.testing.assert_array_equal(inspect.unwrap(coreset)(rows, rows[:2], 7), coreset(features, features[:2], 7))
    np.testing.assert_array_equal(inspect.unwrap(coverage)(0, rows, 7), coverage(0, features, 7))


# BADGE


def random_gradients(n: int = 48, d: int = 7, c: int = 4) -> tuple[jax.Array, jax.Array, np.ndarray]:
    """Embeddings, residuals, and the gradients themselves, one flat row a tile, with those for the bias."""
    keys = jax.random.split(jax.random.key(1), 3)
    layer = {"kernel": jax.random.normal(keys[0], (d, c)), "bias": jax.random.normal(keys[1], (c,))}
    embeddings = jax.random.normal(keys[2], (n, d))
    residuals = pseudo_residuals(jnp.matmul(embeddings, layer["kernel"], precision="highest") + layer["bias"])
    gradient = gradient_embeddings(layer, embeddings)
    flat = np.concatenate([np.reshape(gradient["kernel"], (n, -1)), gradient["bias"]], axis=1)
    return embeddings, residuals, flat


def seed_slowly(key: jax.Array, points: np.ndarray, budget: int) -> list[int]:
    """k-means++ on the points themselves, with the draws of `badge`."""
    squared = np.square(points[:, None].astype(float) - points).sum(-1)
    chosen = [int(np.square(points).sum(1).argmax())]
    for number in range(1, budget):
        weights = squared[chosen].min(0)
        weights[chosen] = 0.0
        if not weights.any():
            weights = np.ones(len(points))
            weights[chosen] = 0.0
        logarithms = jnp.log(jnp.asarray(weights, jnp.float32))
        chosen.append(int(jax.random.categorical(jax.random.fold_in(key, number), logarithms)))
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_badge_is_kmeans_seeding_on_the_gradients_themselves(seed: int) -> None:
    embeddings, residuals, gradients = random_gradients()
    chosen = badge(seed, embeddings, residuals, 12)
    assert chosen.tolist() == seed_slowly(jax.random.key(seed), gradients, 12)


def test_badge_draws_by_squared_distance() -> None:
    # Gradients 10, 0, 1 and 4 of one class and a constant input: the first is the largest, then 0, 1 and 4 have the
    # squared distances 100, 81 and 36 from it.
    residuals = np.array([[10.0], [0.0], [1.0], [4.0]], np.float32)
    available = jnp.ones(4, bool)
    seed = jax.jit(jax.vmap(lambda key: _seed_gradients(key, jnp.zeros((4, 1)), jnp.asarray(residuals), available, 2)))
    chosen = np.asarray(seed(jax.random.split(jax.random.key(0), 4000)))
    assert (chosen[:, 0] == 0).all()
    shares = np.bincount(chosen[:, 1], minlength=4) / 4000
    np.testing.assert_allclose(shares, np.array([0, 100, 81, 36]) / 217, atol=0.03)


def test_badge_takes_no_copy_before_every_distinct_gradient() -> None:
    embeddings, residuals, _ = random_gradients(n=6)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(np.repeat(np.arange(6), 8))
        chosen = badge(seed, embeddings[order], residuals[order], 12)
        assert sorted(order[chosen[:6]].tolist()) == list(range(6))
        assert len(set(chosen.tolist())) == 12


def test_badge_never_holds_an_array_of_n_times_d_times_c() -> None:
    n, d, c = 200_000, 256, 17
    shapes = (jax.ShapeDtypeStruct((n, size), jnp.float32) for size in (d, c))
    lowered = _seed_gradients.lower(jax.random.key(0), *shapes, jax.ShapeDtypeStruct((n,), bool), 20)
    # Beyond its inputs, a few numbers per tile, nothing of the size of an input.
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 16 * 4 * n


# Core-set


def choose_slowly(features: np.ndarray, centres: np.ndarray, budget: int) -> list[int]:
    """Greedy k-centre; without centres the first choice is the farthest from the mean."""
    chosen: list[int] = []
    features, centres = features.astype(float), centres.astype(float)
    for _ in range(budget):
        covering = np.concatenate([centres, features[chosen]])
        covering = covering if len(covering) else features.mean(0, keepdims=True)
        distances = np.linalg.norm(features[:, None] - covering, axis=-1).min(1)
        distances[chosen] = -1.0
        chosen.append(int(distances.argmax()))
    return chosen


@pytest.mark.parametrize("num_labelled", [0, 1, 9])
@pytest.mark.parametrize("offset", [0.0, 300.0])  # with it, squares in float32 lose the digits of distances
def test_coreset_is_greedy_k_centre(num_labelled: int, offset: float) -> None:
    labelled = (offset + rng.normal(size=(num_labelled, 5))).astype(np.float32)
    features = (offset + rng.normal(size=(50, 5))).astype(np.float32)
    assert coreset(features, labelled, 20).tolist() == choose_slowly(features, labelled, 20)


def test_coreset_without_labelled_tiles_does_not_count_the_mean_as_a_centre() -> None:
    # The mean is 2.15 and 10 is the farthest from it; then -1, and then 2.5, although it is near the mean.
    features = np.array([[-1.0], [10.0], [2.5], [-0.5], [-0.25]], np.float32)
    assert coreset(features, np.zeros((0, 1), np.float32), 3).tolist() == [1, 0, 2]


def test_coreset_leaves_no_tile_farther_than_the_one_it_took_last() -> None:
    labelled, features = rng.normal(size=(3, 4)), rng.normal(size=(40, 4))
    chosen = coreset(features.astype(np.float32), labelled.astype(np.float32), 12)
    radii = []
    for number in range(len(chosen)):
        centres = np.concatenate([labelled, features[chosen[:number]]])
        distances = np.linalg.norm(features[:, None] - centres, axis=-1).min(1)
        assert distances[chosen[number]] == pytest.approx(distances.max(), rel=1e-5)
        radii.append(distances.max())
    assert radii == sorted(radii, reverse=True)


def test_coreset_covers_within_twice_the_best_radius() -> None:
    features = rng.normal(size=(12, 2)).astype(np.float32)
    distances = np.linalg.norm(features[:, None] - features, axis=-1)
    best = min(distances[list(some)].min(0).max() for some in itertools.combinations(range(12), 3))
    assert distances[coreset(features, features[:0], 3)].min(0).max() <= 2.0 * best + 1e-5


def test_coreset_takes_no_copy_of_what_is_labelled_or_chosen_before_all_else() -> None:
    places = rng.normal(size=(6, 4)).astype(np.float32)
    order = rng.permutation(np.repeat(np.arange(6), 8))
    chosen = coreset(places[order], places[:2], 10)
    assert sorted(order[chosen[:4]].tolist()) == [2, 3, 4, 5]


def test_coreset_holds_a_few_numbers_for_each_tile() -> None:
    n, d = 200_000, 256
    features, distances = jax.ShapeDtypeStruct((n, d), jnp.float32), jax.ShapeDtypeStruct((n,), jnp.float32)
    greedy = _greedy_k_centre.lower(features, distances, 20).compile()
    centres, is_center = jax.ShapeDtypeStruct((1000, d), jnp.float32), jax.ShapeDtypeStruct((1000,), bool)
    nearest = _nearest_distances.lower(features, centres, is_center).compile()
    for program in (greedy, nearest):
        assert program.memory_analysis().temp_size_in_bytes < 16 * 4 * n


@pytest.mark.parametrize("choice", ["badge", "coreset"])
def test_a_pool_that_shrinks_compiles_few_programs(choice: str) -> None:
    features = rng.normal(size=(2000, 6)).astype(np.float32)
    program = {"badge": _seed_gradients, "coreset": _greedy_k_centre}[choice]
    before = program._cache_size()
    for left in range(2000, 1000, -100):
        CHOICES[choice](features[:left], 9)
    assert program._cache_size() - before <= 8


# Coverage

SIZES = [5, 40, 12, 25, 18]


def separated_blobs() -> tuple[np.ndarray, np.ndarray]:
    """Features (100, 8), and the index (100,) of each tile's blob."""
    centres = 20.0 * np.eye(5, 8)
    features, blob = make_blobs(SIZES, 8, centers=centres, cluster_std=0.5, random_state=0)
    return features.astype(np.float32), blob


@pytest.mark.parametrize("seed", range(5))
def test_coverage_takes_one_tile_of_each_blob_the_largest_first(seed: int) -> None:
    features, blob = separated_blobs()
    assert blob[coverage(seed, features, 5)].tolist() == [1, 3, 4, 2, 0]


def test_coverage_takes_the_most_typical_tile_of_a_blob() -> None:
    features, blob = separated_blobs()
    for index in coverage(0, features, 5):
        own = np.flatnonzero(blob == blob[index])
        distances = np.linalg.norm(features[own] - features[own].mean(0), axis=1)
        assert index == own[distances.argmin()]


def test_coverage_is_the_nearest_tile_to_the_centre_of_each_cluster() -> None:
    features = FEATURES["random"].astype(np.float32)
    chosen = coverage(5, features, 7)
    clusters = kmeans(5, features, 7)
    assignment, sizes = np.asarray(clusters.assignment), np.bincount(clusters.assignment)
    assert sorted(assignment[chosen].tolist()) == list(range(7))
    for index in chosen:
        own = np.flatnonzero(assignment == assignment[index])
        distances = np.linalg.norm(features[own] - clusters.centers[assignment[index]], axis=1)
        assert distances[own == index] == pytest.approx(distances.min(), rel=1e-5)
    assert (np.diff(sizes[assignment[chosen]]) <= 0).all()


def test_coverage_of_copies_takes_each_place_before_any_copy() -> None:
    places = 10.0 * rng.normal(size=(4, 6)).astype(np.float32)
    order = rng.permutation(np.repeat(np.arange(4), [3, 12, 6, 9]))
    chosen = coverage(0, places[order], 7)
    assert order[chosen[:4]].tolist() == [1, 3, 2, 0]
    assert len(set(chosen.tolist())) == 7


def test_covering_tells_the_clusters_of_its_tiles(key) -> None:
    features = np.repeat(np.eye(3, dtype=np.float32), [2, 7, 4], axis=0)
    covering = cover(key, features, 4)  # one more than there are different tiles
    assert covering.chosen.tolist() == coverage(key, features, 4).tolist()
    assert covering.clusters.tolist()[:3] == [1, 2, 3]
    assert covering.sizes.tolist()[:3] == [7, 4, 2]
    assert covering.sizes[3] == covering.sizes[covering.clusters[3] - 1]
    assert cover(key, features, 13)[1:] == (None, None)
