"""One step of a training, and the steps of a fit: what reaches them of the recipe, the tiles and the epoch."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax.data.augmentation import augment, standardise
from aljax.networks.losses import random_pairs
from aljax.networks.model import Model, Variables, init_variables
from aljax.training import fitting
from aljax.training.fitting import begin_fit
from aljax.training.recipe import Recipe, make_optimizer
from aljax.training.steps import Batch, Epoch, total_loss, train_on_batch

RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=0.05)


@pytest.fixture(scope="module")
def start(ll_model: Model) -> Variables:
    return init_variables(jax.random.key(0), ll_model, 32, 3)


def largest_difference(first: Mapping, second: Mapping) -> float:
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), first, second)))


def test_margin_weight_and_cut_of_the_recipe_reach_the_loss(ll_model, start, tiles) -> None:
    images, labels = jax.random.normal(jax.random.key(1), (4, 32, 32, 3)), tiles.pool.labels[:4]
    pairs = random_pairs(jax.random.key(2), 4)

    @partial(jax.jit, static_argnums=0)
    def gradient(recipe: Recipe, scale: float) -> tuple[Mapping, jax.Array]:
        def loss(params: Mapping) -> tuple[jax.Array, jax.Array]:
            variables = {**start, "params": params}
            total, (ordering, _) = total_loss(ll_model, recipe, variables, images, labels, pairs, jnp.float32(scale))
            return total, ordering

        return jax.grad(loss, has_aux=True)(start["params"])

    # With margins this wide every pair counts; without its weight the term is computed all the same.
    weighted, unweighted = Recipe(ranking_margin=50.0), Recipe(ranking_margin=100.0, ranking_weight=0.0)
    (cut, _), (joint, near), (alone, far) = gradient(weighted, 0.0), gradient(weighted, 1.0), gradient(unweighted, 1.0)
    assert float(far - near) == pytest.approx(50.0, rel=1e-4)
    assert largest_difference(cut["network"], alone["network"]) < 1e-5
    assert largest_difference(joint["network"], alone["network"]) > 1e-3
    assert largest_difference(cut["loss_head"], joint["loss_head"]) < 1e-5


def test_step_augments_standardises_keeps_statistics_and_goes_by_the_epochs_rate(ll_model, start, tiles) -> None:
    images, labels = np.asarray(tiles.pool.images)[tiles.pool.indices[:4]], tiles.pool.labels[:4]
    augment_key, pair_key = jax.random.split(jax.random.fold_in(jax.random.key(5), 3))
    seen = standardise(augment(augment_key, images), tiles.pool.statistics)

    def objective(params: Mapping) -> tuple:
        variables = {**start, "params": params}
        return total_loss(ll_model, RECIPE, variables, seen, labels, random_pairs(pair_key, 4), jnp.float32(1))

    (loss, (_, stats)), gradient = jax.jit(jax.value_and_grad(objective, has_aux=True))(start["params"])
    fit = begin_fit(RECIPE, start)
    epoch = Epoch(jax.random.key(5), np.float32(0.01), np.float32(1))
    (state, sums), _ = train_on_batch(
        ll_model,
        RECIPE,
        fit.state,
        fit.sums,
        Batch(images, labels),
        tiles.pool.statistics,
        epoch,
        np.asarray(3, np.int32),
    )
    assert float(sums.loss) == pytest.approx(float(loss), rel=1e-4)
    for after, expected in zip(jax.tree.leaves(state.variables["batch_stats"]), jax.tree.leaves(stats), strict=True):
        np.testing.assert_allclose(after, expected, rtol=1e-3, atol=1e-4)
    # Biases do not decay, so the first step is rate times gradient.
    before, after, slope = (
        tree["network"]["head"]["bias"] for tree in (start["params"], state.variables["params"], gradient)
    )
    np.testing.assert_allclose(after, before - 0.01 * slope, rtol=1e-3, atol=1e-6)


def test_fit_has_the_rates_keys_and_orders_of_its_epochs(model, tiles, monkeypatch) -> None:
    epochs, rows, sums, losses = [], [], [], []
    step, labels_of = fitting.train_on_batch, type(tiles.pool).labels_of

    def record_epoch(network, recipe, state, so_far, batch, statistics, epoch, number):
        key = tuple(jax.random.key_data(epoch.key).tolist())
        epochs.append((float(epoch.learning_rate), float(epoch.head_gradient), key))
        return step(network, recipe, state, so_far, batch, statistics, epoch, number)

    monkeypatch.setattr(fitting, "train_on_batch", record_epoch)
    monkeypatch.setattr(
        type(tiles.pool), "labels_of", lambda self, chosen: rows.append(tuple(chosen)) or labels_of(self, chosen)
    )
    recipe = Recipe(epochs=5, batch_size=4, learning_rate=0.05)
    fitting.fit(
        model,
        recipe,
        begin_fit(recipe, init_variables(jax.random.key(0), model, 32, 3)),
        tiles.pool,
        np.arange(tiles.pool.num_tiles) < 8,
        lambda epoch: jax.random.fold_in(jax.random.key(7), epoch),
        lambda epoch, loss: losses.append(loss),
        lambda fit: sums.append((fit.step, float(fit.sums.loss))),
    )
    assert [rate for rate, _, _ in epochs] == pytest.approx([0.05] * 8 + [0.005] * 2)
    assert [scale for _, scale, _ in epochs] == [1.0] * 6 + [0.0] * 4
    assert len({key for _, _, key in epochs}) == 5
    assert len({(*rows[index], *rows[index + 1]) for index in range(0, 10, 2)}) > 1
    assert losses == pytest.approx([total / 2 for step, total in sums if step == 2])


def test_weight_decay_is_of_the_networks_kernels_alone() -> None:
    params = {part: {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)} for part in ("network", "loss_head")}
    optimizer = make_optimizer(Recipe(weight_decay=0.1))
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    np.testing.assert_allclose(updates["network"]["kernel"], np.full((2, 2), 0.1), rtol=1e-6)
    assert not np.any(updates["network"]["bias"])
    assert not np.any(updates["loss_head"]["kernel"])


def test_what_the_paper_leaves_open_is_as_the_readme_says() -> None:
    recipe = Recipe()
    assert (recipe.momentum, recipe.weight_decay, recipe.ranking_weight) == (0.0, 5e-4, 0.1)
    assert (recipe.ranking_margin, recipe.head_rate) == (1.0, 1.0)  # the paper's
