"""Training steps of F and, where there is one, F_L: compiled once, whatever the number of labelled tiles."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped, UInt8

from aljax.arrays import AnyArray
from aljax.data.augmentation import BandStatistics, augment, standardise
from aljax.networks.losses import bce_loss, random_pairs, ranking_loss
from aljax.networks.model import Model, Variables, forward
from aljax.training.recipe import Recipe, make_optimizer
from aljax.xla.compiling import jit

# Matrix products by cuBLAS alone. XLA would generate and time several kernels for each, which takes minutes on a new
# card, and the step would be no faster.
ON_GPU = (("xla_gpu_enable_triton_gemm", False),)


class TrainState(NamedTuple):
    """Everything that a step updates."""

    variables: Variables
    optimizer: PyTree


def total_loss(
    model: Model,
    recipe: Recipe,
    variables: Variables,
    images: Float[Array, "b h w bands"],
    labels: UInt8[AnyArray, "b c"],
    pairs: Int[Array, "p 2"],
    head_gradient: Float[AnyArray, ""],
) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Any]]:
    """Eq. 3: the loss, with (its second term before weighting, the new batch statistics) as auxiliary output."""
    outputs, predicted, stats = forward(model, variables, images, True, head_gradient)
    true = bce_loss(outputs.logits, labels)
    if predicted is None:
        return true.mean(), (jnp.zeros(()), stats)
    ordering = ranking_loss(predicted[pairs], true[pairs], recipe.ranking_margin).sum() * 2.0 / len(true)
    return true.mean() + recipe.ranking_weight * ordering, (ordering, stats)


class Epoch(NamedTuple):
    """The inputs of a step that depend on the epoch; arrays, so that no epoch recompiles the step."""

    key: Array
    learning_rate: Float[AnyArray, ""]
    head_gradient: Float[AnyArray, ""]
    """Factor of the gradient from F_L into F: 1 while F_L trains F too, 0 once it is cut."""


class Sums(NamedTuple):
    """The sum of the losses of an epoch so far; `bad_step` is its first step with a non-finite loss, or -1."""

    loss: Float[Array, ""]
    bad_step: Int[Array, ""]


class Batch(NamedTuple):
    """Tiles as they are stored, and their labels."""

    images: Shaped[AnyArray, "b h w bands"]
    labels: UInt8[AnyArray, "b c"]


def no_sums() -> Sums:
    """The sums before the first step of an epoch."""
    return Sums(jnp.zeros(()), jnp.full((), -1, jnp.int32))


@jit(static=("recipe",))
def begin(recipe: Recipe, variables: Variables) -> tuple[TrainState, Sums]:
    """State (with a copy of the variables) and sums before the first step."""
    return TrainState(jax.tree.map(jnp.copy, variables), make_optimizer(recipe).init(variables["params"])), no_sums()


def _step(
    model: Model,
    recipe: Recipe,
    carry: tuple[TrainState, Sums],
    batch: Batch,
    statistics: BandStatistics,
    epoch: Epoch,
    step: AnyArray,
) -> tuple[TrainState, Sums]:
    state, sums = carry
    sums = jax.tree.map(partial(jnp.where, step == 0), no_sums(), sums)
    augment_key, pair_key = jax.random.split(jax.random.fold_in(epoch.key, step))
    images = standardise(augment(augment_key, batch.images), statistics)
    pairs = random_pairs(pair_key, len(batch.images))

    def objective(params: PyTree) -> tuple[Array, tuple[Array, Any]]:
        variables = {"params": params, "batch_stats": state.variables["batch_stats"]}
        return total_loss(model, recipe, variables, images, batch.labels, pairs, epoch.head_gradient)

    params = state.variables["params"]
    (loss, (_, stats)), gradient = jax.value_and_grad(objective, has_aux=True)(params)
    updates, optimizer = make_optimizer(recipe).update(gradient, state.optimizer, params)
    params = jax.tree.map(lambda value, update: value - epoch.learning_rate * update, params, updates)
    bad_step = jnp.where((sums.bad_step < 0) & ~jnp.isfinite(loss), step, sums.bad_step)
    return TrainState({"params": params, "batch_stats": stats}, optimizer), Sums(sums.loss + loss, bad_step)


@jit(static=("model", "recipe"), donated=("state",), on_gpu=ON_GPU)
def train_on_batch(
    model: Model,
    recipe: Recipe,
    state: TrainState,
    sums: Sums,
    batch: Batch,
    statistics: BandStatistics,
    epoch: Epoch,
    step: Int[AnyArray, ""],
) -> tuple[tuple[TrainState, Sums], Array]:
    """One step. Also returns an array to wait for: the next call donates everything else."""
    carry = _step(model, recipe, (state, sums), batch, statistics, epoch, step)
    return carry, jnp.copy(carry[1].loss)


@jit(static=("model", "recipe", "batch_size"), donated=("state",), on_gpu=ON_GPU)
def train_on_device(
    model: Model,
    recipe: Recipe,
    batch_size: int,
    state: TrainState,
    sums: Sums,
    tiles: Batch,
    statistics: BandStatistics,
    epoch: Epoch,
    order: Int[AnyArray, " n"],
    steps: Int[AnyArray, "2"],
) -> tuple[tuple[TrainState, Sums], Array]:
    """Steps `steps[0]` to `steps[1]` - 1 of an epoch, in one launch, over tiles that are on the device.

    `steps` is data, so that any number of steps is the same program. Also returns an array to wait for, as
    `train_on_batch` does. Not for XLA's CPU backend, which computes the weight gradient of a convolution fifty times
    slower inside a loop (jax issue 12868).
    """

    def body(step: AnyArray, carry: tuple[TrainState, Sums]) -> tuple[TrainState, Sums]:
        rows = jax.lax.dynamic_slice(order, (step * batch_size,), (batch_size,))
        batch = Batch(tiles.images[rows], tiles.labels[rows])
        return _step(model, recipe, carry, batch, statistics, epoch, step)

    carry = jax.lax.fori_loop(steps[0], steps[1], body, (state, sums))
    return carry, jnp.copy(carry[1].loss)


def shuffle(key: Array, labelled: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " k"]:
    """The k labelled indices in random order.

    Each index of the pool has a number of its own by the key, however many are labelled; only those of the labelled are
    sorted, which in a pool of a million takes a thirtieth of the time that sorting all would.
    """
    rows = np.flatnonzero(labelled).astype(np.int32)
    return rows[np.argsort(np.asarray(_draw(key, len(labelled)))[rows], kind="stable")]


@partial(jax.jit, static_argnums=1)
def _draw(key: Array, count: int) -> Float[Array, " n"]:
    return jax.random.uniform(key, (count,))
