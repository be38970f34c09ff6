"""Training F, and F_L with it, on the labelled tiles of a pool: one compiled function, whatever their number."""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped, UInt8

from aljax.arrays import AnyArray
from aljax.data.archive import Tiles
from aljax.data.augmentation import BandStatistics, augment, standardise
from aljax.errors import NonFiniteLossError
from aljax.losses import bce_loss, random_pairs, ranking_loss
from aljax.model import Model, Variables, forward
from aljax.recipe import Recipe, learning_rate, make_optimizer

STEPS_AHEAD = 3


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


@partial(jax.jit, static_argnames=("model", "recipe"), donate_argnames="carry")
def _train_on_batch(
    model: Model,
    recipe: Recipe,
    carry: tuple[TrainState, Sums],
    batch: Batch,
    statistics: BandStatistics,
    epoch: Epoch,
    step: Int[AnyArray, ""],
) -> tuple[tuple[TrainState, Sums], Array]:
    """One step, and something to wait for: the next step takes the memory of everything else."""
    carry = _step(model, recipe, carry, batch, statistics, epoch, step)
    return carry, jnp.copy(carry[1].loss)


@partial(jax.jit, static_argnames=("model", "recipe", "batch_size"), donate_argnames="carry")
def _train_on_device(
    model: Model,
    recipe: Recipe,
    batch_size: int,
    carry: tuple[TrainState, Sums],
    tiles: Batch,
    statistics: BandStatistics,
    epoch: Epoch,
    order: Int[AnyArray, " n"],
    num_steps: Int[AnyArray, ""],
) -> tuple[TrainState, Sums]:
    """A whole epoch over tiles that are on the device: no gaps between launches.

    The number of steps is data, so a longer epoch is the same program. Not for XLA's CPU backend, which runs
    the weight gradient of a convolution fifty times slower inside a loop (jax issue 12868).
    """

    def body(step: AnyArray, carry: tuple[TrainState, Sums]) -> tuple[TrainState, Sums]:
        rows = jax.lax.dynamic_slice(order, (step * batch_size,), (batch_size,))
        batch = Batch(tiles.images[rows], tiles.labels[rows])
        return _step(model, recipe, carry, batch, statistics, epoch, step)

    return jax.lax.fori_loop(0, num_steps, body, carry)


@jax.jit
def _shuffled(key: Array, labelled: Bool[Array, " n"]) -> Int[Array, " n"]:
    """The labelled indices in random order, then the others."""
    return jnp.argsort(jnp.where(labelled, jax.random.uniform(key, labelled.shape), 2.0))


@partial(jax.jit, static_argnames="recipe")
def _init_optimizer(recipe: Recipe, params: PyTree) -> PyTree:
    return make_optimizer(recipe).init(params)


def fit(
    model: Model,
    recipe: Recipe,
    variables: Variables,
    tiles: Tiles,
    labelled: Bool[np.ndarray, " n"],
    epoch_key: Callable[[int], Array],
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Variables:
    """Trains from `variables` on the tiles where `labelled` (N,) is True and returns the new variables.

    Optimisers and schedule start afresh. An epoch is floor(n/B) full batches of a new permutation; with
    fewer than B labelled tiles it is one batch of all of them. `epoch_key(e)` gives the key of epoch e;
    `on_epoch(e, mean loss)` is told of each finished epoch. The arguments stay valid. Raises
    NonFiniteLossError that names epoch and step.
    """
    num_labelled = int(labelled.sum())
    batch_size = min(recipe.batch_size, num_labelled)
    num_steps = num_labelled // batch_size
    variables = jax.tree.map(jnp.copy, variables)  # the state is donated, the caller's variables are not
    state = TrainState(variables, _init_optimizer(recipe, variables["params"]))
    keys = [jax.random.split(epoch_key(index)) for index in range(recipe.epochs)]
    orders = np.array([_shuffled(order_key, labelled) for order_key, _ in keys])
    # One stream for all epochs: reading ahead does not stop at the end of an epoch.
    pixels = tiles.batches(orders[:, : num_steps * batch_size].ravel(), batch_size)
    pending = None
    for index, order in enumerate(orders):
        epoch = _make_epoch(recipe, index, keys[index][1])
        carry = state, Sums(jnp.zeros(()), jnp.array(-1, jnp.int32))
        if tiles.on_device is not None:
            whole = Batch(tiles.on_device, tiles.labels)
            steps = np.asarray(num_steps, np.int32)
            carry = _train_on_device(model, recipe, batch_size, carry, whole, tiles.statistics, epoch, order, steps)
        else:
            rows = order[: num_steps * batch_size].reshape(num_steps, batch_size)
            batches = (Batch(next(pixels), tiles.labels[chunk]) for chunk in rows)
            carry = _train_from_host(model, recipe, carry, batches, tiles.statistics, epoch)
        state, sums = carry
        # Reading a result waits for the device, so an epoch is read while the next one runs.
        if pending is not None:
            _check(*pending, num_steps, on_epoch)
        pending = (index, sums)
    if pending is not None:
        _check(*pending, num_steps, on_epoch)
    return state.variables


def _train_from_host(
    model: Model,
    recipe: Recipe,
    carry: tuple[TrainState, Sums],
    batches: Iterator[Batch],
    statistics: BandStatistics,
    epoch: Epoch,
) -> tuple[TrainState, Sums]:
    """An epoch of batches that are on the host, a few steps ahead of the device and no more."""
    running: deque[Array] = deque()
    for step, batch in enumerate(batches):
        carry, done = _train_on_batch(model, recipe, carry, batch, statistics, epoch, np.asarray(step, np.int32))
        running.append(done)
        if len(running) > STEPS_AHEAD:
            # Each step in the queue holds its pixels: without this, a long epoch would hold them all.
            running.popleft().block_until_ready()
    return carry


def _make_epoch(recipe: Recipe, index: int, key: Array) -> Epoch:
    joint = index < round(recipe.cut_at * recipe.epochs)
    rate = np.asarray(learning_rate(recipe, index), np.float32)
    return Epoch(key, rate, np.asarray(joint, np.float32))


def _check(index: int, sums: Sums, num_steps: int, on_epoch: Callable[[int, float], None]) -> None:
    if int(sums.bad_step) >= 0:
        raise NonFiniteLossError(
            f"the loss is not finite in epoch {index + 1}, step {int(sums.bad_step) + 1} of {num_steps}: "
            "lower the learning rate, or look for broken pixels"
        )
    on_epoch(index, float(sums.loss) / num_steps)
