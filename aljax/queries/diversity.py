"""Diverse selection from the whole pool: core-set, multi-label BADGE, and coverage for a first batch without labels.

Core-set and BADGE are greedy; their memory is N distances, never N x N.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from aljax.arrays import AnyArray, as_array, as_key
from aljax.queries.kmeans import kmeans
from aljax.queries.selection import number_clusters

ROWS_AT_ONCE = 1024  # unlabelled tiles that are compared with all labelled ones at once


def coreset(
    features: Float[AnyArray, "n d"], labelled: Float[AnyArray, "m d"], budget: int
) -> Int[np.ndarray, " budget"]:
    """Core-set by greedy k-centre (Sener and Savarese, ICLR 2018).

    Each step chooses the tile whose nearest labelled or chosen tile is farthest away. `features` (N, D) are those of
    the unlabelled tiles, `labelled` (M, D) those of the labelled ones; with M = 0 the first choice is the tile farthest
    from the mean. Returns `budget` distinct indices in the order of choice, or all N if N < budget. Raises ValueError
    for a budget below 1 or arrays of other shapes.
    """
    features, labelled = _float32(features), _float32(labelled)
    _check(features, budget)
    if labelled.ndim != 2 or labelled.shape[1] != features.shape[1]:
        raise ValueError(f"labelled features have the shape {labelled.shape}: give (M, {features.shape[1]})")
    count, num_labelled = len(features), len(labelled)
    if not count:
        return np.arange(0)
    # Distances come from inner products, which lose the fewest digits when the features are centred.
    mean = features.mean(0)
    features, labelled = (_padded(part - mean) for part in (features, labelled))
    nearest = _nearest_distances(features, labelled, np.arange(len(labelled)) < num_labelled)
    if not num_labelled:  # the mean only decides the first choice; later distances do not count it as a centre
        first = np.argmax(_squared_distances(features, np.zeros_like(mean)))
        nearest = _squared_distances(features, features[first]).at[first].set(jnp.inf)
    nearest = jnp.where(np.arange(len(features)) < count, nearest, -1.0)
    return np.asarray(_greedy_k_centre(features, nearest, min(budget, count)))


@jax.jit
def _nearest_distances(features: Array, centers: Array, is_center: Array) -> Array:
    """Squared distance (n,) of each row (n, d) to the nearest centre (m, d); `is_center` (m,) excludes padding."""
    squares = jnp.where(is_center, jnp.square(centers).sum(1), jnp.inf)

    def compare(number: Array | int, nearest: Array) -> Array:
        start = number * at_once  # dynamic_slice moves it back for the last block, so some rows are compared twice
        rows = jax.lax.dynamic_slice_in_dim(features, start, at_once)
        products = jnp.matmul(rows, centers.T, precision=jax.lax.Precision.HIGHEST)
        found = jnp.maximum((squares - 2.0 * products).min(1) + jnp.square(rows).sum(1), 0.0)
        return jax.lax.dynamic_update_slice_in_dim(nearest, found, start, 0)

    at_once = min(ROWS_AT_ONCE, len(features))
    return jax.lax.fori_loop(0, -(-len(features) // at_once), compare, jnp.zeros(len(features)))


@jax.jit
def _squared_distances(features: Array, center: Array) -> Array:
    """Squared distances (n,) of the rows (n, d) to one (d,); inner products take half the time of differences."""
    products = jnp.matmul(features, center, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum(jnp.square(features).sum(1) + jnp.square(center).sum() - 2.0 * products, 0.0)


@partial(jax.jit, static_argnames=("budget",))
def _greedy_k_centre(features: Array, nearest: Array, budget: int) -> Array:
    """Indices (budget,) of the farthest rows, one after the other; `nearest` (n,) is below 0 for what is excluded."""
    norms = jnp.square(features).sum(1)

    def add(number: Array | int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        chosen, nearest = carry
        index = jnp.argmax(nearest)
        products = jnp.matmul(features, features[index], precision=jax.lax.Precision.HIGHEST)
        nearest = jnp.minimum(nearest, jnp.maximum(norms + norms[index] - 2.0 * products, 0.0))
        return chosen.at[number].set(index), nearest.at[index].set(-1.0)  # not chosen again, even if all are copies

    return jax.lax.fori_loop(0, budget, add, (jnp.zeros(budget, int), nearest))[0]


def badge(
    key: Array | int,
    embeddings: Float[AnyArray, "n d"],
    residuals: Float[AnyArray, "n c"],
    budget: int,
) -> Int[np.ndarray, " budget"]:
    """Multi-label BADGE (Ash et al., ICLR 2020): k-means++ seeding on the gradient embeddings of eq. 6.

    The gradient of a tile is the outer product of (embedding, 1) and the residual p - y, so an inner product of two
    gradients is a product of two inner products, and no N x D x C array is needed. `embeddings` (N, D) are the inputs
    of the last layer, `residuals` (N, C) come from `pseudo_residuals`. The first choice is the tile with the largest
    gradient; each further tile is drawn with probability proportional to the squared distance of its gradient to the
    nearest chosen one. Returns `budget` distinct indices in the order of choice, or all N if N < budget. Raises
    ValueError for a budget below 1 or arrays of other shapes.
    """
    embeddings, residuals = _float32(embeddings), _float32(residuals)
    _check(embeddings, budget)
    if residuals.ndim != 2 or len(residuals) != len(embeddings):
        raise ValueError(f"residuals have the shape {residuals.shape}: give (N, C) for {len(embeddings)} embeddings")
    count = len(embeddings)
    if not count:
        return np.arange(0)
    embeddings, residuals = _padded(embeddings), _padded(residuals)
    available = np.arange(len(embeddings)) < count
    return np.asarray(_seed_gradients(as_key(key), embeddings, residuals, available, min(budget, count)))


@partial(jax.jit, static_argnames=("budget",))
def _seed_gradients(key: Array, embeddings: Array, residuals: Array, available: Array, budget: int) -> Array:
    """Indices (budget,) of `badge` among the rows that are `available` (n,)."""
    norms = (jnp.square(embeddings).sum(1) + 1.0) * jnp.square(residuals).sum(1)

    def distances(index: Array) -> Array:
        """Squared distances (n,) of all gradients to that of row `index`."""
        precise = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
        products = (precise(embeddings, embeddings[index]) + 1.0) * precise(residuals, residuals[index])
        return jnp.maximum(norms + norms[index] - 2.0 * products, 0.0)

    def add(number: Array | int, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        chosen, nearest, available = carry
        weights = jnp.where(available, nearest, 0.0)
        # Uniform if all that is left are copies of chosen tiles.
        weights = jnp.where(weights.sum() > 0.0, weights, available.astype(weights.dtype))
        # The Gumbel trick of `categorical` never draws an index of weight 0; a cumulative sum may, by rounding.
        index = jax.random.categorical(jax.random.fold_in(key, number), jnp.log(weights))
        return chosen.at[number].set(index), jnp.minimum(nearest, distances(index)), available.at[index].set(False)

    first = jnp.argmax(norms)
    start = jnp.zeros(budget, first.dtype).at[0].set(first), distances(first), available.at[first].set(False)
    return jax.lax.fori_loop(1, budget, add, start)[0]


def coverage(key: Array | int, features: Float[AnyArray, "n d"], budget: int) -> Int[np.ndarray, " budget"]:
    """A first batch without labels: of each of `budget` k-means clusters of the pool, the tile nearest to the centre.

    This is TypiClust (Hacohen et al., ICML 2022) with the cluster centre as the most typical place. Unlike ProbCover
    and MaxHerding it has no radius or kernel width to tune for each pool. `features` (N, D) are those of the whole
    pool. Returns `budget` distinct indices, largest cluster first, so that any first part of the batch covers the most;
    or all N if N <= budget. Raises ValueError for a budget below 1.
    """
    return cover(key, _float32(features), budget).chosen


class Covering(NamedTuple):
    """A batch that covers a pool."""

    chosen: Int[np.ndarray, " b"]
    """Indices of the tiles, largest cluster first."""
    clusters: Int[np.ndarray, " b"] | None
    """The number of each tile's cluster, counted from 1; None where all tiles of the pool are chosen."""
    sizes: Int[np.ndarray, " b"] | None
    """The size of each tile's cluster in the pool."""

    def take(self, places: Int[np.ndarray, " k"]) -> "Covering":
        """The tiles at these places of `chosen`."""
        if self.clusters is None or self.sizes is None:
            return Covering(self.chosen[places], None, None)
        return Covering(self.chosen[places], self.clusters[places], self.sizes[places])


