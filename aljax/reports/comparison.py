"""How much better one series of trials is than another: what a paper says in words, as numbers.

Trials are paired: trial k of every query function begins with the same labelled tiles, so the spread between initial
sets, which is larger than most differences, cancels.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from aljax.loop.history import METRICS, Record, summarise

CONFIDENCE = 0.95


class Difference(NamedTuple):
    """Mean of the paired differences and, from two trials on, its 95 % confidence interval by Student's t."""

    mean: float
    low: float | None
    high: float | None
    trials: int

    def scaled(self, factor: float) -> "Difference":
        """In another unit: 100 gives points."""
        low, high = (None if bound is None else factor * bound for bound in (self.low, self.high))
        return Difference(factor * self.mean, low, high, self.trials)

    def in_points(self, digits: int) -> str:
        """As text, with the interval if there is one: "+6.3 [+2.7, +10.0]"."""
        mean, low, high, _ = self.scaled(100.0)
        if low is None or high is None:
            return f"{mean:+.{digits}f}"
        return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def paired_difference(values: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    """Of values by trial; None if no trial is in both.

    >>> paired_difference({1: 0.5, 2: 0.7}, {1: 0.4}).trials
    1
    """
    shared = sorted(values.keys() & baseline.keys())
    if not shared:
        return None
    differences = np.array([values[trial] - baseline[trial] for trial in shared])
    mean = float(differences.mean())
    if len(differences) < 2:
        return Difference(mean, None, None, len(differences))
    from scipy.stats import t

    error = differences.std(ddof=1) / np.sqrt(len(differences))
    half = float(error * t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1))
    return Difference(mean, mean - half, mean + half, len(differences))


def differences_by_labels(history: Iterable[Record], baseline: Iterable[Record], metric: str) -> dict[int, Difference]:
    """The paired difference at each number of labels that both series have."""
    both = _curves(history, metric), _curves(baseline, metric)
    found = {}
    for labels in sorted({labels for curve in both[0].values() for labels in curve}):
        ours, theirs = ({trial: at[labels] for trial, at in curves.items() if labels in at} for curves in both)
        if (difference := paired_difference(ours, theirs)) is not None:
            found[labels] = difference
    return found


Curve = dict[int, float]
"""A metric by the number of labels, which rises."""


def _curves(history: Iterable[Record], metric: str) -> dict[int, Curve]:
    """By trial."""
    curves: dict[int, Curve] = {}
    for record in sorted(history, key=lambda record: record.num_labeled):
        curves.setdefault(record.trial, {})[record.num_labeled] = getattr(record, metric)
    return curves


def areas(history: Iterable[Record], metric: str) -> dict[int, float]:
    """Area under each trial's learning curve over its range of labels: the mean of the metric along the curve."""
    return {trial: _mean_along(points) for trial, points in _curves(history, metric).items()}


def _mean_along(points: Curve) -> float:
    labels, values = list(points), list(points.values())
    if len(points) == 1:
        return float(values[0])
    return float(np.trapezoid(values, labels) / (labels[-1] - labels[0]))


def area_difference(history: Iterable[Record], baseline: Iterable[Record], metric: str) -> Difference | None:
    """The paired difference of the areas, each pair's over the numbers of labels that both curves span."""
    curves, others = _curves(history, metric), _curves(baseline, metric)
    ours: dict[int, float] = {}
    theirs: dict[int, float] = {}
    for trial in curves.keys() & others.keys():
        pair = curves[trial], others[trial]
        first, last = max(map(min, pair)), min(map(max, pair))
        if first <= last:
            ours[trial], theirs[trial] = (_mean_along(_cut(points, first, last)) for points in pair)
    return paired_difference(ours, theirs)


def _cut(points: Curve, first: int, last: int) -> Curve:
    """The part from `first` to `last`, with the values there on straight lines between points."""
    places = [first, *(labels for labels in points if first < labels < last), last]
    return {place: float(np.interp(place, list(points), list(points.values()))) for place in places}


def labels_to_reach(history: Iterable[Record], metric: str, level: float) -> float | None:
    """Labels at which the mean curve first reaches a level, on a straight line between points; None if it never does.

    Where the first point is above the level already, its number of labels is given.
    """
    before: tuple[float, float] | None = None
    for row in summarise(history):
        labels, value = row["num_labeled"], row[metric]
        if value >= level:
            if before is None:
                return float(labels)
            share = (level - before[1]) / (value - before[1])
            return float(before[0] + share * (labels - before[0]))
        before = labels, value
    return None


class Saved(NamedTuple):
    """Labels that a series and its baseline need for the same score."""

    level: float
    baseline_labels: int
    labels: float | None
    """None: the series does not reach it."""


def labels_saved(history: Sequence[Record], baseline: Sequence[Record], metric: str) -> list[Saved]:
    """What a series needs for each mean score that its baseline has after the first and never had with fewer labels.

    Means are over the trials that both have, and end where the first of these does.
    """
    trials = {record.trial for record in history} & {record.trial for record in baseline}
    if trials:
        history, baseline = (_whole(series, trials) for series in (history, baseline))
    first, *rows = summarise(baseline)
    levels, best = [], first[metric]
    for row in rows:
        if row[metric] > best:
            best = row[metric]
            levels.append(Saved(best, int(row["num_labeled"]), labels_to_reach(history, metric, best)))
    return levels


def _whole(history: Sequence[Record], trials: Set[int]) -> list[Record]:
    """The records of some trials, as far as all of them have come."""
    end = min(max(record.num_labeled for record in history if record.trial == trial) for trial in trials)
    return [record for record in history if record.trial in trials and record.num_labeled <= end]


def compare_with(history: Sequence[Record], baseline: Sequence[Record] | None) -> dict[str, Any]:
    """All of the above for each metric, as JSON can hold it; without a baseline, the area alone."""
    found: dict[str, Any] = {}
    for metric in METRICS:
        own = areas(history, metric)
        entry: dict[str, Any] = {"area_under_curve": sum(own.values()) / len(own)}
        if baseline is not None:
            area = area_difference(history, baseline, metric)
            differences = differences_by_labels(history, baseline, metric)
            entry |= {
                "area_difference": None if area is None else area._asdict(),
                "difference": {str(labels): one._asdict() for labels, one in differences.items()},
                "labels_saved": [one._asdict() for one in labels_saved(history, baseline, metric)],
            }
        found[metric] = entry
    return found


def describe_series(history: Sequence[Record], baseline: Sequence[Record] | None) -> dict[str, Any]:
    """What the JSON files beside pictures hold of a series."""
    return {"curve": summarise(history), "comparison": compare_with(history, baseline)}


def class_curves(history: Iterable[Record]) -> dict[int, list[float]]:
    """Mean F1 over trials of each class, by number of labels; empty where the history has none."""
    found: dict[int, list[tuple[float, ...]]] = {}
    for record in history:
        if record.class_f1:
            found.setdefault(record.num_labeled, []).append(record.class_f1)
    return {labels: np.mean(rows, axis=0).tolist() for labels, rows in sorted(found.items())}
