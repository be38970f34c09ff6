"""Training F, and F_L with it, on the labelled tiles of a pool: one compiled function, whatever their number."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from aljax.arrays import AnyArray
from aljax.data.archive import Tiles
from aljax.data.augmentation import augment, standardise
from aljax.errors import NonFiniteLossError
from aljax.losses import bce_loss, random_pairs, ranking_loss
from aljax.model import Model, Variables, forward


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are the paper's for UC Merced, or named as this project's where it is silent."""

    epochs: int = 100  # passes over the labelled tiles per iteration (paper: 100 UC Merced, 200 TreeSatAI)
    batch_size: int = 10  # tiles per step (paper: 10 UC Merced, 100 TreeSatAI)
    learning_rate: float = 0.025  # initial rate of both optimisers (paper: 0.025 UC Merced, 0.01 TreeSatAI)
    decay_at: float = 0.8  # fraction of the epochs after which the rate is multiplied by 0.1 (paper: 80 of 100)
    momentum: float = 0.9  # of SGD (not in the paper)
    weight_decay: float = 5e-4  # on the kernels of F (not in the paper)
    ranking_weight: float = 1.0  # lambda of eq. 3 (not in the paper)
    ranking_margin: float = 1.0  # xi of eq. 2 (paper: 1)
    cut_at: float = 0.6  # fraction of the epochs after which F_L no longer trains F (paper: 60 of 100)


class TrainState(NamedTuple):
    """What a step changes."""

    variables: Variables
    optimizer: PyTree


def make_optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """SGD with momentum for F, Adam for F_L; the caller multiplies by the epoch's learning rate."""

    def kernels(params: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    sgd = optax.chain(optax.add_decayed_weights(recipe.weight_decay, mask=kernels), optax.trace(recipe.momentum))
    return optax.partition({"network": sgd, "loss_head": optax.scale_by_adam()}, _part_of_each_leaf)


def _part_of_each_leaf(params: dict[str, PyTree]) -> dict[str, PyTree]:
    return {part: jax.tree.map(lambda _, name=part: name, tree) for part, tree in params.items()}


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Of epoch 0, 1, ...: the initial rate, a tenth of it from `decay_at` on."""
    return recipe.learning_rate * (0.1 if epoch >= round(recipe.decay_at * recipe.epochs) else 1.0)


def total_loss(
    model: Model,
    recipe: Recipe,
    variables: Variables,
    images: Float[Array, "b h w bands"],
    labels: Array,
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
    order: Int[Array, " n"]
    """The labelled tiles in this epoch's order, then the others."""
    learning_rate: Float[AnyArray, ""]
    head_gradient: Float[AnyArray, ""]
    """1 while F_L trains F too, 0 once its gradient is cut."""


class Sums(NamedTuple):
    """Over the steps of an epoch so far; `bad_step` is the first one with a non-finite loss, or -1."""

    loss: Float[Array, ""]
    ranking_loss: Float[Array, ""]
    bad_step: Int[Array, ""]


def _step(
    model: Model, recipe: Recipe, batch_size: int, state: TrainState, tiles: Tiles, epoch: Epoch, step: AnyArray
) -> tuple[TrainState, Float[Array, ""], Float[Array, ""]]:
    rows = jax.lax.dynamic_slice(epoch.order, (step * batch_size,), (batch_size,))
    augment_key, pair_key = jax.random.split(jax.random.fold_in(epoch.key, step))
    images = standardise(augment(augment_key, tiles.images[rows]), tiles.mean, tiles.deviation)
    pairs = random_pairs(pair_key, batch_size)

    def objective(params: PyTree) -> tuple[Array, tuple[Array, Any]]:
        variables = {"params": params, "batch_stats": state.variables["batch_stats"]}
        return total_loss(model, recipe, variables, images, tiles.labels[rows], pairs, epoch.head_gradient)

    params = state.variables["params"]
    (loss, (ordering, stats)), gradient = jax.value_and_grad(objective, has_aux=True)(params)
    updates, optimizer = make_optimizer(recipe).update(gradient, state.optimizer, params)
    params = jax.tree.map(lambda value, update: value - epoch.learning_rate * update, params, updates)
    return TrainState({"params": params, "batch_stats": stats}, optimizer), loss, ordering


@partial(jax.jit, static_argnames=("model", "recipe", "batch_size", "one_step"), donate_argnames=("state", "sums"))
def _advance(
    model: Model,
    recipe: Recipe,
    batch_size: int,
    state: TrainState,
    sums: Sums,
    tiles: Tiles,
    epoch: Epoch,
    first: Int[AnyArray, ""],
    last: Int[AnyArray, ""],
    one_step: bool,
) -> tuple[TrainState, Sums]:
    """Steps `first` to `last` - 1 of an epoch, or `first` alone if `one_step`.

    Both bounds are data, so a longer or a cut epoch is the same program.
    """

    def body(step: AnyArray, carry: tuple[TrainState, Sums]) -> tuple[TrainState, Sums]:
        state, sums = carry
        state, loss, ordering = _step(model, recipe, batch_size, state, tiles, epoch, step)
        bad = (sums.bad_step < 0) & ~jnp.isfinite(loss)
        bad_step = jnp.where(bad, step, sums.bad_step)
        return state, Sums(sums.loss + loss, sums.ranking_loss + ordering, bad_step)

    if one_step:
        return body(first, (state, sums))
    return jax.lax.fori_loop(first, last, body, (state, sums))


def _steps_alone() -> bool:
    """Whether a call is one step rather than a whole epoch.

    A whole epoch leaves no gaps between launches, but XLA's CPU backend runs the weight gradient of a
    convolution fifty times slower inside a loop (jax issue 12868).
    """
    return jax.default_backend() == "cpu"


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
    pending = None
    for index in range(recipe.epochs):
        epoch = _make_epoch(recipe, index, epoch_key(index), labelled)
        state, sums = _run_epoch(model, recipe, batch_size, state, tiles, epoch, num_steps)
        # Reading a result waits for the device, so an epoch is read while the next one runs.
        if pending is not None:
            _check(*pending, num_steps, on_epoch)
        pending = (index, sums)
    if pending is not None:
        _check(*pending, num_steps, on_epoch)
    return state.variables


def _make_epoch(recipe: Recipe, index: int, key: Array, labelled: np.ndarray) -> Epoch:
    order_key, step_key = jax.random.split(key)
    joint = index < round(recipe.cut_at * recipe.epochs)
    rate = np.asarray(learning_rate(recipe, index), np.float32)
    return Epoch(step_key, _shuffled(order_key, labelled), rate, np.asarray(joint, np.float32))


def _run_epoch(
    model: Model, recipe: Recipe, batch_size: int, state: TrainState, tiles: Tiles, epoch: Epoch, num_steps: int
) -> tuple[TrainState, Sums]:
    sums = Sums(jnp.zeros(()), jnp.zeros(()), jnp.array(-1, jnp.int32))
    one_step = _steps_alone()
    for first in range(num_steps) if one_step else (0,):
        bounds = np.asarray(first, np.int32), np.asarray(num_steps, np.int32)
        state, sums = _advance(model, recipe, batch_size, state, sums, tiles, epoch, *bounds, one_step)
    return state, sums


def _check(index: int, sums: Sums, num_steps: int, on_epoch: Callable[[int, float], None]) -> None:
    if int(sums.bad_step) >= 0:
        raise NonFiniteLossError(
            f"the loss is not finite in epoch {index + 1}, step {int(sums.bad_step) + 1} of {num_steps}: "
            "lower the learning rate, or look for broken pixels"
        )
    on_epoch(index, float(sums.loss) / num_steps)
