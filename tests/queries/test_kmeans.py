"""k-means++ and Lloyd, against scikit-learn and a plain NumPy implementation."""

import sys

import jax
import numpy as np
import pytest
from sklearn.cluster import KMeans as ReferenceKMeans
from sklearn.datasets import make_blobs

from aljax import kmeans
from aljax.queries.kmeans import _kmeans

module = sys.modules["aljax.queries.kmeans"]  # as an attribute of `aljax.queries`, the function hides the module


def test_inertia_is_within_one_percent_of_scikit_learn() -> None:
    points = make_blobs(400, 16, centers=60, cluster_std=2.0, random_state=0)[0].astype(np.float32)
    ours = np.mean([kmeans(jax.random.key(seed), points, 40).inertia for seed in range(8)])
    theirs = np.mean([ReferenceKMeans(40, n_init=1, random_state=seed).fit(points).inertia_ for seed in range(8)])
    assert ours < 1.01 * theirs


def test_separated_clusters_are_found_whatever_the_key() -> None:
    points, truth = make_blobs(90, 8, centers=9, cluster_std=0.01, random_state=1)
    for seed in range(5):
        found = np.asarray(kmeans(jax.random.key(seed), points.astype(np.float32), 9).assignment)
        assert len({(a, b) for a, b in zip(found, truth, strict=True)}) == 9


def test_result_is_consistent_with_itself() -> None:
    points = np.random.default_rng(0).normal(5.0, 1.0, (200, 10)).astype(np.float32)
    result = kmeans(jax.random.key(0), points, 7)
    distances = ((points[:, None] - np.asarray(result.centers)) ** 2).sum(-1)
    np.testing.assert_array_equal(result.assignment, distances.argmin(1))
    assert float(result.inertia) == pytest.approx(distances.min(1).sum(), rel=1e-4)
    for cluster in range(7):
        members = points[np.asarray(result.assignment) == cluster]
        np.testing.assert_allclose(result.centers[cluster], members.mean(0), rtol=1e-4)


def test_as_many_clusters_as_points_gives_each_its_own() -> None:
    points = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    result = kmeans(jax.random.key(0), points, 30)
    assert sorted(np.asarray(result.assignment)) == list(range(30))
    assert float(result.inertia) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("points", [np.zeros((12, 3)), np.repeat(np.eye(3), 4, axis=0)], ids=["equal", "duplicates"])
def test_duplicate_points_are_no_trouble(points: np.ndarray) -> None:
    result = kmeans(jax.random.key(0), points.astype(np.float32), 5)
    assert np.isfinite(result.centers).all()
    assert float(result.inertia) == pytest.approx(0.0, abs=1e-5)


def test_same_key_gives_the_same_clusters() -> None:
    points = np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32)
    first, second = (kmeans(jax.random.key(3), points, 11) for _ in range(2))
    np.testing.assert_array_equal(first.assignment, second.assignment)
    np.testing.assert_array_equal(first.centers, second.centers)


def test_compiles_once_per_shape(traces) -> None:
    points = np.random.default_rng(0).normal(size=(37, 5)).astype(np.float32)
    traces(_kmeans)
    for seed in range(3):
        kmeans(jax.random.key(seed), points + seed, 6)
    assert traces(_kmeans) == 1


@pytest.mark.parametrize("num_clusters", [0, -1, 6])
def test_impossible_number_of_clusters_is_refused(num_clusters: int) -> None:
    with pytest.raises(ValueError, match="choose 1 to 5"):
        kmeans(jax.random.key(0), np.zeros((5, 2), np.float32), num_clusters)


def test_points_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        kmeans(jax.random.key(0), np.array([[np.nan], [0.0]], np.float32), 1)


def seed_with(points: np.ndarray, num_clusters: int) -> np.ndarray:
    seed = jax.jit(
        lambda key: module._seed(key, jax.numpy.asarray(points), num_clusters)
    )  # a new function is traced again, with the constants as the test sets them
    chosen, assignment, distances = map(np.asarray, seed(jax.random.key(1)))
    to_chosen = ((points[:, None] - points[chosen]) ** 2).sum(-1)
    np.testing.assert_array_equal(assignment, to_chosen.argmin(1))
    np.testing.assert_allclose(distances, to_chosen.min(1), atol=1e-3)
    return chosen


