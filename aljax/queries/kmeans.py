"""k-means++ seeding and Lloyd's iterations, jitted (Arthur and Vassilvitskii, SODA 2007)."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aljax.arrays import AnyArray, as_array, as_key

# Size limit of the table of all pairwise distances. Seeding uses it if it draws more candidates than there are points;
# 2 GiB suffice for 23,170 points.
TABLE_BYTES = 2 << 30
# Points and centres that are compared at once on a CPU, so that their distances fit into its caches.
BLOCK = 1024, 256


class KMeans(NamedTuple):
    """A clustering of n points in d dimensions into k clusters."""

    centers: Float[Array, "k d"]
    assignment: Int[Array, " n"]
    """Index of each point's nearest centre."""
    inertia: Float[Array, ""]
    """Sum of the squared distances of the points to their centres."""


def kmeans(key: Array | int, points: Float[AnyArray, "n d"], num_clusters: int, max_iterations: int = 100) -> KMeans:
    """Clusters `points` (N, D): one greedy k-means++ seeding, then Lloyd's iterations until no assignment changes.

    A cluster that loses all its points keeps its centre. Computes in float32 and compiles once per shape. Raises
    ValueError if `num_clusters` is not between 1 and N or, outside `jit`, if a distance is not finite.
    """
    key, points = as_key(key), as_array(points)
    if len(points.shape) != 2:
        raise ValueError(f"points have the shape {points.shape}: give (n, d)")
    count = points.shape[0]
    if not 1 <= num_clusters <= count:
        raise ValueError(f"num_clusters is {num_clusters}: choose 1 to {count}, the number of points")
    have_distances = _have_distances(points)  # a tracer inside `jit`, even if the points themselves are none
    if not isinstance(have_distances, jax.core.Tracer) and not bool(have_distances):
        raise ValueError("points hold values that are not finite, or whose squares are not: they have no distances")
    return _kmeans(key, points, num_clusters, max_iterations)


@partial(jax.jit, static_argnames=("num_clusters", "max_iterations"))
def _kmeans(key: Array, points: Array, num_clusters: int, max_iterations: int) -> KMeans:
    points = jnp.asarray(points, jnp.float32)
    # Distances come from inner products, which lose the fewest digits when the points are centred.
    mean = points.mean(0)
    points = points - mean
    chosen, assignment, distances = _seed(key, points, num_clusters)
    start = _Clusters(points[chosen], assignment, distances, jnp.ones(num_clusters, bool))
    clusters = _lloyd(points, start, max_iterations)
    # Not the distances that were compared: for tight clusters, differences of squares have lost their digits.
    inertia = jnp.square(points - clusters.centers[clusters.assignment]).sum()
    return KMeans(clusters.centers + mean, clusters.assignment, inertia)


@jax.jit
def _have_distances(points: Array) -> Array:
    # The distance of two points is at most twice the larger of their norms.
    return jnp.isfinite(4.0 * _squared_norms(jnp.asarray(points, jnp.float32))).all()


def _squared_norms(points: Array) -> Array:
    """(n, d) -> (n,)."""
    return jnp.square(points).sum(-1)


