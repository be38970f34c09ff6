"""The probability above which a class counts as present: half, or what the validation tiles say, of all or each."""

import numpy as np
from jaxtyping import Float, UInt8

HALF = 0.5
# Of the thresholds of classes, in tiles. On UC Merced (features, 40 to 300 labels, 50 to 525 validation tiles) 5 to 20
# are level, and no worse than the common threshold; without it the classes' own lose up to 8 points of micro F1.
SHRINKAGE = 10


def fit_threshold(probabilities: Float[np.ndarray, "n c"], labels: UInt8[np.ndarray, "n c"]) -> float:
    """The threshold with the best micro F1 on these tiles: the same for all classes.

    Networks that have seen few labels dare too little, and the threshold of the best F1 is half of that F1 (Lipton et
    al., ECML 2014), so it lies below one half. Exact: all thresholds are tried. Where several are best, the one nearest
    to one half; one half if there is nothing to fit it to.
    """
    cells, truth = np.ravel(probabilities).astype(np.float64), np.ravel(labels)
    if not truth.any():
        return HALF
    order = np.argsort(-cells, kind="stable")
    above, hits = cells[order], np.cumsum(truth[order])
    f1 = 2.0 * hits / (np.arange(1, len(cells) + 1) + hits[-1])
    # A threshold lies between two different probabilities.
    below = np.append(above[1:], -1.0)
    f1[above == below] = -1.0
    best = np.flatnonzero(f1 == f1.max())
    low, high = np.maximum(below[best], 0.0), above[best]
    candidates = np.where((low <= HALF) & (high > HALF), HALF, (low + high) / 2.0)
    return float(candidates[np.abs(candidates - HALF).argmin()])


def fit_class_thresholds(
    probabilities: Float[np.ndarray, "n c"], labels: UInt8[np.ndarray, "n c"]
) -> Float[np.ndarray, " c"]:
    """A threshold for each class (C,), for the best F1 of that class on these tiles.

    The best one of n positive tiles alone is a guess where n is small, so it is drawn towards the common threshold as
    `SHRINKAGE` further tiles that say the common one would; a class without a positive tile has the common one.
    """
    common, classes = fit_threshold(probabilities, labels), range(labels.shape[1])
    own = np.array([fit_threshold(probabilities[:, [each]], labels[:, [each]]) for each in classes], np.float64)
    positives = labels.sum(0, dtype=np.int64)
    return (positives * own + SHRINKAGE * common) / (positives + SHRINKAGE)