@pytest.mark.parametrize("num_clusters", [3, 40], ids=["few candidates", "more candidates than points"])
def test_distances_in_a_table_seed_like_those_that_are_computed(num_clusters: int, monkeypatch) -> None:
    points = make_blobs(96, 16, centers=8, cluster_std=2.0, random_state=2)[0].astype(np.float32)
    with_table = seed_with(points, num_clusters)
    monkeypatch.setattr(module, "TABLE_BYTES", 0)
    np.testing.assert_array_equal(seed_with(points, num_clusters), with_table)
    assert len(set(with_table.tolist())) == num_clusters


@pytest.mark.parametrize("block", [(7, 3), (64, 16)])
def test_points_are_compared_with_what_can_win_them_block_by_block(block: tuple[int, int], monkeypatch) -> None:
    distinct = make_blobs(190, 6, centers=50, cluster_std=3.0, random_state=3)[0]
    points = np.concatenate([distinct, distinct[:10]]).astype(np.float32)  # copies make ties
    chosen = seed_with(points, 40)
    monkeypatch.setattr(module, "BLOCK", block)

    def lloyd(rounds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Plain Lloyd: centres, assignment and inertia."""
        centers = points[chosen]
        for number in range(rounds + 1):
            distances = ((points[:, None] - centers) ** 2).sum(-1)
            assignment = distances.argmin(1)
            if number < rounds:
                members = (points[assignment == cluster] for cluster in range(40))
                centers = np.array(
                    [own.mean(0) if len(own) else old for own, old in zip(members, centers, strict=True)]
                )
        return centers, assignment, distances.min(1).sum()

    for rounds in (0, 2, 30):
        cluster = jax.jit(lambda key, points, rounds=rounds: _kmeans.__wrapped__(key, points, 40, rounds))
        found = cluster(jax.random.key(1), points - points.mean(0))
        centers, assignment, inertia = lloyd(rounds)
        np.testing.assert_array_equal(found.assignment, assignment)
        np.testing.assert_allclose(found.centers + points.mean(0), centers, atol=1e-4)
        assert float(found.inertia) == pytest.approx(inertia, rel=1e-3)


def test_points_whose_distances_overflow_are_refused(key) -> None:
    with pytest.raises(ValueError, match="or whose squares are not"):
        kmeans(key, np.full((4, 2), 1e20), 2)


def test_clusters_inside_another_jitted_function(key) -> None:
    points = jax.random.normal(key, (12, 2))
    inside = jax.jit(lambda points: kmeans(key, points, 3))(points)
    np.testing.assert_allclose(inside.centers, kmeans(key, points, 3).centers, rtol=1e-5)


def test_clusters_of_points_that_another_function_closes_over(key) -> None:
    points = make_blobs(60, 4, centers=5, random_state=0)[0].astype(np.float32)
    mapped = jax.lax.map(lambda one: kmeans(one, points, 5).assignment, key[None])
    np.testing.assert_array_equal(mapped[0], kmeans(key, points, 5).assignment)


def test_inertia_of_tight_clusters_is_that_of_their_points(key) -> None:
    points = make_blobs(400, 16, centers=20, cluster_std=1e-4, random_state=0)[0].astype(np.float32)
    found = kmeans(key, points, 20)
    centers = np.stack([points[found.assignment == cluster].astype(float).mean(0) for cluster in range(20)])
    assert found.inertia == pytest.approx(np.square(points - centers[found.assignment]).sum(), rel=0.05)


def test_strict_promotion_and_wider_types_change_nothing(key) -> None:
    points = make_blobs(60, 4, centers=5, random_state=0)[0].astype(np.float32)
    expected = kmeans(key, points, 5)
    for name, value in (("jax_numpy_dtype_promotion", "strict"), ("jax_enable_x64", True)):
        before = getattr(jax.config, name)
        jax.config.update(name, value)
        try:
            np.testing.assert_array_equal(kmeans(key, points, 5).assignment, expected.assignment)
        finally:
            jax.config.update(name, before)


def test_first_centre_is_any_point() -> None:
    points = jax.numpy.arange(8.0)[:, None]
    firsts = {int(module._seed(jax.random.key(seed), points, 1)[0][0]) for seed in range(20)}
    assert len(firsts) > 3