def _squared_distances(points: Array, norms: Array, centers: Array) -> Array:
    """(n, d), the points' squared norms (n,), (k, d) -> (n, k)."""
    product = jnp.matmul(points, centers.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum(norms[:, None] + _squared_norms(centers) - 2.0 * product, 0.0)


def _seed(key: Array, points: Array, num_clusters: int) -> tuple[Array, Array, Array]:
    """Greedy k-means++: of 2 + log k candidates drawn by squared distance, the one that lowers the inertia most.

    Returns the indices of the chosen points (k,) and, for each point, its nearest centre (n,) with the squared
    distance (n,).
    """
    count = points.shape[0]
    norms = _squared_norms(points)
    candidates = 2 + int(math.log(num_clusters))
    in_table = candidates * num_clusters >= count and 4 * count**2 <= TABLE_BYTES
    table = _squared_distances(points, norms, points) if in_table else None

    def distances_to(drawn: Array) -> Array:
        """(c,) -> (c, n)."""
        return _squared_distances(points, norms, points[drawn]).T if table is None else table[drawn]

    def add_center(number: Array | int, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        chosen, assignment, nearest = carry
        drawn = _draw_by_weight(jax.random.fold_in(key, number), nearest, candidates)
        distances = distances_to(drawn)
        best = jnp.argmin(jnp.minimum(nearest, distances).sum(1))
        assignment = jnp.where(distances[best] < nearest, number, assignment)
        return chosen.at[number].set(drawn[best]), assignment, jnp.minimum(nearest, distances[best])

    first = jax.random.randint(jax.random.fold_in(key, 0), (1,), 0, count, jnp.int32).astype(int)
    chosen = jnp.zeros(num_clusters, first.dtype).at[0].set(first[0])
    start = chosen, jnp.zeros(count, first.dtype), distances_to(first)[0]
    return jax.lax.fori_loop(1, num_clusters, add_center, start)


def _draw_by_weight(key: Array, weights: Array, draws: int) -> Array:
    """Indices with probability proportional to `weights`; uniform where all of them are zero."""
    weights = jnp.where(weights.sum() > 0.0, weights, 1.0)
    cumulative = jnp.cumsum(weights)
    targets = jax.random.uniform(key, (draws,), weights.dtype) * cumulative[-1]
    # All comparisons at once: a binary search is a loop, slow on an accelerator.
    drawn = jnp.searchsorted(cumulative, targets, side="right", method="compare_all")
    return jnp.minimum(drawn, weights.shape[0] - 1)


class _Clusters(NamedTuple):
    centers: Array
    assignment: Array
    distances: Array
    """Squared distance of each point to its centre."""
    changed: Array
    """Which clusters have gained or lost a point since their centre was last computed."""


def _lloyd(points: Array, start: _Clusters, max_iterations: int) -> _Clusters:
    norms = _squared_norms(points)

    def has_not_converged(carry: tuple[_Clusters, Array]) -> Array:
        clusters, iteration = carry
        return clusters.changed.any() & (iteration < max_iterations)

    def iterate(carry: tuple[_Clusters, Array]) -> tuple[_Clusters, Array]:
        clusters, iteration = carry
        clusters = clusters._replace(centers=_means(points, clusters.assignment, clusters.centers))
        assignment, distances = _reassign(points, norms, clusters)
        moved = assignment != clusters.assignment
        changed = jnp.zeros_like(clusters.changed).at[assignment].max(moved).at[clusters.assignment].max(moved)
        return _Clusters(clusters.centers, assignment, distances, changed), iteration + 1

    return jax.lax.while_loop(has_not_converged, iterate, (start, jnp.array(0)))[0]


def _reassign(points: Array, norms: Array, clusters: _Clusters) -> tuple[Array, Array]:
    """Nearest centre of each point (n,), by the lowest index if several are equally near, and its squared distance.

    A point whose own centre has not moved can change only to a centre that has. So points and centres are sorted with
    those of changed clusters first. A block with a point of a changed cluster is compared with all centres, any other
    block with the moved centres only.
    """
    (count, _), (num_clusters, _) = points.shape, clusters.centers.shape
    rows_at_once, centers_at_once = _block_sizes(count, num_clusters)
    of_changed = clusters.changed[clusters.assignment]
    order = jnp.pad(jnp.argsort(~of_changed, stable=True), (0, -count % rows_at_once), mode="edge")
    rank = jnp.pad(jnp.argsort(~clusters.changed, stable=True), (0, -num_clusters % centers_at_once))
    centers = clusters.centers[rank]
    num_changed = clusters.changed.sum()

    def reassign_block(number: Array | int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        assignment, distances = carry
        rows = jax.lax.dynamic_slice_in_dim(order, number * rows_at_once, rows_at_once)
        block, block_norms = points[rows], norms[rows]
        compare_all = of_changed[rows].any()
        limit = jnp.where(compare_all, num_clusters, num_changed)

        def compare(number: Array | int, nearest: tuple[Array, Array]) -> tuple[Array, Array]:
            index, distance = nearest
            first = number * centers_at_once
            some, indices = (jax.lax.dynamic_slice_in_dim(part, first, centers_at_once) for part in (centers, rank))
            squared = _squared_distances(block, block_norms, some)
            squared = jnp.where(first + jnp.arange(centers_at_once) < limit, squared, jnp.inf)
            smallest = squared.min(1)
            # Two `min` instead of argmin: XLA reduces one array several times as fast as values with their indices.
            closest = jnp.where(squared == smallest[:, None], indices, num_clusters).min(1)
            better = (smallest < distance) | ((smallest == distance) & (closest < index))
            return jnp.where(better, closest, index), jnp.where(better, smallest, distance)

        start = jnp.where(compare_all, num_clusters, assignment[rows]), jnp.where(compare_all, jnp.inf, distances[rows])
        index, distance = jax.lax.fori_loop(0, -(-limit // centers_at_once), compare, start)
        return assignment.at[rows].set(index), distances.at[rows].set(distance)

    start = clusters.assignment, clusters.distances
    return jax.lax.fori_loop(0, len(order) // rows_at_once, reassign_block, start)


def _block_sizes(count: int, num_clusters: int) -> tuple[int, int]:
    """Points and centres that are compared at once: all on an accelerator, where launching kernels takes the time."""
    if jax.default_backend() != "cpu":
        return count, num_clusters
    return min(count, BLOCK[0]), min(num_clusters, BLOCK[1])


def _means(points: Array, assignment: Array, centers: Array) -> Array:
    """Mean of each cluster's points (k, d); an empty cluster keeps its centre."""
    counts = jnp.bincount(assignment, length=centers.shape[0])[:, None]
    sums = jax.lax.platform_dependent(points, assignment, centers, cpu=_sums_by_adding, default=_sums_by_product)
    return jnp.where(counts > 0, sums / jnp.maximum(counts, 1).astype(sums.dtype), centers)


def _sums_by_adding(points: Array, assignment: Array, centers: Array) -> Array:
    """Sum of each cluster's points (k, d), added one after the other."""
    return jax.ops.segment_sum(points, assignment, centers.shape[0])


def _sums_by_product(points: Array, assignment: Array, centers: Array) -> Array:
    """The same by a product with the one-hot assignment: deterministic on accelerators, which add in parallel."""
    members = jax.nn.one_hot(assignment, centers.shape[0], dtype=points.dtype)
    return jnp.matmul(members.T, points, precision=jax.lax.Precision.HIGHEST)
