"""Eq. 1 and 2 against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from aljax import bce_loss, ranking_loss
from aljax.networks.losses import random_pairs


def test_bce_is_summed_over_classes_for_each_tile() -> None:
    logits = np.array([[0.0, 0.0, 0.0], [2.0, -1.0, 0.0]], np.float32)
    labels = np.array([[1, 0, 1], [1, 1, 0]], np.uint8)
    p = 1 / (1 + np.exp(-logits[1]))
    by_hand = [3 * np.log(2), -(np.log(p[0]) + np.log(p[1]) + np.log(1 - p[2]))]
    np.testing.assert_allclose(bce_loss(logits, labels), by_hand, rtol=1e-6)


def test_bce_takes_whole_numbers_whatever_types_jax_has_by_default() -> None:
    with jax.numpy_dtype_promotion("strict"):
        loss = bce_loss(np.zeros((2, 3), np.float32), np.ones((2, 3), np.uint8))
    np.testing.assert_allclose(loss, np.full(2, 3 * np.log(2.0)), rtol=1e-6)


def test_bce_stays_finite_for_certain_and_wrong_logits() -> None:
    loss = bce_loss(np.array([[1e4, -1e4]], np.float32), np.array([[0, 1]]))
    np.testing.assert_allclose(loss, [2e4])


def test_bce_gradient_is_probability_minus_label() -> None:
    logits, labels = jnp.array([[0.3, -2.0, 1.0]]), jnp.array([[1.0, 0.0, 0.0]])
    np.testing.assert_allclose(
        jax.grad(lambda x: bce_loss(x, labels).sum())(logits), jax.nn.sigmoid(logits) - labels, rtol=1e-5
    )
    check_grads(lambda x: bce_loss(x, labels), (logits,), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)


def test_ranking_loss_rows_worked_out_by_hand() -> None:
    true = np.array([[2.0, 1.0], [2.0, 1.0], [1.0, 2.0], [1.0, 1.0]], np.float32)
    predicted = np.array([[3.0, 0.5], [0.5, 3.0], [1.0, 1.5], [5.0, 0.0]], np.float32)
    # Right by more than the margin; wrong by 2.5; right by half; equal true losses have no order: the margin.
    np.testing.assert_allclose(ranking_loss(predicted, true), [0.0, 3.5, 0.5, 1.0])
    np.testing.assert_allclose(ranking_loss(predicted, true, margin=0.25), [0.0, 2.75, 0.0, 0.25])


def test_no_gradient_flows_through_the_true_losses() -> None:
    predicted, true = jnp.array([[0.1, 0.2]]), jnp.array([[2.0, 1.0]])
    gradient = jax.grad(lambda p, t: ranking_loss(p, t).sum(), argnums=(0, 1))(predicted, true)
    np.testing.assert_array_equal(gradient[0], [[-1.0, 1.0]])
    np.testing.assert_array_equal(gradient[1], [[0.0, 0.0]])


@pytest.mark.parametrize("batch_size", [2, 7, 10])
def test_pairs_are_disjoint_and_half_the_batch(batch_size: int) -> None:
    pairs = np.asarray(random_pairs(jax.random.key(0), batch_size))
    assert pairs.shape == (batch_size // 2, 2)
    assert len(np.unique(pairs)) == pairs.size
    assert pairs.min() >= 0
    assert pairs.max() < batch_size
    assert any(np.any(pairs != np.asarray(random_pairs(jax.random.key(seed), batch_size))) for seed in range(1, 5))
