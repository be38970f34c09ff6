"""k-means++ seeding and Lloyd's iterations, jitted (Arthur and Vassilvitskii, SODA 2007)."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aljax.arrays import AnyArray

# Of the distances between all points, which seeding looks up where it draws more candidates than there are points:
# 2 GiB hold those of 23,170.
TABLE_BYTES = 2 << 30


class KMeans(NamedTuple):
    """A clustering of n points in d dimensions into k clusters."""

    centers: Float[Array, "k d"]
    assignment: Int[Array, " n"]
    """Index of each point's nearest centre."""
    inertia: Float[Array, ""]
    """Sum of the squared distances of the points to their centres."""


def kmeans(key: Array, points: Float[AnyArray, "n d"], num_clusters: int, max_iterations: int = 100) -> KMeans:
    """Clusters `points` (N, D) into `num_clusters`: one k-means++ seeding, then Lloyd until nothing moves.

    A cluster that loses all its points keeps its centre. Compiles once per shape. Raises ValueError if
    `num_clusters` is not between 1 and N or a coordinate is not finite.
    """
    count = points.shape[0]
    if not 1 <= num_clusters <= count:
        raise ValueError(f"num_clusters is {num_clusters}: choose 1 to {count}, the number of points")
    if not bool(jnp.isfinite(points).all()):
        raise ValueError("points hold values that are not finite: k-means has no distances for them")
    return _kmeans(key, points, num_clusters, max_iterations)


@partial(jax.jit, static_argnames=("num_clusters", "max_iterations"))
def _kmeans(key: Array, points: Array, num_clusters: int, max_iterations: int) -> KMeans:
    points = jnp.asarray(points, jnp.float32)
    # Distances come from inner products; around the mean these lose the fewest digits.
    mean = points.mean(0)
    points = points - mean
    centers = points[_seed(key, points, num_clusters)]
    centers, assignment, distances = _lloyd(points, centers, max_iterations)
    return KMeans(centers + mean, assignment, distances.sum())


def _squared_norms(points: Array) -> Array:
    """(n, d) -> (n,)."""
    return jnp.square(points).sum(-1)


def _squared_distances(points: Array, norms: Array, centers: Array) -> Array:
    """(n, d), the points' squared norms (n,), (k, d) -> (n, k)."""
    product = jnp.matmul(points, centers.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum(norms[:, None] + _squared_norms(centers) - 2.0 * product, 0.0)


def _seed(key: Array, points: Array, num_clusters: int) -> Array:
    """Greedy k-means++: of 2 + log k candidates drawn by squared distance, the one that helps most; indices (k,)."""
    count = points.shape[0]
    norms = _squared_norms(points)
    candidates = 2 + int(math.log(num_clusters))
    in_table = candidates * num_clusters >= count and 4 * count**2 <= TABLE_BYTES
    table = _squared_distances(points, norms, points) if in_table else None

    def distances_to(drawn: Array) -> Array:
        """(c,) -> (c, n)."""
        return _squared_distances(points, norms, points[drawn]).T if table is None else table[drawn]

    def add_center(number: Array | int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        chosen, nearest = carry
        drawn = _draw_by_weight(jax.random.fold_in(key, number), nearest, candidates)
        reduced = jnp.minimum(nearest, distances_to(drawn))
        best = jnp.argmin(reduced.sum(1))
        return chosen.at[number].set(drawn[best]), reduced[best]

    first = jax.random.randint(jax.random.fold_in(key, 0), (1,), 0, count)
    chosen = jnp.zeros(num_clusters, first.dtype).at[0].set(first[0])
    return jax.lax.fori_loop(1, num_clusters, add_center, (chosen, distances_to(first)[0]))[0]


def _draw_by_weight(key: Array, weights: Array, draws: int) -> Array:
    """Indices with probability proportional to `weights`; uniform where all of them are zero."""
    weights = jnp.where(weights.sum() > 0.0, weights, 1.0)
    cumulative = jnp.cumsum(weights)
    targets = jax.random.uniform(key, (draws,)) * cumulative[-1]
    return jnp.minimum(jnp.searchsorted(cumulative, targets, side="right"), weights.shape[0] - 1)


def _lloyd(points: Array, centers: Array, max_iterations: int) -> tuple[Array, Array, Array]:
    norms = _squared_norms(points)

    def assign(centers: Array) -> tuple[Array, Array]:
        distances = _squared_distances(points, norms, centers)
        return distances.argmin(1), distances.min(1)

    def unsettled(carry: tuple) -> Array:
        _, _, _, moved, iteration = carry
        return moved & (iteration < max_iterations)

    def iterate(carry: tuple) -> tuple:
        centers, assignment, _, _, iteration = carry
        centers = _means(points, assignment, centers)
        new_assignment, distances = assign(centers)
        return centers, new_assignment, distances, (new_assignment != assignment).any(), iteration + 1

    start = (centers, *assign(centers), jnp.array(True), 0)
    return jax.lax.while_loop(unsettled, iterate, start)[:3]


def _means(points: Array, assignment: Array, centers: Array) -> Array:
    counts = jnp.bincount(assignment, length=centers.shape[0])[:, None]
    sums = jax.lax.platform_dependent(points, assignment, centers, cpu=_sums_by_adding, default=_sums_by_product)
    return jnp.where(counts > 0, sums / jnp.maximum(counts, 1), centers)


def _sums_by_adding(points: Array, assignment: Array, centers: Array) -> Array:
    """Sums of the points of each cluster, added one after the other."""
    return jax.ops.segment_sum(points, assignment, centers.shape[0])


def _sums_by_product(points: Array, assignment: Array, centers: Array) -> Array:
    """The same as a product with the one-hot assignment: in a fixed order where additions run side by side."""
    members = jax.nn.one_hot(assignment, centers.shape[0], dtype=points.dtype)
    return jnp.matmul(members.T, points, precision=jax.lax.Precision.HIGHEST)
