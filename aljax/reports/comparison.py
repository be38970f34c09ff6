"""How much better one series of trials is than another: paired differences, areas under curves, labels saved.

Trials are paired: trial k of every query function begins with the same labelled tiles, so the variation between initial
sets, which is larger than most differences, cancels.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from aljax.loop.history import Record, known_metrics, summarise

CONFIDENCE = 0.95


class Difference(NamedTuple):
    """Mean of the paired differences and, from two trials on, its 95 % confidence interval by Student's t."""

    mean: float
    low: float | None
    high: float | None
    trials: int

    def scaled(self, factor: float) -> "Difference":
        """The difference times a factor: 100 gives percentage points."""
        low, high = (None if bound is None else factor * bound for bound in (self.low, self.high))
        return Difference(factor * self.mean, low, high, self.trials)

    def in_points(self, digits: int) -> str:
        """Percentage points as text, with the interval if there is one: "+6.3 [+2.7, +10.0]"."""
        mean, low, high, _ = self.scaled(100.0)
        if low is None or high is None:
            return f"{mean:+.{digits}f}"
        return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def paired_difference(values: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    """The difference of two series of values by trial; None if they share no trial.

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
    """The paired difference of a metric at each number of labels that both series have."""
    both = _curves(history, metric), _curves(baseline, metric)
    found = {}
    for labels in sorted({labels for curve in both[0].values() for labels in curve}):
        ours, theirs = ({trial: at[labels] for trial, at in curves.items() if labels in at} for curves in both)
        if (difference := paired_difference(ours, theirs)) is not None:
            found[labels] = difference
    return found


Curve = dict[int, float]
"""A metric by the number of labels, in ascending order."""


def _curves(history: Iterable[Record], metric: str) -> dict[int, Curve]:
    """The curve of each trial."""
    curves: dict[int, Curve] = {}
    for record in sorted(history, key=lambda record: record.num_labeled):
        curves.setdefault(record.trial, {})[record.num_labeled] = getattr(record, metric)
    return curves


def areas(history: Iterable[Record], metric: str) -> dict[int, float]:
    """Area under each trial's learning curve divided by its range of labels: the mean of the metric along it."""
    return {trial: _normalised_area(points) for trial, points in _curves(history, metric).items()}


def _normalised_area(points: Curve) -> float:
    labels, values = list(points), list(points.values())
    if len(points) == 1:
        return float(values[0])
    return float(np.trapezoid(values, labels) / (labels[-1] - labels[0]))


def area_difference(history: Iterable[Record], baseline: Iterable[Record], metric: str) -> Difference | None:
    """The paired difference of `areas`; each pair of curves is clipped to the range of labels that both cover."""
    curves, others = _curves(history, metric), _curves(baseline, metric)
    ours: dict[int, float] = {}
    theirs: dict[int, float] = {}
    for trial in curves.keys() & others.keys():
        pair = curves[trial], others[trial]
        first, last = max(map(min, pair)), min(map(max, pair))
        if first <= last:
            ours[trial], theirs[trial] = (_normalised_area(_clip(points, first, last)) for points in pair)
    return paired_difference(ours, theirs)


def _clip(points: Curve, first: int, last: int) -> Curve:
    """The curve from `first` to `last` labels, with both ends interpolated linearly."""
    places = [first, *(labels for labels in points if first < labels < last), last]
    return {place: float(np.interp(place, list(points), list(points.values()))) for place in places}


def labels_to_reach(history: Iterable[Record], metric: str, level: float) -> float | None:
    """Number of labels at which the mean curve first reaches `level`, by linear interpolation; None if it never does.

    If the first point is above the level, its number of labels.
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
    """Numbers of labels that a series and its baseline need for the same score."""

    level: float
    baseline_labels: int
    labels: float | None
    """None: the series does not reach it."""


def labels_saved(history: Sequence[Record], baseline: Sequence[Record], metric: str) -> list[Saved]:
    """Labels that a series needs for each score that its baseline reaches: for each new maximum of its mean curve.

    Means are over the trials that both series have, up to the number of labels at which the shortest of these ends. The
    baseline's first score, with the initial labels, is left out.
    """
    trials = {record.trial for record in history} & {record.trial for record in baseline}
    if trials:
        history, baseline = (_common_part(series, trials) for series in (history, baseline))
    first, *rows = summarise(baseline)
    levels, best = [], first[metric]
    for row in rows:
        if row[metric] > best:
            best = row[metric]
            levels.append(Saved(best, int(row["num_labeled"]), labels_to_reach(history, metric, best)))
    return levels


def _common_part(history: Sequence[Record], trials: Set[int]) -> list[Record]:
    """The records of some trials, up to the last number of labels that all of them have reached."""
    end = min(max(record.num_labeled for record in history if record.trial == trial) for trial in trials)
    return [record for record in history if record.trial in trials and record.num_labeled <= end]


def compare_with(history: Sequence[Record], baseline: Sequence[Record] | None) -> dict[str, Any]:
    """All comparisons of this module for each metric that both have, as JSON; without a baseline, the area alone."""
    found: dict[str, Any] = {}
    for metric in known_metrics([*history, *(baseline or ())]):
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
    """A series in `summary.json`: its curve and its comparison with the baseline."""
    return {"curve": summarise(history), "comparison": compare_with(history, baseline)}


def class_curves(history: Iterable[Record]) -> dict[int, list[float]]:
    """Mean F1 of each class over trials, by number of labels; empty if the history has no F1 of classes."""
    found: dict[int, list[tuple[float, ...]]] = {}
    for record in history:
        if record.class_f1:
            found.setdefault(record.num_labeled, []).append(record.class_f1)
    return {labels: np.mean(rows, axis=0).tolist() for labels, rows in sorted(found.items())}
