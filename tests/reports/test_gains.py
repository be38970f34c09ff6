"""Gains of rounds: the F1 that is resampled, and intervals that are right as often as they say."""

import jax
import numpy as np
import pytest

from aljax.loop.metrics import f1_scores
from aljax.reports import gains
from aljax.reports.gains import Gain, gain, outlook, resample


def test_f1_is_that_of_scikit_learn_on_the_tiles_and_on_every_draw(key) -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((20, 4)) < [0.5, 0.3, 0.1, 0.0]
    predictions = [rng.random((20, 4)) < 0.3 for _ in range(3)]
    scores = resample(key, labels, predictions)
    drawn = np.asarray(jax.random.randint(key, (gains.DRAWS, 20), 0, 20))
    for row, tiles in [(0, np.arange(20)), (1, drawn[0]), (7, drawn[6])]:
        for place, predicted in enumerate(predictions):
            micro, each = f1_scores(predicted[tiles], labels[tiles].astype(np.uint8))
            assert scores.micro[row, place] == pytest.approx(micro)
            assert scores.macro[row, place] == pytest.approx(each.mean())


def test_tiles_on_which_two_rounds_agree_do_not_widen_the_interval_of_their_gain(key) -> None:
    rng = np.random.default_rng(1)
    labels = rng.random((100, 3)) < 0.4
    before = labels ^ (rng.random((100, 3)) < 0.3)
    after = before.copy()
    after[:4] = labels[:4]
    paired = gain(resample(key, labels, [before, after]).micro, -2)
    assert 0 <= paired.low < paired.value < paired.high < 0.1
    unpaired = np.ptp(np.quantile(resample(key, labels, [before]).micro[1:, 0], [0.025, 0.975]))
    assert paired.high - paired.low < unpaired / 2


LABELS = 40 + 20 * np.arange(11)
CURVES = {
    "power": lambda labels: 0.95 - 1.2 / np.sqrt(labels),
    "steep": lambda labels: 0.92 - 8.0 / labels,
    "slow": lambda labels: 0.98 - 0.8 * labels**-0.3,
    "flat": lambda labels: 0.85 + 0.0 * labels,
}


def play(rng: np.random.Generator, accuracy: np.ndarray, tiles: int) -> gains.Resampled:
    """Rounds that predict each cell rightly with that probability, mostly the same cells, and draws of their tiles."""
    labels, hardness = rng.random((tiles, 5)) < 0.4, rng.random((tiles, 5))
    predictions = []
    for right in accuracy:
        anew = np.where(rng.random(hardness.shape) < 0.3, rng.random(hardness.shape), hardness)
        predictions.append(labels ^ (anew >= right))
    return resample(jax.random.key(int(rng.integers(2**31))), labels, predictions)


def true_f1(right: np.ndarray) -> np.ndarray:
    """Of infinitely many tiles."""
    return 0.8 * right / (0.4 + 0.4 * right + 0.6 * (1 - right))


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("rounds", [3, 4, 8])
def test_outlook_holds_what_the_curve_brings_as_often_as_it_says(name: str, rounds: int, monkeypatch) -> None:
    monkeypatch.setattr(gains, "DRAWS", 200)
    rng, held, unclear, widths = np.random.default_rng(rounds), 0, 0, []
    curve = CURVES[name](LABELS[: rounds + 1])
    brought = np.diff(true_f1(curve))[-1]
    for _ in range(100):
        trained = curve[:-1] + rng.normal(0.0, 0.01, rounds)  # the chance of each training
        found = outlook(LABELS[:rounds], play(rng, trained, 100).micro, 20)
        held += found.low <= brought <= found.high
        unclear += found.is_unclear
        widths.append(found.high - found.low)
    assert held >= 91  # 95 of 100 are expected at least
    assert np.median(widths) < {3: 0.12, 4: 0.08, 8: 0.025}[rounds]  # and not because it says anything
    if rounds == 8:
        assert unclear < 40


def test_outlook_is_unclear_where_rounds_are_few_or_say_nothing() -> None:
    scores = np.tile([0.5, 0.6, 0.62], (4, 1))
    assert outlook(LABELS[:2], scores[:, :2], 20) is None
    assert outlook(np.array([40, 40, 40]), scores, 20) is None
    assert Gain(0.005, -0.01, 0.02).is_unclear
    assert not Gain(0.005, 0.001, 0.02).is_unclear
    assert not Gain(0.001, -0.004, 0.005).is_unclear  # it says that there is little to come
    assert Gain(0.012, -0.0004, 0.1).in_points() == "+1.2 [-0.0, +10.0]"


def test_straight_curve_without_noise_is_followed_exactly() -> None:
    numbers = np.array([40, 80, 160])
    scores = np.tile(0.1 * np.log(numbers), (5, 1))
    found = gains._extrapolate(np.log(numbers), float(np.log(320.0)), scores)
    assert found == pytest.approx((0.1 * np.log(2),) * 3)
