"""Thresholds that are fitted to validation tiles: the best of all that there are."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from aljax.arrays import UNKNOWN
from aljax.loop.thresholds import SHRINKAGE, fit_class_thresholds, fit_threshold


def draw(seed: int, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that dare too little, with ties where they are rounded, and labels."""
    rng = np.random.default_rng(seed)
    true = rng.random((40, 5))
    return (true**2).round(decimals).astype(np.float32), (rng.random((40, 5)) < true).astype(np.uint8)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decimals", [1, 6])
def test_no_threshold_has_a_better_f1(seed: int, decimals: int) -> None:
    probabilities, labels = draw(seed, decimals)
    found = fit_threshold(probabilities, labels)
    scores = [f1_score(labels, probabilities > t, average="micro", zero_division=0) for t in np.linspace(0, 1, 2001)]
    assert f1_score(labels, probabilities > found, average="micro") >= max(scores)
    assert 0.0 <= found < 0.5  # it makes up for what the probabilities lack


def test_one_half_is_taken_where_it_is_among_the_best() -> None:
    labels = np.array([[1, 0], [1, 0]], np.uint8)
    assert fit_threshold(np.array([[0.9, 0.2], [0.8, 0.1]], np.float32), labels) == 0.5
    assert fit_threshold(np.array([[0.4, 0.2], [0.3, 0.1]], np.float32), labels) == pytest.approx(0.25)
    assert fit_threshold(np.array([[0.9, 0.7], [0.8, 0.6]], np.float32), labels) == pytest.approx(0.75)


def test_one_half_is_taken_where_there_is_nothing_to_fit() -> None:
    assert fit_threshold(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8)) == 0.5
    assert fit_threshold(np.full((4, 3), 0.3, np.float32), np.zeros((4, 3), np.uint8)) == 0.5


def test_everything_is_a_hit_where_every_label_is_there() -> None:
    probabilities = np.array([[0.0, 0.2]], np.float32)
    found = fit_threshold(probabilities, np.ones((1, 2), np.uint8))
    assert found == pytest.approx(0.0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("decimals", [1, 6])
def test_a_class_with_many_tiles_has_its_own_best_threshold(seed: int, decimals: int, monkeypatch) -> None:
    monkeypatch.setattr("aljax.loop.thresholds.SHRINKAGE", 0)
    probabilities, labels = draw(seed, decimals)
    thresholds = np.vstack(
        [np.repeat(np.linspace(0, 1, 2001)[:, None], 5, 1), fit_class_thresholds(probabilities, labels)]
    )
    predicted = probabilities > thresholds[:, None]  # (thresholds, tiles, classes)
    f1 = 2 * (predicted & (labels == 1)).sum(1) / (predicted.sum(1) + labels.sum(0))
    np.testing.assert_array_equal(f1[-1], f1.max(0))


@pytest.mark.parametrize("seed", range(3))
def test_class_thresholds_are_drawn_to_the_common_one_the_more_the_fewer_tiles_there_are(seed: int) -> None:
    probabilities, labels = draw(seed, 6)
    labels[:, 0], labels[1:, 1] = 0, 0
    found, common = fit_class_thresholds(probabilities, labels), fit_threshold(probabilities, labels)
    assert found[0] == pytest.approx(common)  # no positive tile
    for index in range(1, 5):
        one = slice(index, index + 1)
        own, positives = fit_threshold(probabilities[:, one], labels[:, one]), int(labels[:, index].sum())
        assert found[index] == pytest.approx((positives * own + SHRINKAGE * common) / (positives + SHRINKAGE))
        assert min(own, common) <= found[index] <= max(own, common)
    again = fit_class_thresholds(np.tile(probabilities, (50, 1)), np.tile(labels, (50, 1)))
    assert all(abs(again - common)[1:] >= abs(found - common)[1:])  # with fifty times the tiles they differ more


def test_order_of_tiles_and_of_classes_changes_no_threshold() -> None:
    probabilities, labels = draw(0, 6)
    rows, columns = np.random.default_rng(0).permutation(40), np.array([3, 0, 4, 1, 2])
    found = fit_class_thresholds(probabilities[rows][:, columns], labels[rows][:, columns])
    np.testing.assert_allclose(found, fit_class_thresholds(probabilities, labels)[columns])


def test_class_thresholds_are_one_half_where_there_is_nothing_to_fit() -> None:
    np.testing.assert_array_equal(fit_class_thresholds(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8)), 0.5)


def test_unknown_cells_fit_no_threshold() -> None:
    probabilities, labels = draw(1, 6)
    hidden = np.random.default_rng(2).random(labels.shape) < 0.4
    table = np.where(hidden, UNKNOWN, labels).astype(np.uint8)
    common = fit_threshold(probabilities, table)
    assert common == fit_threshold(probabilities[~hidden][:, None], labels[~hidden][:, None])
    for index, found in enumerate(fit_class_thresholds(probabilities, table)):
        rows = ~hidden[:, index]
        own = fit_threshold(probabilities[rows][:, [index]], labels[rows][:, [index]])
        positives = int(labels[rows, index].sum())
        assert found == pytest.approx((positives * own + SHRINKAGE * common) / (positives + SHRINKAGE))
    assert fit_threshold(probabilities, np.full_like(table, UNKNOWN)) == 0.5
