"""Labels that nobody knows: a fit is the one without their terms, whatever the network says of these cells."""

from collections.abc import Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from sklearn.linear_model import LogisticRegression

from aljax.arrays import UNKNOWN
from aljax.data.archive import Archive, Tiles, random_split, split_tiles
from aljax.networks.head import Head, unit_features
from aljax.networks.losses import bce_loss, random_pairs
from aljax.networks.model import Model, init_variables
from aljax.training.fitting import begin_fit, fit
from aljax.training.head_fitting import L2_GRID, Examples, _objective
from aljax.training.recipe import Recipe
from aljax.training.steps import total_loss

BATCH, CLASSES = 6, 3


def hide(labels: np.ndarray, share: float = 0.3, seed: int = 0) -> np.ndarray:
    """The labels with some of their cells unknown, and never all of a tile."""
    hidden = np.random.default_rng(seed).random(labels.shape) < share
    hidden[:, 0] &= ~hidden.all(1)
    return np.where(hidden, UNKNOWN, labels).astype(np.uint8)


def by_hand(logits: Array, labels: np.ndarray) -> Array:
    """Eq. 1 of each tile, term by term, over the cells that are known."""
    terms = [
        [jax.nn.softplus(-logit if label else logit) for logit, label in zip(*row, strict=True) if label != UNKNOWN]
        for row in zip(logits, labels.tolist(), strict=True)
    ]
    return jnp.stack([jnp.stack(row).sum() for row in terms])


def assert_same(found: Mapping, expected: Mapping, tolerance: float) -> None:
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_loss_and_its_gradient_are_those_of_the_known_cells() -> None:
    logits = jax.random.normal(jax.random.key(0), (BATCH, CLASSES)) * 5
    labels = hide(np.random.default_rng(1).integers(0, 2, (BATCH, CLASSES)))
    np.testing.assert_allclose(bce_loss(logits, labels), by_hand(logits, labels), rtol=1e-6)
    found, expected = (jax.grad(lambda x, of=loss: of(x, labels).mean())(logits) for loss in (bce_loss, by_hand))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(np.asarray(found)[labels == UNKNOWN], 0.0)


@pytest.mark.parametrize("wild", [np.inf, -np.inf, np.nan, 3e38])
def test_nothing_comes_from_a_hidden_cell_whatever_stands_there(wild: float) -> None:
    logits, labels = np.array([[0.3, wild], [1.0, -2.0]], np.float32), np.array([[1, UNKNOWN], [0, 1]], np.uint8)
    loss, gradient = jax.value_and_grad(lambda x: bce_loss(x, labels).sum())(logits)
    calm, same = jax.value_and_grad(lambda x: bce_loss(x, labels).sum())(np.where(labels == UNKNOWN, 0, logits))
    assert float(loss) == float(calm)
    np.testing.assert_array_equal(gradient, same)


@pytest.mark.parametrize("of", ["model", "ll_model"])
def test_step_of_a_network_has_the_gradient_without_the_hidden_terms(of: str, request, monkeypatch) -> None:
    model = request.getfixturevalue(of)
    variables = init_variables(jax.random.key(0), model, 32, 3)
    images = jax.random.normal(jax.random.key(1), (BATCH, 32, 32, 3))
    labels = hide(np.random.default_rng(2).integers(0, 2, (BATCH, CLASSES)))
    pairs, recipe = random_pairs(jax.random.key(2), BATCH), Recipe(ranking_margin=50.0)

    def gradient() -> Mapping:
        def loss(params: Mapping) -> Array:
            whole = {**variables, "params": params}
            return total_loss(model, recipe, whole, images, labels, pairs, jnp.float32(1))[0]

        return jax.jit(jax.grad(loss))(variables["params"])

    found = gradient()
    monkeypatch.setattr("aljax.training.steps.bce_loss", by_hand)
    assert_same(found, gradient(), 1e-4)


def make_tiles(labels: np.ndarray, vectors: np.ndarray) -> Tiles:
    names = tuple(map(str, range(labels.shape[1])))
    archive = Archive("features", vectors[:, None, None], labels, tuple(map(str, range(len(labels)))), names)
    return split_tiles(archive, random_split(0, len(labels), 20, 20), 0).pool


@pytest.fixture(scope="module")
def pool() -> Tiles:
    rng = np.random.default_rng(0)
    labels = (rng.random((120, CLASSES)) < 0.4).astype(np.uint8)
    vectors = rng.normal(size=(120, 12)) + 1.5 * labels @ rng.normal(size=(CLASSES, 12))
    return make_tiles(hide(labels), vectors.astype(np.float32))


def test_head_is_fitted_for_each_class_to_the_tiles_on_which_it_is_known(pool: Tiles) -> None:
    model, count, l2 = Model(Head(CLASSES)), pool.num_tiles, 0.03
    start = begin_fit(Recipe(), init_variables(jax.random.key(0), model, 1, 12))
    variables = fit(model, Recipe(l2=l2), start, pool, np.ones(count, bool), lambda epoch: jax.random.key(epoch))
    head = variables["params"]["network"]["head"]
    inputs = np.asarray(unit_features(pool.read(np.arange(count)) - pool.statistics.mean)).reshape(count, -1)
    for column in range(CLASSES):
        known = pool.labels[:, column] != UNKNOWN
        assert 0 < known.sum() < count
        yardstick = LogisticRegression(C=1.0 / (l2 * count), tol=1e-8, max_iter=1000)
        yardstick.fit(inputs[known], pool.labels[known, column])
        np.testing.assert_allclose(head["kernel"][:, column], yardstick.coef_[0], atol=0.03)
        np.testing.assert_allclose(head["bias"][column], yardstick.intercept_[0], atol=0.06)


def test_head_has_the_gradient_without_the_hidden_terms(pool: Tiles, monkeypatch) -> None:
    model = Model(Head(CLASSES, 5))
    params = init_variables(jax.random.key(0), model, 1, 12)["params"]["network"]
    features = jnp.asarray(pool.read(np.arange(16)))
    examples = Examples(features, pool.labels[:16], np.ones(16, np.float32))

    def gradient() -> Mapping:
        return jax.grad(lambda params: _objective(model, params, examples, jnp.float32(L2_GRID[0])))(params)

    found = gradient()
    monkeypatch.setattr("aljax.training.head_fitting.bce_loss", by_hand)
    assert_same(found, gradient(), 1e-5)


def test_cells_that_are_hidden_change_no_fit(pool: Tiles) -> None:
    model = Model(Head(CLASSES))
    start = init_variables(jax.random.key(0), model, 1, 12)
    labels = pool.labels.copy()
    labels[:, 2] = UNKNOWN
    heads = []
    for classes in (labels, labels[:, :2]):
        variables = {**start, "params": jax.tree.map(lambda leaf, n=classes.shape[1]: leaf[..., :n], start["params"])}
        one, tiles = Model(Head(classes.shape[1])), replace(pool, labels=classes)
        everything = np.ones(pool.num_tiles, bool)
        fitted = fit(
            one, Recipe(), begin_fit(Recipe(), variables), tiles, everything, lambda epoch: jax.random.key(epoch)
        )
        heads.append(fitted["params"]["network"]["head"])
    np.testing.assert_allclose(heads[0]["kernel"][:, :2], heads[1]["kernel"], atol=2e-3)
    np.testing.assert_allclose(heads[0]["kernel"][:, 2], 0.0, atol=1e-2)  # the penalty alone is left
