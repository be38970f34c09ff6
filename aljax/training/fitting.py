"""The fit of one iteration: epoch by epoch and step by step, from its beginning or from where an earlier one stood."""

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
from aljax.training.recipe import Recipe, learning_rate, read_by_a_step
from aljax.training.steps import (
    Batch,
    Epoch,
    Sums,
    TrainState,
    begin,
    shuffled,
    train_on_batch,
    train_on_device,
)

CALLS_AHEAD = 3
# Long enough for a launch not to matter, short enough to stop after one.
STEPS_PER_CALL = 32


class Fit(NamedTuple):
    """Where a fit stands after a step: what a checkpoint inside training holds."""

    state: TrainState
    sums: Sums
    """Of the epoch under way."""
    epoch: int
    """The epoch under way, from 0."""
    step: int
    """Its steps that are done; all of them at its end."""


def begin_fit(recipe: Recipe, variables: Variables) -> Fit:
    """A fit before its first step: optimisers afresh, and a copy of the variables, which stay valid."""
    return Fit(*begin(read_by_a_step(recipe), variables), 0, 0)


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

    An epoch is floor(n/B) full batches of a new permutation; with fewer than B labelled tiles it is one batch of
    all of them. `epoch_key(e)` gives the key of epoch e; `on_epoch(e, mean loss)` is told of each finished epoch.
    `on_step` gets the fit as it stands after a step (on an accelerator that holds the tiles: after some steps),
    valid until it returns: a fit that starts from there ends with the same bytes. The arrays of `start` are used up.
    A head on features is fitted to all of them at once instead, by `fit_head`, which `validation` is for.
    Raises DivergedError that names epoch and step.
    """
    if isinstance(model.network, Head):
        return fit_head(model, recipe, start.state.variables, tiles, labelled, validation, epoch_key(0))
    num_labelled = int(labelled.sum())
    batch_size = min(recipe.batch_size, num_labelled)
    num_steps = num_labelled // batch_size
    keys = [jax.random.split(epoch_key(index)) for index in range(recipe.epochs)]
    orders = np.array([shuffled(order_key, labelled) for order_key, _ in keys])
    call = _calls(model, read_by_a_step(recipe), start, tiles, orders, num_steps, batch_size)
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
                # Each call in the queue holds its pixels: without this, a long epoch would hold them all. On a CPU it
                # also holds the memory that it will compute in: 5.7 instead of 4.1 GiB for tiles of 256 x 256.
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


def _calls(
    model: Model,
    recipe: Recipe,
    start: Fit,
    tiles: Tiles,
    orders: Int[np.ndarray, "epochs n"],
    num_steps: int,
    batch_size: int,
) -> Callable[[Carry, Epoch, int, int], tuple[Carry, Array, int]]:
    """What runs the next step or steps of an epoch, and says at which step it then stands."""

    def on_device(carry: Carry, epoch: Epoch, index: int, step: int) -> tuple[Carry, Array, int]:
        assert tiles.on_device is not None
        stop = min(step + STEPS_PER_CALL, num_steps)
        whole, steps = Batch(tiles.on_device, tiles.labels), np.array([step, stop], np.int32)
        carry, done = train_on_device(
            model, recipe, batch_size, *carry, whole, tiles.statistics, epoch, orders[index], steps
        )
        return carry, done, stop

    def from_host(carry: Carry, epoch: Epoch, index: int, step: int) -> tuple[Carry, Array, int]:
        batch = Batch(next(pixels), tiles.labels_of(batches[index, step]))
        carry, done = train_on_batch(model, recipe, *carry, batch, tiles.statistics, epoch, np.asarray(step, np.int32))
        return carry, done, step + 1

    if tiles.on_device is not None:
        return on_device
    batches = orders[:, : num_steps * batch_size].reshape(len(orders), num_steps, batch_size)
    # One stream for all epochs: reading ahead does not stop at the end of an epoch.
    remaining = batches.reshape(-1, batch_size)[start.epoch * num_steps + start.step :]
    pixels = tiles.batches(remaining.ravel(), batch_size)
    return from_host


def make_epoch(recipe: Recipe, index: int, key: Array) -> Epoch:
    """Rate and gradient of F_L in epoch 0, 1, ..."""
    joint = index < round(recipe.cut_at * recipe.epochs)
    rate = np.asarray(learning_rate(recipe, index), np.float32)
    return Epoch(key, rate, np.asarray(joint, np.float32))


def _check_weights(variables: Variables) -> None:
    # The last step's can be the first that are not finite, and batch statistics are in no loss.
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(variables))):
        raise DivergedError("weights or batch statistics are not finite after the last epoch: lower the learning rate")


def _check(index: int, sums: Sums, num_steps: int, on_epoch: Callable[[int, float], None]) -> None:
    if int(sums.bad_step) >= 0:
        raise DivergedError(
            f"the loss is not finite in epoch {index + 1}, step {int(sums.bad_step) + 1} of {num_steps}: "
            "lower the learning rate, or look for broken pixels"
        )
    on_epoch(index, float(sums.loss) / num_steps)
