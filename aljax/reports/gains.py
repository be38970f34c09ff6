"""How much rounds of labelling have gained on the same test tiles, and what another would likely bring.

The intervals of gains come from resampling the test tiles (a paired bootstrap: the same tiles for all rounds), so they
say how far other test tiles would agree; the chance of a single training is not in them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

DRAWS = 1000
CONFIDENCE = 0.95
RECENT = 8  # rounds that an outlook is made from: earlier ones say less about the next
UNCLEAR = 0.01  # an interval that has both no gain and at least this one does not say whether to go on
# How a score may rise with the number of labels, from no end in sight to a near one.
CURVES: tuple[Callable[[Float[np.ndarray, " k"]], Float[np.ndarray, " k"]], ...] = (
    np.log,
    lambda labels: -1.0 / np.sqrt(labels),
    lambda labels: -1.0 / labels,
)


class Gain(NamedTuple):
    """A difference of scores with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def in_points(self) -> str:
        """Percentage points as text: "+6.3 [+2.7, +10.0]"."""
        value, low, high = (100.0 * part + 0.0 for part in self)
        return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"

    @property
    def is_unclear(self) -> bool:
        """Whether it may be nothing as well as worth a round."""
        return self.low <= 0.0 and self.high >= UNCLEAR


class Resampled(NamedTuple):
    """F1 of K rounds on the test tiles (row 0) and on tiles drawn from them with replacement (the other rows)."""

    micro: Float[np.ndarray, "b k"]
    macro: Float[np.ndarray, "b k"]


def resample(key: Array, labels: Bool[np.ndarray, "n c"], predictions: Sequence[Bool[np.ndarray, "n c"]]) -> Resampled:
    """F1 of the predictions of each round, on `DRAWS` draws of the same tiles for all rounds."""
    count = len(labels)
    drawn = np.asarray(jax.random.randint(key, (DRAWS, count), 0, count))
    weights = np.stack([np.ones(count, np.int64), *(np.bincount(row, minlength=count) for row in drawn)])
    weights = weights.astype(np.float64)  # whole numbers, which products of matrices keep exact
    present = weights @ labels
    scores = [_f1(weights @ (labels & predicted), present + weights @ predicted) for predicted in predictions]
    return Resampled(*(np.stack(each, axis=1) for each in zip(*scores, strict=True)))


def _f1(
    hits: Float[np.ndarray, "b c"], cells: Float[np.ndarray, "b c"]
) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
    """Micro and macro F1 of each draw, from hits and from the cells that are present plus those that are predicted."""
    micro = 2.0 * hits.sum(1) / np.maximum(cells.sum(1), 1.0)
    return micro, (2.0 * hits / np.maximum(cells, 1.0)).mean(1)


def gain(scores: Float[np.ndarray, "b k"], since: int, until: int = -1) -> Gain:
    """What was gained between two rounds, by their columns."""
    differences = scores[:, until] - scores[:, since]
    low, high = np.quantile(differences[1:], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Gain(float(differences[0]), float(low), float(high))


def outlook(labels: Int[np.ndarray, " k"], scores: Float[np.ndarray, "b k"], more: int) -> Gain | None:
    """What `more` labels would likely bring: how far the curve through the last rounds would rise.

    `labels` (K,) are the numbers of labels of the rounds. Each of `CURVES` is fitted by least squares; the value is
    that of the middle one, and the interval reaches from the lowest to the highest end of theirs. It is about the
    curve: a single round may come out above or below it by chance. None for fewer than three rounds, or if these have
    the same labels.
    """
    labels, scores = labels[-RECENT:].astype(np.float64), scores[:, -RECENT:]
    if len(labels) < 3 or not np.ptp(labels):
        return None
    found = [_extrapolate(curve(labels), curve(labels[-1:] + more)[0], scores) for curve in CURVES]
    return Gain(found[len(CURVES) // 2].value, min(one.low for one in found), max(one.high for one in found))


def _extrapolate(at: Float[np.ndarray, " k"], to: float, scores: Float[np.ndarray, "b k"]) -> Gain:
    """The rise of a straight line through (at, scores) from the last of `at` to `to`.

    Its slope varies with the test tiles, which the draws tell, and with the training of each round, which the
    distances of the rounds from the line tell.
    """
    from scipy.stats import t

    centred, step = at - at.mean(), to - at[-1]
    squares = np.square(centred).sum()
    slopes = scores @ centred / squares
    freedom = len(at) - 2
    rest = scores[0] - scores[0].mean() - slopes[0] * centred
    of_training, of_tiles = np.square(rest).sum() / freedom / squares, slopes[1:].var()
    variance = of_training + of_tiles
    # Welch and Satterthwaite's degrees of freedom of a sum of variances, one of them known well.
    effective = freedom * variance**2 / max(of_training**2, np.finfo(float).tiny)
    half = step * np.sqrt(variance) * t.ppf((1 + CONFIDENCE) / 2, max(effective, freedom))
    value = step * slopes[0]
    return Gain(float(value), float(value - half), float(value + half))
