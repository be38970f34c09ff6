"""Metrics worked out by hand, and beside scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from aljax.loop.metrics import evaluate, rank_correlation, true_losses


def test_metrics_worked_out_by_hand() -> None:
    labels = np.array([[1, 0], [1, 1], [0, 0], [0, 0]], np.uint8)
    probabilities = np.array([[0.9, 0.8], [0.2, 0.7], [0.6, 0.1], [0.1, 0.5]], np.float32)
    # Class 0: one hit, one miss, one false alarm. Class 1: one hit, one false alarm; 0.5 is not above 0.5.
    result = evaluate(probabilities, labels)
    assert result.micro_f1 == pytest.approx(2 * 2 / (2 * 2 + 2 + 1))
    assert result.macro_f1 == pytest.approx((0.5 + 2 / 3) / 2)
    assert result.mean_average_precision == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)


def test_class_without_a_positive_counts_in_macro_f1_but_not_in_average_precision() -> None:
    labels = np.array([[1, 0], [0, 0]], np.uint8)
    result = evaluate(np.array([[0.9, 0.1], [0.1, 0.1]], np.float32), labels)
    assert result.macro_f1 == pytest.approx(f1_score(labels, labels, average="macro", zero_division=0)) == 0.5
    assert result.mean_average_precision == 1.0


def test_one_class_has_the_f1_of_the_tiles_that_have_it() -> None:
    labels = np.array([[1], [1], [0], [0], [0]], np.uint8)
    result = evaluate(np.array([[0.9], [0.1], [0.1], [0.1], [0.8]], np.float32), labels)
    assert (result.micro_f1, result.macro_f1, result.class_f1) == (0.5, 0.5, (0.5,))
    nothing = evaluate(np.full((5, 1), 0.1, np.float32), np.zeros((5, 1), np.uint8))
    assert nothing == (0.0, 0.0, 0.0, (0.0,))


def test_true_losses_by_hand_are_finite_where_the_network_was_certain() -> None:
    losses = true_losses(np.array([[0.5, 0.25], [1.0, 0.0]], np.float32), np.array([[1, 0], [1, 1]], np.uint8))
    np.testing.assert_allclose(losses[0], np.log(2) + np.log(4 / 3), rtol=1e-6)
    assert 80 < losses[1] < 90


def test_rank_correlation_is_that_of_the_orders_alone() -> None:
    assert rank_correlation(np.array([1.0, 2.0, 30.0]), np.array([0.1, 0.2, 0.3])) == pytest.approx(1.0)
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([9.0, 1.0, 4.0])) == pytest.approx(-0.5)
    assert rank_correlation(np.ones(3), np.arange(3.0)) is None
    assert rank_correlation(np.ones(1), np.ones(1)) is None