def cover(key: Array | int, features: Float[AnyArray, "n d"], budget: int, everything: bool = False) -> Covering:
    """What `coverage` chooses, which has the same arguments, and from which clusters.

    With `everything` the other tiles of the pool follow, the one farthest from the centre of its cluster first.
    """
    features = _float32(features)
    _check(features, budget)
    if len(features) <= budget:
        return Covering(np.arange(len(features)), None, None)
    clusters = kmeans(as_key(key), features, budget)
    assignment = np.asarray(clusters.assignment)
    distances = np.square(features - np.asarray(clusters.centers)[assignment]).sum(1)
    order = np.lexsort((distances, assignment))
    nearest = order[np.unique(assignment[order], return_index=True)[1]]
    sizes = np.bincount(assignment, minlength=budget)[assignment[nearest]]
    chosen = nearest[np.argsort(-sizes, kind="stable")]
    # Empty clusters, as in a pool with many copies, are replaced by the tiles farthest from their centres.
    others = np.setdiff1d(np.arange(len(features)), chosen)
    farthest = others[np.argsort(-distances[others], kind="stable")]
    chosen = np.concatenate([chosen, farthest])[: None if everything else budget]
    return Covering(chosen, number_clusters(assignment[chosen]), np.bincount(assignment)[assignment[chosen]])


def _float32(values: Any) -> Float[np.ndarray, "..."]:
    return np.asarray(as_array(values), np.float32)


def _padded(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "m d"]:
    """The rows, padded with zeros to one of eight lengths per power of two: a pool that shrinks compiles few programs.

    Below `ROWS_AT_ONCE` rows the lengths are multiples of a sixteenth of it.
    """
    step = max(ROWS_AT_ONCE, 1 << len(rows).bit_length()) // 16
    padded = np.zeros((max(-(-len(rows) // step), 1) * step, rows.shape[1]), np.float32)
    padded[: len(rows)] = rows
    return padded


def _check(features: Float[np.ndarray, "..."], budget: int) -> None:
    if features.ndim != 2:
        raise ValueError(f"features have the shape {features.shape}: give (N, D)")
    if budget < 1:
        raise ValueError(f"budget is {budget}: it must be at least 1")
