"""Choosing tiles that differ, pool-wide: core-set, BADGE for several labels, and coverage before any label is there.

Each is greedy and holds N distances, never N x N of them.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from aljax.arrays import AnyArray, as_array, as_key
from aljax.queries.kmeans import kmeans

ROWS_AT_ONCE = 1024  # that are compared with all labelled tiles


def coreset(
    features: Float[AnyArray, "n d"], labelled: Float[AnyArray, "m d"], budget: int
) -> Int[np.ndarray, " budget"]:
    """Greedy k-centre: again and again the tile farthest from all labelled and chosen ones (Sener, Savarese, 2018).

    `features` (N, D) of the unlabelled tiles, `labelled` (M, D) of the labelled ones (M = 0: begins with the tile that
    is farthest from the mean). Returns `budget` distinct indices in the order in which they were chosen, all N where
    there are fewer. Raises ValueError for a budget below 1 or features of different length.
    """
    features, labelled = _float32(features), _float32(labelled)
    _check(features, budget)
    if labelled.ndim != 2 or labelled.shape[1] != features.shape[1]:
        raise ValueError(f"labelled features have the shape {labelled.shape}: give (M, {features.shape[1]})")
    count, known = len(features), len(labelled)
    if not count:
        return np.arange(0)
    # Around the mean inner products lose the fewest digits.
    mean = features.mean(0)
    features, labelled = (_padded(part - mean) for part in (features, labelled))
    nearest = _nearest(features, labelled, np.arange(len(labelled)) < known)
    if not known:  # the mean is no tile: it tells which is first, and nothing is near to it then
        first = np.argmax(_squared_distances(features, np.zeros_like(mean)))
        nearest = _squared_distances(features, features[first]).at[first].set(jnp.inf)
    nearest = jnp.where(np.arange(len(features)) < count, nearest, -1.0)
    return np.asarray(_farthest(features, nearest, min(budget, count)))


@jax.jit
def _nearest(features: Array, centers: Array, real: Array) -> Array:
    """Squared distance of each row to the nearest of the `real` centres, some rows at once."""
    squares = jnp.where(real, jnp.square(centers).sum(1), jnp.inf)

    def compare(number: Array | int, nearest: Array) -> Array:
        start = number * at_once  # moved back where fewer rows are left, which are then compared twice
        rows = jax.lax.dynamic_slice_in_dim(features, start, at_once)
        products = jnp.matmul(rows, centers.T, precision=jax.lax.Precision.HIGHEST)
        found = jnp.maximum((squares - 2.0 * products).min(1) + jnp.square(rows).sum(1), 0.0)
        return jax.lax.dynamic_update_slice_in_dim(nearest, found, start, 0)

    at_once = min(ROWS_AT_ONCE, len(features))
    return jax.lax.fori_loop(0, -(-len(features) // at_once), compare, jnp.zeros(len(features)))


@jax.jit
def _squared_distances(features: Array, center: Array) -> Array:
    """Of all rows to one; by inner products, which take half of the time of differences."""
    products = jnp.matmul(features, center, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum(jnp.square(features).sum(1) + jnp.square(center).sum() - 2.0 * products, 0.0)


@partial(jax.jit, static_argnames=("budget",))
def _farthest(features: Array, nearest: Array, budget: int) -> Array:
    norms = jnp.square(features).sum(1)

    def add(number: Array | int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        chosen, nearest = carry
        index = jnp.argmax(nearest)
        products = jnp.matmul(features, features[index], precision=jax.lax.Precision.HIGHEST)
        nearest = jnp.minimum(nearest, jnp.maximum(norms + norms[index] - 2.0 * products, 0.0))
        return chosen.at[number].set(index), nearest.at[index].set(-1.0)  # never again, also among equal tiles

    return jax.lax.fori_loop(0, budget, add, (jnp.zeros(budget, int), nearest))[0]


def badge(
    key: Array | int,
    embeddings: Float[AnyArray, "n d"],
    residuals: Float[AnyArray, "n c"],
    budget: int,
) -> Int[np.ndarray, " budget"]:
    """BADGE for several labels: k-means++ seeding on the gradient embeddings of eq. 6 (Ash et al., ICLR 2020).

    The gradient of a tile for the last layer under pseudo-labels is the outer product of (embedding, 1) and its
    residual p - y, so inner products of gradients are products of inner products and the N x D x C gradients never
    exist. `embeddings` (N, D) are inputs of the last layer, `residuals` (N, C) what `pseudo_residuals` gives. The first
    tile is the one with the largest gradient, each next one is drawn with probability proportional to its squared
    distance from the nearest chosen one. Returns `budget` distinct indices in that order, all N where there are fewer.
    Raises ValueError for a budget below 1 or arrays that are not of the same tiles.
    """
    embeddings, residuals = _float32(embeddings), _float32(residuals)
    _check(embeddings, budget)
    if residuals.ndim != 2 or len(residuals) != len(embeddings):
        raise ValueError(f"residuals have the shape {residuals.shape}: give (N, C) for {len(embeddings)} embeddings")
    count = len(embeddings)
    if not count:
        return np.arange(0)
    embeddings, residuals = _padded(embeddings), _padded(residuals)
    free = np.arange(len(embeddings)) < count
    return np.asarray(_seed_gradients(as_key(key), embeddings, residuals, free, min(budget, count)))


@partial(jax.jit, static_argnames=("budget",))
def _seed_gradients(key: Array, embeddings: Array, residuals: Array, free: Array, budget: int) -> Array:
    norms = (jnp.square(embeddings).sum(1) + 1.0) * jnp.square(residuals).sum(1)

    def distances(index: Array) -> Array:
        """Squared, of all gradients to one."""
        precise = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
        products = (precise(embeddings, embeddings[index]) + 1.0) * precise(residuals, residuals[index])
        return jnp.maximum(norms + norms[index] - 2.0 * products, 0.0)

    def add(number: Array | int, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        chosen, nearest, free = carry
        weights = jnp.where(free, nearest, 0.0)
        weights = jnp.where(weights.sum() > 0.0, weights, free.astype(weights.dtype))  # copies of what is chosen
        # By the largest of Gumbel-shifted logarithms: never one of weight 0, whatever is rounded.
        index = jax.random.categorical(jax.random.fold_in(key, number), jnp.log(weights))
        return chosen.at[number].set(index), jnp.minimum(nearest, distances(index)), free.at[index].set(False)

    first = jnp.argmax(norms)
    start = jnp.zeros(budget, first.dtype).at[0].set(first), distances(first), free.at[first].set(False)
    return jax.lax.fori_loop(1, budget, add, start)[0]


def coverage(key: Array | int, features: Float[AnyArray, "n d"], budget: int) -> Int[np.ndarray, " budget"]:
    """A first batch before any label: the tile nearest to the centre of each of `budget` clusters of the whole pool.

    Typical tiles of everything that there is, where chance repeats what is common: the TypiClust idea (Hacohen et al.,
    ICML 2022) with the centre as the typical place, for which k-means is all that it takes, where ProbCover and
    MaxHerding want a radius or a kernel's width that has to be found anew for each pool's features. Returns distinct
    indices, largest cluster first, so that a part of the batch covers the most; all N where there are fewer. Raises
    ValueError for a budget below 1.
    """
    features = _float32(features)
    _check(features, budget)
    if len(features) <= budget:
        return np.arange(len(features))
    found = kmeans(as_key(key), features, budget)
    assignment = np.asarray(found.assignment)
    distances = np.square(features - np.asarray(found.centers)[assignment]).sum(1)
    order = np.lexsort((distances, assignment))
    nearest = order[np.unique(assignment[order], return_index=True)[1]]
    sizes = np.bincount(assignment, minlength=budget)[assignment[nearest]]
    chosen = nearest[np.argsort(-sizes, kind="stable")]
    # Clusters that lost all of their tiles, as of copies: the tiles that are worst covered.
    left = np.setdiff1d(np.arange(len(features)), chosen)
    return np.concatenate([chosen, left[np.argsort(-distances[left], kind="stable")]])[:budget]


def _float32(values: Any) -> Float[np.ndarray, "..."]:
    return np.asarray(as_array(values), np.float32)


def _padded(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "m d"]:
    """With rows of 0 up to one of eight lengths for each power of two: a pool that shrinks compiles few programs."""
    step = max(ROWS_AT_ONCE, 1 << len(rows).bit_length()) // 16
    padded = np.zeros((max(-(-len(rows) // step), 1) * step, rows.shape[1]), np.float32)
    padded[: len(rows)] = rows
    return padded


def _check(features: Float[np.ndarray, "..."], budget: int) -> None:
    if features.ndim != 2:
        raise ValueError(f"features have the shape {features.shape}: give (N, D)")
    if budget < 1:
        raise ValueError(f"budget is {budget}: it must be at least 1")
