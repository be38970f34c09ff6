"""Metrics worked out by hand, and beside scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from aljax.arrays import UNKNOWN
from aljax.loop.metrics import evaluate


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


def draw_unknown(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels of 40 tiles, a third of the cells unknown."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random((40, 4)) < 0.3, UNKNOWN, rng.integers(0, 2, (40, 4))).astype(np.uint8)
    return rng.random((40, 4)).astype(np.float32), labels


def test_metrics_are_those_of_the_known_cells() -> None:
    probabilities, labels = draw_unknown()
    found = evaluate(probabilities, labels)
    cells = [(labels[rows, index], probabilities[rows, index]) for index, rows in enumerate((labels != UNKNOWN).T)]
    assert {len(truth) for truth, _ in cells} != {40}
    each = [f1_score(truth, scores > 0.5) for truth, scores in cells]
    assert found.class_f1 == pytest.approx(each)
    assert found.macro_f1 == pytest.approx(np.mean(each))
    truth, scores = (np.concatenate(part) for part in zip(*cells, strict=True))
    assert found.micro_f1 == pytest.approx(f1_score(truth, scores > 0.5))
    precisions = [average_precision_score(truth, scores) for truth, scores in cells]
    assert found.mean_average_precision == pytest.approx(np.mean(precisions))


def test_class_that_is_known_on_no_tile_counts_as_one_without_a_positive() -> None:
    probabilities, labels = draw_unknown()
    without = labels.copy()
    without[:, 1] = UNKNOWN
    found, absent = evaluate(probabilities, without), np.where(without == UNKNOWN, 0, without)
    assert found.class_f1[1] == 0.0
    assert np.isfinite(found[:3]).all()
    assert evaluate(np.where(without == UNKNOWN, 0, probabilities), absent).class_f1 == found.class_f1


def test_unknown_is_a_value_of_tables_of_labels_alone() -> None:
    _, labels = draw_unknown()
    with pytest.raises(ValueError, match="labels are not all 0 or 1"):
        evaluate(np.zeros(labels.shape), labels.astype(int))
