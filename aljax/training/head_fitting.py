"""The fit of a head on frozen features to all labelled tiles at once, by L-BFGS.

The loss of a linear head has one minimum, so neither the start nor randomness decides the result. The labelled tiles
are padded to few sizes (`capacity`), so that few programs are compiled in a run.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, UInt8

from aljax.arrays import AnyArray
from aljax.data.archive import Tiles
from aljax.errors import DivergedError
from aljax.networks.densenet import Outputs
from aljax.networks.losses import bce_loss, random_pairs, ranking_loss
from aljax.networks.model import Model, Variables, forward
from aljax.training.recipe import Recipe
from aljax.xla.compiling import jit

# Values of `l2` among which the validation tiles choose, strongest first: each fit starts from the one before.
L2_GRID = (0.1, 0.03, 0.01, 0.003)
# L-BFGS ends when the norm of the gradient is below TOLERANCE * `l2`, or after MAX_STEPS; MEMORY is its history length.
TOLERANCE, MAX_STEPS, MEMORY = 0.1, 300, 10
LOSS_HEAD_STEPS, LOSS_HEAD_RATE = 100, 3e-3  # of Adam, for the loss head of LL


class Examples(NamedTuple):
    """Features and labels of tiles, padded to n rows."""

    features: Float[AnyArray, "n 1 1 d"]
    """Standardised."""
    labels: UInt8[AnyArray, "n c"]
    weights: Float[AnyArray, " n"]
    """1, or 0 for padding."""


def fit_head(
    model: Model,
    recipe: Recipe,
    variables: Variables,
    tiles: Tiles,
    labelled: Bool[np.ndarray, " n"],
    validation: Tiles | None,
    key: Array,
) -> Variables:
    """Variables with a head that minimises the loss of the labelled tiles, and the loss head fitted where there is one.

    The search starts from `variables`. If `recipe.l2` is 0, the loss of the validation tiles chooses from `L2_GRID`.
    Raises DivergedError if the loss is not finite.
    """
    examples = _examples(tiles, np.flatnonzero(labelled), capacity(int(labelled.sum())))
    params = variables["params"]["network"]
    if recipe.l2 > 0.0 or validation is None or not validation.num_tiles:
        params, loss = minimise(model, params, examples, np.asarray(recipe.l2 or L2_GRID[-2], np.float32))
    else:
        held_back = _examples(validation, np.arange(validation.num_tiles), validation.num_tiles)
        best = math.inf
        found, loss = params, jnp.zeros(())
        for l2 in L2_GRID:
            params, reached = minimise(model, params, examples, np.asarray(l2, np.float32))
            score = float(mean_loss(model, params, held_back))
            if score < best:
                best, found, loss = score, params, reached
        params = found
    if not np.isfinite(float(loss)):
        raise DivergedError("the loss of the head is not finite: look for features that are not, or raise --l2")
    trained = {"params": {**variables["params"], "network": params}, "batch_stats": {}}
    if model.loss_head is not None:
        loss_head = train_loss_head(model, recipe.ranking_margin, trained, examples, key)
        trained["params"]["loss_head"] = loss_head
    return trained


def capacity(count: int) -> int:
    """The number of rows to which `count` tiles are padded: a power of two, at least 128."""
    return max(128, 1 << (count - 1).bit_length())


def _examples(tiles: Tiles, rows: np.ndarray, size: int) -> Examples:
    features = np.zeros((size, *tiles.images.shape[1:]), np.float32)
    labels = np.zeros((size, tiles.labels.shape[1]), np.uint8)
    order = np.argsort(tiles.indices[rows])  # read in the order of the file
    rows = rows[order]
    # By NumPy: JAX would compile a program for each number of rows.
    features[: len(rows)] = (tiles.read(rows).astype(np.float32) - tiles.statistics.mean) / tiles.statistics.deviation
    labels[: len(rows)] = tiles.labels[rows]
    return Examples(features, labels, (np.arange(size) < len(rows)).astype(np.float32))


def _objective(model: Model, params: Any, examples: Examples, l2: Float[AnyArray, ""]) -> Float[Array, ""]:
    """Mean of eq. 1 over the tiles, plus half of `l2` times the sum of the squared kernels."""
    outputs = model.network.apply({"params": params}, examples.features)
    assert isinstance(outputs, Outputs)
    losses = bce_loss(outputs.logits, examples.labels)
    squares = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(params) if leaf.ndim > 1)
    return (losses * examples.weights).sum() / examples.weights.sum() + 0.5 * l2 * squares


@jit(static=("model",))
def mean_loss(model: Model, params: Any, examples: Examples) -> Float[Array, ""]:
    """Mean of eq. 1 over the tiles, without a penalty."""
    return _objective(model, params, examples, jnp.zeros(()))


@jit(static=("model",))
def minimise(model: Model, params: Any, examples: Examples, l2: Float[AnyArray, ""]) -> tuple[Any, Float[Array, ""]]:
    """The parameters that L-BFGS finds from `params`, and the objective there."""

    def objective(params: Any) -> Array:
        return _objective(model, params, examples, l2)

    solver = optax.lbfgs(memory_size=MEMORY)
    value_and_grad = optax.value_and_grad_from_state(objective)

    def unfinished(carry: tuple[Any, Any, Array, Array]) -> Array:
        _, _, step, norm = carry
        return (step < MAX_STEPS) & (norm > TOLERANCE * l2)

    def iterate(carry: tuple[Any, Any, Array, Array]) -> tuple[Any, Any, Array, Array]:
        params, state, step, _ = carry
        value, gradient = value_and_grad(params, state=state)
        updates, state = solver.update(gradient, state, params, value=value, grad=gradient, value_fn=objective)
        return optax.apply_updates(params, updates), state, step + 1, optax.tree.norm(gradient)

    start = params, solver.init(params), jnp.zeros((), int), jnp.full((), jnp.inf)
    params, _, _, _ = jax.lax.while_loop(unfinished, iterate, start)
    return params, objective(params)


@jit(static=("model", "margin"))
def train_loss_head(model: Model, margin: float, variables: Variables, examples: Examples, key: Array) -> Any:
    """Parameters of the loss head, trained by Adam on the loss order of random pairs of tiles (eq. 2)."""
    outputs, _, _ = forward(model, variables, jnp.asarray(examples.features), train=False)
    true = bce_loss(outputs.logits, examples.labels)
    optimizer = optax.adam(LOSS_HEAD_RATE)
    assert model.loss_head is not None
    head = model.loss_head

    def objective(params: Any, pairs: Array) -> Array:
        predicted = head.apply({"params": params}, outputs.blocks)
        assert isinstance(predicted, jax.Array)
        weights = examples.weights[pairs].prod(-1)
        losses = ranking_loss(predicted[pairs], true[pairs], margin)
        return (losses * weights).sum() / jnp.maximum(weights.sum(), 1.0)

    def iterate(step: Array | int, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        params, state = carry
        pairs = random_pairs(jax.random.fold_in(key, step), len(true))
        updates, state = optimizer.update(jax.grad(objective)(params, pairs), state, params)
        return optax.apply_updates(params, updates), state

    params = variables["params"]["loss_head"]
    return jax.lax.fori_loop(0, LOSS_HEAD_STEPS, iterate, (params, optimizer.init(params)))[0]
