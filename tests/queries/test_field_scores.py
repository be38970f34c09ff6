"""Scores other than the paper's: by hand, against loops in NumPy, and in any batch, order and type."""

import inspect
import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from aljax.queries import (
    bald_scores,
    entropy_scores,
    least_confidence_scores,
    margin_scores,
    rarity_scores,
    residual_scores,
)

POSITIVES, NUM_LABELLED = np.array([0, 1, 7, 30, 12]), 30


def entropy_of(p: float) -> float:
    return -sum(q * math.log(q) for q in (p, 1.0 - p) if q > 0.0)


def slow_rarity(tile: list[float]) -> float:
    frequencies = [(count + 2) / NUM_LABELLED for count in POSITIVES]
    return sum(entropy_of(p) / math.sqrt(frequency) for p, frequency in zip(tile, frequencies, strict=True))


def slow_bald(draws: np.ndarray) -> float:
    """BALD of one tile, from its draws (K, C)."""
    mean = [sum(draw[index] for draw in draws) / len(draws) for index in range(draws.shape[1])]
    return sum(map(entropy_of, mean)) - sum(entropy_of(p) for draw in draws for p in draw) / len(draws)


# Name: the score (N,) of draws (K, N, C), and a slow score of one tile's draws (K, C). Only BALD uses more than draw 0.
SCORES: dict[str, tuple[Callable, Callable]] = {
    "entropy": (lambda draws: entropy_scores(draws[0]), lambda draws: sum(map(entropy_of, draws[0]))),
    "margin": (lambda draws: margin_scores(draws[0]), lambda draws: -sum(abs(2 * p - 1) for p in draws[0])),
    "least confidence": (
        lambda draws: least_confidence_scores(draws[0]),
        lambda draws: max(1 - max(p, 1 - p) for p in draws[0]),
    ),
    "rarity": (lambda draws: rarity_scores(draws[0], POSITIVES, NUM_LABELLED), lambda draws: slow_rarity(draws[0])),
    "residual": (
        lambda draws: residual_scores(draws[0]),
        lambda draws: math.sqrt(sum(min(p, 1 - p) ** 2 for p in draws[0])),
    ),
    "bald": (bald_scores, slow_bald),
}
SINGLE = {
    "entropy": entropy_scores,
    "margin": margin_scores,
    "least confidence": least_confidence_scores,
    "rarity": lambda probabilities: inspect.unwrap(rarity_scores)(probabilities, POSITIVES.tolist(), NUM_LABELLED),
    "residual": residual_scores,
    "bald": bald_scores,
}
every_score = pytest.mark.parametrize("name", SCORES)


def random_draws(k: int = 4, n: int = 24, c: int = 5) -> np.ndarray:
    return np.random.default_rng(0).beta(0.4, 0.4, (k, n, c)).astype(np.float32)


def slowly(name: str, draws: np.ndarray) -> list[float]:
    return [SCORES[name][1](draws[:, tile].astype(float)) for tile in range(draws.shape[1])]


def test_entropy_by_hand() -> None:
    expected = math.log(2) + math.log(4) / 4 + 3 * math.log(4 / 3) / 4
    np.testing.assert_allclose(entropy_scores(np.array([[0.5, 0.25], [1.0, 0.5]], np.float32)), [expected, math.log(2)])


def test_margin_by_hand() -> None:
    np.testing.assert_allclose(margin_scores(np.array([[0.9, 0.4], [0.5, 0.5]], np.float32)), [-1.0, 0.0], rtol=1e-6)


def test_least_confidence_by_hand() -> None:
    scores = least_confidence_scores(np.array([[0.9, 0.4, 0.0], [0.9, 0.05, 1.0]], np.float32))
    np.testing.assert_allclose(scores, [0.4, 0.1], rtol=1e-6)


def test_rarity_by_hand() -> None:
    # Of 8 labelled tiles none and 6 have the classes: smoothed frequencies 1/4 and 1, so 2 and 1 times the entropy.
    scores = rarity_scores(np.array([[0.5, 0.5], [0.5, 1.0], [0.0, 0.5]], np.float32), np.array([0, 6]), 8)
    np.testing.assert_allclose(scores, math.log(2) * np.array([3.0, 2.0, 1.0]), rtol=1e-6)


