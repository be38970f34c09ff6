"""Thresholds that are fitted to validation tiles: the best of all that there are."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from aljax.loop.thresholds import fit_threshold


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
