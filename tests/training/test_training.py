"""Training: one program for every labelled set, the paper's optimisers and schedule, and nothing unlabelled."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax.data.archive import Archive, SplitTiles, Tiles, random_split, split_tiles
from aljax.data.augmentation import BandStatistics
from aljax.errors import DivergedError
from aljax.networks.model import Model, Variables, init_variables
from aljax.training import fitting
from aljax.training import steps as training
from aljax.training.fitting import Fit, begin_fit
from aljax.training.recipe import Recipe, for_labelled, learning_rate, make_optimizer
from aljax.training.steps import total_loss

RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=0.05)


def epoch_key(epoch: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(7), epoch)


def labelled(tiles: Tiles, count: int) -> np.ndarray:
    return np.arange(tiles.num_tiles) < count


def fit(model: Model, recipe: Recipe, variables: Variables, *arguments) -> Variables:
    return fitting.fit(model, recipe, begin_fit(recipe, variables), *arguments)


@pytest.fixture(scope="module")
def start(ll_model: Model) -> Variables:
    return init_variables(jax.random.key(0), ll_model, 32, 3)


def assert_equal(first: Variables, second: Variables) -> None:
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("on_device", [False, True])
def test_one_trace_serves_growing_labelled_sets_and_epochs(ll_model, start, archive, traces, on_device: bool) -> None:
    tiles = split_tiles(archive, random_split(0, len(archive.ids), 10, 10), 0, on_device)
    step = training.train_on_device if on_device else training.train_on_batch
    traces(step)
    for count, epochs in ((4, 1), (11, 3), (40, 2)):
        recipe = Recipe(epochs=2, batch_size=4, learning_rate=0.011)
        for _ in range(epochs):
            fit(ll_model, recipe, start, tiles.pool, labelled(tiles.pool, count), epoch_key)
    assert traces(step) == 1


def test_epochs_on_the_device_equal_steps_from_the_host(ll_model, start, archive: Archive) -> None:
    split = random_split(0, len(archive.ids), 10, 10)
    host, device = (split_tiles(archive, split, 0, on_device).pool for on_device in (False, True))
    by_steps, by_epochs = (fit(ll_model, RECIPE, start, pool, labelled(pool, 13), epoch_key) for pool in (host, device))
    for a, b in zip(jax.tree.leaves(by_steps), jax.tree.leaves(by_epochs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_unlabelled_tiles_have_no_influence(ll_model, start, tiles: SplitTiles) -> None:
    pool = tiles.pool
    mask = labelled(pool, 12)
    images, labels = np.array(pool.images), np.where(mask[:, None], pool.labels, 1 - pool.labels)
    images[pool.indices[~mask]] = 255
    spoilt = replace(pool, images=images, labels=labels)
    first, second = (fit(ll_model, RECIPE, start, part, mask, epoch_key) for part in (pool, spoilt))
    assert_equal(first, second)


def test_training_is_repeatable_and_leaves_its_start_alone(ll_model, start, tiles: SplitTiles) -> None:
    before = jax.tree.map(np.array, start)
    mask = labelled(tiles.pool, 12)
    first, second = (fit(ll_model, RECIPE, start, tiles.pool, mask, epoch_key) for _ in range(2))
    assert_equal(first, second)
    assert_equal(before, start)
    other = fit(ll_model, RECIPE, start, tiles.pool, mask, lambda epoch: epoch_key(epoch + 100))
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True))


def test_network_learns_its_labelled_tiles(model: Model, tiles: SplitTiles) -> None:
    losses: list[float] = []
    fit(
        model,
        Recipe(epochs=15, batch_size=8, learning_rate=0.05, momentum=0.9),
        init_variables(jax.random.key(0), model, 32, 3),
        tiles.pool,
        labelled(tiles.pool, 24),
        epoch_key,
        lambda epoch, loss: losses.append(loss),
    )
    assert len(losses) == 15
    assert losses[-1] < 0.3 * losses[0]


def test_smaller_labelled_set_than_a_batch_is_one_batch(model: Model, tiles: SplitTiles) -> None:
    start = init_variables(jax.random.key(0), model, 32, 3)
    losses: list[float] = []
    recipe = Recipe(epochs=2, batch_size=50)
    trained = fit(
        model, recipe, start, tiles.pool, labelled(tiles.pool, 3), epoch_key, lambda _, loss: losses.append(loss)
    )
    assert len(losses) == 2
    assert np.all(np.isfinite(losses))
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(trained), strict=True))


def test_steps_are_as_many_for_few_tiles_as_for_many(model: Model, tiles: SplitTiles) -> None:
    variables, recipe = init_variables(jax.random.key(0), model, 32, 3), Recipe(steps=6, batch_size=4)
    for count in (3, 8, 24):  # epochs of one, two and six steps
        steps: list[Fit] = []
        start = begin_fit(recipe, variables)
        chosen = labelled(tiles.pool, count)
        fitting.fit(model, recipe, start, tiles.pool, chosen, epoch_key, on_step=steps.append)
        assert len(steps) == 6
    assert for_labelled(Recipe(steps=240), 80).epochs == 30
    assert for_labelled(Recipe(steps=1), 80).epochs == 1
    assert for_labelled(Recipe(epochs=7), 80).epochs == 7


@pytest.mark.parametrize("on_device", [False, True])
def test_fit_goes_on_from_every_step_to_the_same_bytes(ll_model, start, archive, monkeypatch, on_device: bool) -> None:
    monkeypatch.setattr(fitting, "STEPS_PER_CALL", 2)
    pool = split_tiles(archive, random_split(0, len(archive.ids), 10, 10), 0, on_device).pool
    mask = labelled(pool, 13)  # three steps an epoch
    stands: list[Fit] = []
    losses: list[float] = []
    whole = fit(
        ll_model,
        RECIPE,
        start,
        pool,
        mask,
        epoch_key,
        lambda epoch, loss: losses.append(loss),
        lambda stand: stands.append(jax.tree.map(np.array, stand)),
    )
    steps = [(int(stand.epoch), int(stand.step)) for stand in stands]
    assert steps == ([(0, 2), (0, 3), (1, 2), (1, 3)] if on_device else [(e, s) for e in (0, 1) for s in (1, 2, 3)])
    for stand in stands:
        seen: list[float] = []
        going_on = Fit(*jax.tree.map(jnp.array, stand[:2]), int(stand.epoch), int(stand.step))
        rest = fitting.fit(
            ll_model,
            RECIPE,
            going_on,
            pool,
            mask,
            epoch_key,
            lambda epoch, loss, seen=seen: seen.append(loss),
        )
        assert_equal(whole, rest)
        assert seen == losses[int(stand.epoch) :]


@pytest.mark.parametrize("on_device", [False, True])
def test_non_finite_loss_stops_with_its_place(model: Model, archive: Archive, on_device: bool) -> None:
    pool = split_tiles(archive, random_split(0, len(archive.ids), 10, 10), 0, on_device).pool
    mean = np.array([np.nan, 0.0, 0.0], np.float32)
    broken = replace(pool, statistics=BandStatistics(mean, pool.statistics.deviation))
    start = init_variables(jax.random.key(0), model, 32, 3)
    with pytest.raises(DivergedError, match="epoch 1, step 1 of 3"):
        fit(model, RECIPE, start, broken, labelled(pool, 12), epoch_key)


def test_learning_rate_falls_to_a_tenth_after_80_of_100_and_160_of_200_epochs() -> None:
    paper = Recipe()
    assert [learning_rate(paper, epoch) for epoch in (0, 79)] == [0.025, 0.025]
    assert learning_rate(paper, 80) == pytest.approx(0.0025)
    assert learning_rate(replace(paper, epochs=200), 159) == 0.025
    assert learning_rate(replace(paper, epochs=200), 160) == pytest.approx(0.0025)


def test_gradient_of_the_loss_head_is_cut_after_60_of_100_epochs() -> None:
    scales = [float(fitting.make_epoch(Recipe(), epoch, epoch_key(epoch)).head_gradient) for epoch in (59, 60)]
    assert scales == [1.0, 0.0]


def test_optimiser_is_sgd_with_momentum_for_the_network_and_adam_for_the_loss_head() -> None:
    recipe = Recipe(momentum=0.9, weight_decay=0.1)
    params = {
        "network": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full((2,), 2.0)},
        "loss_head": {"kernel": jnp.full((2, 2), 2.0)},
    }
    gradient = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5), params)
    optimizer = make_optimizer(recipe)
    state = optimizer.init(params)
    first, state = optimizer.update(gradient, state, params)
    second, _ = optimizer.update(gradient, state, params)
    np.testing.assert_allclose(first["network"]["kernel"], 0.5 + 0.1 * 2.0)
    np.testing.assert_allclose(second["network"]["kernel"], 0.7 + 0.9 * 0.7, rtol=1e-6)
    np.testing.assert_allclose(first["network"]["bias"], 0.5)  # no decay
    np.testing.assert_allclose(first["loss_head"]["kernel"], 1.0, rtol=1e-4)  # Adam's first step is a unit step
    np.testing.assert_allclose(second["loss_head"]["kernel"], 1.0, rtol=1e-4)


def test_rate_of_the_loss_head_is_a_multiple_of_the_networks() -> None:
    params = {"network": {"kernel": jnp.ones((2, 2))}, "loss_head": {"kernel": jnp.ones((2, 2))}}
    updates = []
    for rate in (1.0, 0.04):
        optimizer = make_optimizer(Recipe(head_rate=rate))
        updates.append(optimizer.update(params, optimizer.init(params), params)[0])
    np.testing.assert_allclose(updates[1]["loss_head"]["kernel"], 0.04 * updates[0]["loss_head"]["kernel"])
    np.testing.assert_array_equal(updates[1]["network"]["kernel"], updates[0]["network"]["kernel"])


def test_total_loss_is_eq_3(ll_model, start, tiles: SplitTiles) -> None:
    from aljax.networks.losses import bce_loss, random_pairs, ranking_loss
    from aljax.networks.model import forward

    images = jax.random.normal(jax.random.key(1), (6, 32, 32, 3))
    labels = tiles.pool.labels[:6]
    pairs = random_pairs(jax.random.key(2), 6)
    recipe = Recipe(ranking_weight=0.7)
    objective = jax.jit(partial(total_loss, ll_model, recipe))
    loss, (ordering, _) = objective(start, images, labels, pairs, np.asarray(1.0, np.float32))
    outputs, predicted, _ = jax.jit(partial(forward, ll_model, train=True))(start, images)
    true = np.asarray(bce_loss(outputs.logits, labels))
    expected = 2 / 6 * np.sum(ranking_loss(np.asarray(predicted)[pairs], true[pairs]))
    np.testing.assert_allclose(ordering, expected, rtol=1e-4)
    np.testing.assert_allclose(loss, true.mean() + 0.7 * expected, rtol=1e-4)


def test_shuffling_gives_every_labelled_tile_once() -> None:
    mask = np.array([0, 1, 1, 0, 1, 0, 1, 1], dtype=bool)
    orders = [training.shuffle(jax.random.key(seed), mask).tolist() for seed in range(4)]
    assert all(sorted(order) == [1, 2, 4, 6, 7] for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_shuffling_gives_the_order_of_older_runs_which_sorted_the_whole_pool() -> None:
    mask = np.random.default_rng(0).random(40_000) < 0.5  # so many that some draw the same number
    drawn = jax.random.uniform(jax.random.key(3), mask.shape)
    assert len(np.unique(np.asarray(drawn)[mask])) < mask.sum()
    whole = np.asarray(jnp.argsort(jnp.where(mask, drawn, 2.0)))
    np.testing.assert_array_equal(training.shuffle(jax.random.key(3), mask), whole[: mask.sum()])


def test_weights_that_are_not_finite_after_the_last_step_are_named(model: Model, archive: Archive) -> None:
    pool = split_tiles(archive, random_split(0, len(archive.ids), 10, 10), 0).pool
    start = init_variables(jax.random.key(0), model, 32, 3)
    start["batch_stats"]["norm"]["var"] = start["batch_stats"]["norm"]["var"].at[0].set(jnp.inf)  # no loss shows it
    with pytest.raises(DivergedError, match="weights or batch statistics are not finite after the last epoch"):
        fit(model, RECIPE, start, pool, labelled(pool, 12), epoch_key)
