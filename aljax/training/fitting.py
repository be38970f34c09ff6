"""The fit of one iteration, epoch by epoch and step by step; it can go on from any step of an interrupted fit."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Int

from aljax.data.archive import Tiles
from aljax.errors import DivergedError
from aljax.networks.head import Head
from aljax.networks.model import Model, Variables
from aljax.training.head_fitting import fit_head
from aljax.training.recipe import Recipe, compiled_part, for_labelled, learning_rate
from aljax.training.steps import (
    Batch,
    Epoch,
    Sums,
    TrainState,
    begin,
    shuffle,
    train_on_batch,
    train_on_device,
)

# Calls of the compiled step that may wait in an accelerator's queue.
CALLS_AHEAD = 3
# So many that the cost of a launch is negligible, so few that a run can stop after one call.
STEPS_PER_CALL = 32


class Fit(NamedTuple):
    """The progress of a fit after a step, as a checkpoint inside training holds it."""

    state: TrainState
    sums: Sums
    """Over the steps of the current epoch."""
    epoch: int
    """The current epoch, counted from 0."""
    step: int
    """Number of its steps that are done."""


def begin_fit(recipe: Recipe, variables: Variables) -> Fit:
    """A fit before its first step: new optimiser states and a copy of `variables`, which stay valid."""
    return Fit(*begin(compiled_part(recipe), variables), 0, 0)


def fit(
    model: Model,
    recipe: Recipe,
    start: Fit,
    tiles: Tiles,
    labelled: Bool[np.ndarray, " n"],
    epoch_key: Callable[[int], Array],
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
    on_step: Callable[[Fit], None] = lambda fit: None,
    validation: Tiles | None = None,
) -> Variables:
    """Trains on the tiles where `labelled` (N,) is True, from `start` to the last epoch; returns the new variables.

    An epoch is floor(n/B) full batches of a new permutation of the n labelled tiles, or one batch of all if n < B.
    `epoch_key(e)` returns the key of epoch e; `on_epoch(e, mean loss)` is called after each epoch. `on_step(fit)` is
    called after each step, or every `STEPS_PER_CALL` steps where an accelerator holds the tiles; its argument is valid
    until it returns, and a fit that starts from it ends with the same bytes. The arrays of `start` are donated.
    A `Head` is fitted to all labelled tiles at once instead, by `fit_head`, which alone reads `validation`.
    Raises DivergedError, with epoch and step, if a loss or a weight is not finite.
    """
    if isinstance(model.network, Head):
        return fit_head(model, recipe, start.state.variables, tiles, labelled, validation, epoch_key(0))
    num_labelled = int(labelled.sum())
    recipe = for_labelled(recipe, num_labelled)
    batch_size = min(recipe.batch_size, num_labelled)
    num_steps = num_labelled // batch_size
    keys = [jax.random.split(epoch_key(index)) for index in range(recipe.epochs)]
    orders = np.array([shuffle(order_key, labelled) for order_key, _ in keys])
    call = _make_call(model, compiled_part(recipe), start, tiles, orders, num_steps, batch_size)
    carry, step = (start.state, start.sums), start.step
    running: deque[Array] = deque()
    ahead = 0 if jax.default_backend() == "cpu" else CALLS_AHEAD
    finished: tuple[int, Sums] | None = None
    for index in range(start.epoch, recipe.epochs):
        epoch = make_epoch(recipe, index, keys[index][1])
        while step < num_steps:
            carry, done, step = call(carry, epoch, index, step)
            running.append(done)
            if len(running) > ahead:
                # A queued call holds its pixels, so an unlimited queue would hold those of a whole epoch. On a CPU it
                # also holds its working memory: 5.7 instead of 4.1 GiB for tiles of 256 x 256.
                running.popleft().block_until_ready()
            on_step(Fit(*carry, index, step))
        # Reading a result waits for the device, so an epoch is read while the next one runs.
        if finished is not None:
            _check(*finished, num_steps, on_epoch)
        finished, step = (index, carry[1]), 0
    if finished is not None:
        _check(*finished, num_steps, on_epoch)
    _check_weights(carry[0].variables)
    return carry[0].variables


Carry = tuple[TrainState, Sums]


def _make_call(
    model: Model,
    recipe: Recipe,
    start: Fit,
    tiles: Tiles,
    orders: Int[np.ndarray, "epochs k"],
    num_steps: int,
    batch_size: int,
) -> Callable[[Carry, Epoch, int, int], tuple[Carry, Array, int]]:
    """A function of (state and sums, epoch, its index, step) that runs the next step, or several, of an epoch.

    It returns the new state and sums, an array to wait for, and the number of steps that are done.
    """

    def on_device(carry: Carry, epoch: Epoch, index: int, step: int) -> tuple[Carry, Array, int]:
        assert tiles.on_device is not None
        stop = min(step + STEPS_PER_CALL, num_steps)
        whole, steps = Batch(tiles.on_device, tiles.labels), np.array([step, stop], np.int32)
        order = np.zeros(tiles.num_tiles, np.int32)  # of the same length in all iterations, for the same program
        order[: orders.shape[1]] = orders[index]
        carry, done = train_on_device(model, recipe, batch_size, *carry, whole, tiles.statistics, epoch, order, steps)
        return carry, done, stop

    def from_host(carry: Carry, epoch: Epoch, index: int, step: int) -> tuple[Carry, Array, int]:
        batch = Batch(next(pixels), tiles.labels_of(batches[index, step]))
        carry, done = train_on_batch(model, recipe, *carry, batch, tiles.statistics, epoch, np.asarray(step, np.int32))
        return carry, done, step + 1

    if tiles.on_device is not None:
        return on_device
    batches = orders[:, : num_steps * batch_size].reshape(len(orders), num_steps, batch_size)
    # One stream of batches for all epochs, so that reading ahead continues across their ends.
    remaining = batches.reshape(-1, batch_size)[start.epoch * num_steps + start.step :]
    pixels = tiles.batches(remaining.ravel(), batch_size)
    return from_host


def make_epoch(recipe: Recipe, index: int, key: Array) -> Epoch:
    """Learning rate and gradient scale of F_L in epoch `index`, which counts from 0."""
    joint = index < round(recipe.cut_at * recipe.epochs)
    rate = np.asarray(learning_rate(recipe, index), np.float32)
    return Epoch(key, rate, np.asarray(joint, np.float32))


def _check_weights(variables: Variables) -> None:
    # The loss shows neither the weights of the last step nor any batch statistics.
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(variables))):
        raise DivergedError("weights or batch statistics are not finite after the last epoch: lower the learning rate")


def _check(index: int, sums: Sums, num_steps: int, on_epoch: Callable[[int, float], None]) -> None:
    if int(sums.bad_step) >= 0:
        raise DivergedError(
            f"the loss is not finite in epoch {index + 1}, step {int(sums.bad_step) + 1} of {num_steps}: "
            "lower the learning rate, or look for broken pixels"
        )
    on_epoch(index, float(sums.loss) / num_steps)
