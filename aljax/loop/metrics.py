"""Multi-label metrics, by scikit-learn."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

THRESHOLD = 0.5


class Metrics(NamedTuple):
    """Metrics of the predictions on a set of tiles, each in [0, 1]."""

    micro_f1: float
    macro_f1: float
    mean_average_precision: float
    class_f1: tuple[float, ...]
    """Of each class; their mean is the macro F1."""


def evaluate(probabilities: Float[np.ndarray, "n c"], labels: UInt8[np.ndarray, "n c"]) -> Metrics:
    """Micro and macro F1 at the threshold 0.5, and the mean over classes of the average precision.

    A class without a positive tile has F1 0 and counts in the macro mean; the mean average precision, which
    has no value for such a class, leaves it out.
    """
    from sklearn.metrics import average_precision_score, f1_score

    predicted = probabilities > THRESHOLD
    # Micro F1 counts all cells together; scikit-learn would take a single column for two classes, absent and present.
    micro = float(f1_score(labels.ravel(), predicted.ravel(), zero_division=0))
    each = f1_score(labels, predicted, average=None, zero_division=0) if labels.shape[1] > 1 else np.array([micro])
    present = labels.any(0)
    precision = average_precision_score(labels[:, present], probabilities[:, present]) if present.any() else 0.0
    return Metrics(micro, float(each.mean()), float(precision), tuple(each.tolist()))
