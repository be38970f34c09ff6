"""The probability above which a class counts as present: half, or what the validation tiles say, of all or each."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from aljax.arrays import UNKNOWN
from aljax.errors import InputError
from aljax.loop.metrics import THRESHOLD, Threshold, f1_scores, is_above

# Of the thresholds of classes, in tiles. On UC Merced (features, 40 to 300 labels, 50 to 525 validation tiles) 5 to 20
# are level, and no worse than the common threshold; without it the classes' own lose up to 8 points of micro F1.
SHRINKAGE = 10


def fit_threshold(probabilities: Float[np.ndarray, "n c"], labels: UInt8[np.ndarray, "n c"]) -> float:
    """The threshold with the best micro F1 on the known cells of these tiles: the same for all classes.

    Networks that have seen few labels dare too little, and the threshold of the best F1 is half of that F1 (Lipton et
    al., ECML 2014), so it lies below one half. Exact: all thresholds are tried. Where several are best, the one nearest
    to one half; one half if there is nothing to fit it to.
    """
    known = labels != UNKNOWN
    cells, truth = probabilities[known].astype(np.float64), labels[known]
    if not truth.any():
        return THRESHOLD
    order = np.argsort(-cells, kind="stable")
    above, hits = cells[order], np.cumsum(truth[order])
    f1 = 2.0 * hits / (np.arange(1, len(cells) + 1) + hits[-1])
    # A threshold lies between two different probabilities.
    below = np.append(above[1:], -1.0)
    f1[above == below] = -1.0
    best = np.flatnonzero(f1 == f1.max())
    low, high = np.maximum(below[best], 0.0), above[best]
    candidates = np.where((low <= THRESHOLD) & (high > THRESHOLD), THRESHOLD, (low + high) / 2.0)
    return float(candidates[np.abs(candidates - THRESHOLD).argmin()])


def fit_class_thresholds(
    probabilities: Float[np.ndarray, "n c"], labels: UInt8[np.ndarray, "n c"]
) -> Float[np.ndarray, " c"]:
    """A threshold for each class (C,), for the best F1 of that class on these tiles.

    The best one of n positive tiles alone is a guess where n is small, so it is drawn towards the common threshold as
    `SHRINKAGE` further tiles that say the common one would; a class without a positive tile has the common one.
    """
    common, classes = fit_threshold(probabilities, labels), range(labels.shape[1])
    own = np.array([fit_threshold(probabilities[:, [each]], labels[:, [each]]) for each in classes], np.float64)
    positives = (labels == 1).sum(0)
    return (positives * own + SHRINKAGE * common) / (positives + SHRINKAGE)


class Thresholds(NamedTuple):
    """Those that were fitted to the validation tiles of a run."""

    validation: float
    """The same for all classes."""
    classes: tuple[float, ...]
    """One for each class."""


class AtThresholds(NamedTuple):
    """Thresholds that were fitted to the validation tiles, and the F1 of the test set at them; fields of a record."""

    validation_threshold: float
    micro_f1_at_validation_threshold: float
    macro_f1_at_validation_threshold: float
    class_thresholds: tuple[float, ...]
    micro_f1_at_class_thresholds: float
    macro_f1_at_class_thresholds: float


def score_at_thresholds(
    validation: Float[np.ndarray, "v c"],
    validation_labels: UInt8[np.ndarray, "v c"],
    test: Float[np.ndarray, "t c"],
    test_labels: UInt8[np.ndarray, "t c"],
) -> AtThresholds:
    """Fits both kinds of thresholds to the probabilities of the validation tiles, and measures on the test set."""
    common = fit_threshold(validation, validation_labels)
    of_classes = fit_class_thresholds(validation, validation_labels)
    (micro, each), (class_micro, class_each) = (
        f1_scores(is_above(test, threshold), test_labels) for threshold in (common, of_classes)
    )
    own = tuple(of_classes.tolist()), class_micro, float(class_each.mean())
    return AtThresholds(common, micro, float(each.mean()), *own)


Asked = float | Literal["validation", "per-class"]
"""The option --threshold: a number, or what the validation tiles of a run say."""


def check_threshold(asked: Asked | None) -> None:
    """Raises InputError for a number that is no probability."""
    if isinstance(asked, float | int) and not 0.0 <= asked <= 1.0:
        raise InputError(f"--threshold is {asked}: it is a probability, from 0 to 1")


def find_threshold(asked: Asked, fitted: Thresholds | None, of: object) -> Threshold:
    """The number, or that of each class. Raises InputError if the run, called `of`, has none that is fitted."""
    if isinstance(asked, float | int):
        return float(asked)
    if fitted is None:
        raise InputError(
            f"--threshold {asked}: {of} has no thresholds that are fitted, for want of validation tiles or as an older "
            "version made it: give a number, such as 0.5"
        )
    return fitted.validation if asked == "validation" else np.array(fitted.classes)
