"""What always the same classes would score, the commonest ones, whatever a tile shows: no network should score less."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from aljax.arrays import UNKNOWN
from aljax.loop.metrics import f1_scores

# Keys of config.json, which older runs lack.
KEYS = ("constant_classes", "constant_micro_f1", "constant_macro_f1")


class Constant(NamedTuple):
    """The prediction that is the same for every tile, and its scores on the test set."""

    classes: tuple[str, ...]
    """Commonest first."""
    micro_f1: float
    macro_f1: float

    @property
    def title(self) -> str:
        """In the legend of a picture."""
        count = len(self.classes)
        return "always the commonest class" if count == 1 else f"always the {count} commonest classes"

    def to_config(self) -> dict[str, Any]:
        """As config.json has it."""
        return dict(zip(KEYS, (list(self.classes), self.micro_f1, self.macro_f1), strict=True))


def from_config(config: Mapping[str, Any]) -> Constant | None:
    """As `to_config` wrote it; None where an older version wrote the configuration."""
    if not config.keys() >= {*KEYS}:
        return None
    classes, micro, macro = (config[key] for key in KEYS)
    return Constant(tuple(classes), micro, macro)


def best_constant(labels: UInt8[np.ndarray, "n c"]) -> Int[np.ndarray, " k"]:
    """Indices of the classes that always to predict has the best micro F1 on these tiles, commonest first.

    They are the k commonest of some k, by their shares of the known cells: a class brings hits and false alarms, and of
    two the one with more hits to a false alarm is better.
    """
    counts, known = (labels == 1).sum(0), (labels != UNKNOWN).sum(0)
    order = np.argsort(-counts / np.maximum(known, 1), kind="stable")
    predicted = np.cumsum(known[order])
    f1 = 2.0 * np.cumsum(counts[order]) / np.maximum(predicted + counts.sum(), 1)
    return order[: int(f1.argmax()) + 1]


def score_constant(
    class_names: Sequence[str], pool_labels: UInt8[np.ndarray, "p c"], test_labels: UInt8[np.ndarray, "t c"]
) -> Constant:
    """The constant prediction that is best on the labelled tiles of the pool, measured on the test set."""
    classes = best_constant(pool_labels)
    predicted = np.zeros(test_labels.shape, bool)
    predicted[:, classes] = True
    micro, each = f1_scores(predicted, test_labels)
    return Constant(tuple(class_names[index] for index in classes), micro, float(each.mean()))
