"""The record of an iteration, its line in history.jsonl, and statistics of records."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

METRICS = ("micro_f1", "macro_f1", "mean_average_precision")
AT_VALIDATION = ("micro_f1_at_validation_threshold", "macro_f1_at_validation_threshold")
AT_CLASSES = ("micro_f1_at_class_thresholds", "macro_f1_at_class_thresholds")
# Fields that older histories lack, as do runs without validation tiles.
LATER = ("validation_threshold", "class_thresholds", *AT_VALIDATION, *AT_CLASSES, "loss_rank_correlation")
TIMES = ("train_seconds", "predict_seconds", "select_seconds")


@dataclass(frozen=True)
class Record:
    """One iteration of one trial; both count from 1. Metrics are those of the test set unless named otherwise."""

    trial: int
    iteration: int
    num_labeled: int  # tiles the model was trained on
    micro_f1: float
    macro_f1: float
    mean_average_precision: float
    validation_micro_f1: float
    selected: tuple[str, ...]  # ids chosen at the end of the iteration, highest score first; empty ends a trial
    train_seconds: float
    predict_seconds: float  # pass over the unlabelled tiles
    select_seconds: float  # scores and clustering
    class_f1: tuple[float, ...] = ()  # of each class, in the order of config.json; empty in older histories
    # Thresholds fitted to validation tiles, and the F1 at them: None in older histories, and without such tiles.
    validation_threshold: float | None = None
    micro_f1_at_validation_threshold: float | None = None
    macro_f1_at_validation_threshold: float | None = None
    class_thresholds: tuple[float, ...] | None = None  # in the order of config.json
    micro_f1_at_class_thresholds: float | None = None
    macro_f1_at_class_thresholds: float | None = None
    loss_rank_correlation: float | None = None  # Spearman, predicted and true losses of validation tiles; LL alone

    def to_line(self) -> str:
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(known, ensure_ascii=False)

    @staticmethod
    def from_line(line: str) -> "Record":
        """The record of a line. Raises ValueError or TypeError for a line that is none."""
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise TypeError("a record is an object with named fields")
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        record = Record(**{**fields, **lists})
        for name, value in vars(record).items():
            if not _is_sound(name, value):
                raise TypeError(f"{name} is {value!r}")
        return record


def _is_sound(name: str, value: object) -> bool:
    """Whether a field of a record has a value of its type."""
    if value is None:
        return name in LATER
    if name in ("selected", "class_f1", "class_thresholds"):
        kind = str if name == "selected" else int | float
        return isinstance(value, tuple) and all(isinstance(item, kind) for item in value)
    return isinstance(value, int if name in ("trial", "iteration", "num_labeled") else int | float)


def has_converged(scores: Sequence[float], patience: int, min_gain: float) -> bool:
    """Whether the last `patience` scores brought no rise of at least `min_gain` over the best before them.

    >>> has_converged([0.5, 0.6, 0.6, 0.6], patience=2, min_gain=0.01)
    True
    """
    if patience < 1 or len(scores) <= patience:
        return False
    return max(scores[-patience:]) < max(scores[:-patience]) + min_gain


def to_text(history: Iterable[Record]) -> str:
    """The content of `history.jsonl`."""
    return "".join(f"{record.to_line()}\n" for record in history)


def known_metrics(history: Iterable[Record]) -> tuple[str, ...]:
    """The metrics that all records have."""
    records = list(history)
    fitted = (*AT_VALIDATION, *AT_CLASSES)
    return (*METRICS, *(name for name in fitted if all(getattr(record, name) is not None for record in records)))


def summarise(history: Iterable[Record]) -> list[dict[str, int | float]]:
    """One row per number of labels: the trials, and mean and standard deviation (n - 1) over them of each metric.

    F1 at fitted thresholds is in the rows all of whose records have it.
    """
    by_labels: dict[int, list[Record]] = {}
    for record in history:
        by_labels.setdefault(record.num_labeled, []).append(record)
    rows = []
    for num_labeled, records in sorted(by_labels.items()):
        row: dict[str, int | float] = {"num_labeled": num_labeled, "trials": len(records)}
        for metric in known_metrics(records):
            values = np.array([getattr(record, metric) for record in records])
            row[metric] = float(values.mean())
            row[f"{metric}_std"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        rows.append(row)
    return rows