def test_rarity_is_largest_at_the_threshold_by_hand() -> None:
    # Odds of 1/3, 1 and 1/9, divided by the threshold's odds of 1/3, are those of probabilities 1/2, 3/4 and 1/4.
    probabilities = np.array([[0.25], [0.5], [0.1], [0.0], [1.0]], np.float32)
    scores = rarity_scores(probabilities, np.array([2]), 4, threshold=0.25)
    quarter = math.log(4) - 3 * math.log(3) / 4
    np.testing.assert_allclose(scores, [math.log(2), quarter, quarter, 0.0, 0.0], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(
        rarity_scores(probabilities, np.array([2]), 4, threshold=0.5), rarity_scores(probabilities, np.array([2]), 4)
    )


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"threshold is \S+: it must be above 0 and below 1"):
        rarity_scores(random_draws()[0], POSITIVES, NUM_LABELLED, threshold)


def test_bald_by_hand() -> None:
    disagree, agree = [[0.0, 1.0, 0.5], [1.0, 1.0, 0.5]], [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
    draws = np.array([disagree, agree], np.float32).swapaxes(0, 1)  # of two tiles in two passes
    np.testing.assert_allclose(bald_scores(draws), [math.log(2), 0.0], atol=1e-6)


@every_score
def test_a_score_is_what_loops_over_tiles_and_classes_give(name: str) -> None:
    draws = random_draws()
    np.testing.assert_allclose(SCORES[name][0](draws), slowly(name, draws), rtol=1e-5, atol=1e-6)


@every_score
def test_a_score_follows_its_tile_into_any_order_and_batch(name: str) -> None:
    score, draws = SCORES[name][0], random_draws()
    whole = np.asarray(score(draws))
    order = np.random.default_rng(1).permutation(24)
    np.testing.assert_allclose(score(draws[:, order]), whole[order], rtol=1e-5, atol=1e-6)
    parts = [score(draws[:, start : start + 5]) for start in range(0, 24, 5)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-5, atol=1e-6)
    assert score(draws[:, :0]).shape == (0,)


@every_score
def test_certainty_has_a_finite_score_below_all_others(name: str) -> None:
    certain = np.repeat(np.array([[0, 1, 0, 1, 1], [0] * 5, [1] * 5], np.float32)[None], 4, 0)
    scores = np.asarray(SCORES[name][0](np.concatenate([certain, random_draws()], axis=1)))
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores[:3], -5.0 if name == "margin" else 0.0)
    assert scores[3:].min() > scores[:3].max()


@every_score
@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_a_score_loses_nothing_of_probabilities_in_half_precision(name: str, dtype: type) -> None:
    draws = random_draws().astype(dtype)
    scores = SCORES[name][0](draws)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, slowly(name, draws), rtol=1e-5, atol=1e-6)


@every_score
def test_lists_and_whole_numbers_score_like_arrays_of_floats(name: str) -> None:
    draws = np.round(random_draws())
    array, unchecked = (draws if name == "bald" else draws[0]), inspect.unwrap(SINGLE[name])
    expected = SCORES[name][0](draws)
    for same in (array.tolist(), array.astype(int), array.astype(np.uint8).tolist(), array.astype(bool)):
        scores = unchecked(same)
        assert scores.dtype == np.float32
        np.testing.assert_array_equal(scores, expected)


@every_score
def test_probabilities_of_another_shape_are_refused_with_the_one_to_give(name: str) -> None:
    shapes = [(5,), (4, 5), (1, 4, 24, 5)] if name == "bald" else [(5,), (), (1, 24, 5)]
    for shape in shapes:
        with pytest.raises(ValueError, match=r"have the shape .*: give \((K, )?N, C\)") as error:
            inspect.unwrap(SINGLE[name])(np.zeros(shape, np.float32))
        assert str(shape) in str(error.value)


@pytest.mark.parametrize("positives", [np.zeros(1), np.zeros(4), np.zeros((5, 1)), 3.0])
def test_positives_that_are_not_one_a_class_are_refused(positives: np.ndarray | float) -> None:
    with pytest.raises(ValueError, match=r"positives have the shape .*: give \(5,\), one a class"):
        inspect.unwrap(rarity_scores)(random_draws()[0], positives, NUM_LABELLED)


def test_rarity_before_any_tile_is_labelled_is_a_multiple_of_the_entropy() -> None:
    probabilities = random_draws()[0]
    scores = rarity_scores(probabilities, np.zeros(5, int), 0)
    np.testing.assert_allclose(scores, entropy_scores(probabilities) / math.sqrt(2), rtol=1e-5)
