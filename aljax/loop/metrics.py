"""Multi-label metrics, by scikit-learn."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Num

from aljax.arrays import UNKNOWN, AnyArray, are_labels, as_array

THRESHOLD = 0.5


class Metrics(NamedTuple):
    """Metrics of the predictions on a set of tiles, each in [0, 1]."""

    micro_f1: float
    macro_f1: float
    mean_average_precision: float
    class_f1: tuple[float, ...]
    """Of each class; their mean is the macro F1."""


Threshold = float | Float[np.ndarray, " c"]
"""Above which a class counts as present: one for all, or one for each."""


def evaluate(
    probabilities: Float[AnyArray, "n c"], labels: Num[AnyArray, "n c"], threshold: Threshold = THRESHOLD
) -> Metrics:
    """Micro and macro F1 at a threshold, and the mean over classes of the average precision; all of known cells alone.

    A class without a positive tile has F1 0 and counts in the macro mean; the mean average precision, which
    has no value for such a class, leaves it out. Raises ValueError for other shapes, labels other than 0, 1 and (in
    uint8) UNKNOWN, or probabilities that are not finite.
    """
    from sklearn.metrics import average_precision_score

    probabilities, labels = np.asarray(as_array(probabilities)), np.asarray(as_array(labels))
    if labels.ndim != 2 or labels.shape != probabilities.shape:
        raise ValueError(f"labels have the shape {labels.shape} and probabilities {probabilities.shape}: give (N, C)")
    if not are_labels(labels).all() or not np.isfinite(probabilities).all():
        raise ValueError("labels are not all 0 or 1, or probabilities not all finite: mend them")
    micro, each = f1_scores(is_above(probabilities, threshold), labels)
    known, present = labels != UNKNOWN, np.flatnonzero((labels == 1).any(0))
    rows = [(known[:, index], index) for index in present]
    precisions = [average_precision_score(labels[cells], probabilities[cells]) for cells in rows]
    return Metrics(micro, float(each.mean()), float(np.mean(precisions or [0.0])), tuple(each.tolist()))


def is_above(probabilities: Float[np.ndarray, "n c"], threshold: Threshold) -> Bool[np.ndarray, "n c"]:
    """Which classes count as present."""
    # NumPy would round a Python float to float32, and a threshold between two probabilities onto one of them.
    return probabilities > np.asarray(threshold, np.float64)


def f1_scores(
    predicted: Bool[np.ndarray, "n c"], labels: Num[np.ndarray, "n c"]
) -> tuple[float, Float[np.ndarray, " c"]]:
    """Micro F1, and the F1 of each class, of the known cells."""
    from sklearn.metrics import f1_score

    # F1 does not count what is rightly called absent, so as such an unknown cell is left out.
    predicted, labels = predicted & (labels != UNKNOWN), np.where(labels == UNKNOWN, 0, labels)
    # Micro F1 counts all cells together; scikit-learn would take a single column for two classes, absent and present.
    micro = float(f1_score(labels.ravel(), predicted.ravel(), zero_division=0))
    each = f1_score(labels, predicted, average=None, zero_division=0) if labels.shape[1] > 1 else np.array([micro])
    return micro, each
