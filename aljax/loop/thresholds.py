"""The probability above which a class counts as present: half, or what the validation tiles say."""

import numpy as np
from jaxtyping import Float, UInt8

HALF = 0.5


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
