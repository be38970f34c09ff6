"""Training steps of F, and of F_L with it: compiled once, whatever the number of labelled tiles."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped, UInt8

from aljax.arrays import AnyArray
from aljax.data.augmentation import BandStatistics, augment, standardise
from aljax.networks.losses import bce_loss, random_pairs, ranking_loss
from aljax.networks.model import Model, Variables, forward
from aljax.training.recipe import Recipe, make_optimizer
from aljax.xla.compiling import jit

# Products by cuBLAS alone. XLA would make kernels of its own of them and time several of each, for minutes on a new
# card, and a step would not be faster.
ON_GPU = (("xla_gpu_enable_triton_gemm", False),)


class TrainState(NamedTuple):
    """What a step changes."""

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
    """Eq. 3: the loss, and beside it its second term before weighting and the new batch statistics."""
    outputs, predicted, stats = forward(model, variables, images, True, head_gradient)
    true = bce_loss(outputs.logits, labels)
    if predicted is None:
        return true.mean(), (jnp.zeros(()), stats)
    ordering = ranking_loss(predicted[pairs], true[pairs], recipe.ranking_margin).sum() * 2.0 / len(true)
    return true.mean() + recipe.ranking_weight * ordering, (ordering, stats)


class Epoch(NamedTuple):
    """What changes from one epoch to the next; all of it is data, so nothing recompiles."""

    key: Array
    learning_rate: Float[AnyArray, ""]
    head_gradient: Float[AnyArray, ""]
    """1 while F_L trains F too, 0 once its gradient is cut."""


class Sums(NamedTuple):
    """Over the steps of an epoch so far; `bad_step` is the first one with a non-finite loss, or -1."""

    loss: Float[Array, ""]
    bad_step: Int[Array, ""]


class Batch(NamedTuple):
    """Tiles as they are stored, and their labels."""

    images: Shaped[AnyArray, "b h w bands"]
    labels: UInt8[AnyArray, "b c"]


def no_sums() -> Sums:
    """Before an epoch's first step."""
    return Sums(jnp.zeros(()), jnp.full((), -1, jnp.int32))


@jit(static=("recipe",))
def begin(recipe: Recipe, variables: Variables) -> tuple[TrainState, Sums]:
    """The state before the first step, with a copy of the variables."""
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
    """One step, and something to wait for: the next step takes the memory of everything else."""
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
    """Steps `steps[0]` up to `steps[1]` of an epoch over tiles that are on the device: no gaps between launches.

    Which steps is data, so any number of them is the same program. Gives something to wait for, as
    `train_on_batch`. Not for XLA's CPU backend, which runs the weight gradient of a convolution fifty times slower
    inside a loop (jax issue 12868).
    """

    def body(step: AnyArray, carry: tuple[TrainState, Sums]) -> tuple[TrainState, Sums]:
        rows = jax.lax.dynamic_slice(order, (step * batch_size,), (batch_size,))
        batch = Batch(tiles.images[rows], tiles.labels[rows])
        return _step(model, recipe, carry, batch, statistics, epoch, step)

    carry = jax.lax.fori_loop(steps[0], steps[1], body, (state, sums))
    return carry, jnp.copy(carry[1].loss)


@jax.jit
def shuffled(key: Array, labelled: Bool[Array, " n"]) -> Int[Array, " n"]:
    """The labelled indices in random order, then the others."""
    return jnp.argsort(jnp.where(labelled, jax.random.uniform(key, labelled.shape), 2.0))
