"""How much better one series is than another: numbers worked out by hand, and SciPy's."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from aljax.loop.history import Record
from aljax.reports.comparison import (
    area_difference,
    areas,
    class_curves,
    compare_with,
    differences_by_labels,
    labels_saved,
    labels_to_reach,
    paired_difference,
)


def series(*trials: list[float], labels: tuple[int, ...] = (40, 60, 100), first: int = 1) -> list[Record]:
    """A history with the micro F1 of each trial; macro F1 is half of it."""
    return [
        Record(trial, step, count, value, value / 2, value, value, (), 1.0, 1.0, 1.0, (value, 0.0))
        for trial, values in enumerate(trials, start=first)
        for step, (count, value) in enumerate(zip(labels, values, strict=True), start=1)
    ]


OURS = series([0.5, 0.7, 0.8], [0.4, 0.6, 0.9], [0.6, 0.6, 0.7])
RANDOM = series([0.5, 0.6, 0.7], [0.4, 0.5, 0.6], [0.6, 0.7, 0.7])


def test_interval_is_that_of_the_paired_t_test() -> None:
    ours, theirs = np.array([0.8, 0.9, 0.7]), np.array([0.7, 0.6, 0.7])
    interval = ttest_rel(ours, theirs).confidence_interval(0.95)
    found = differences_by_labels(OURS, RANDOM, "micro_f1")[100]
    assert found.mean == pytest.approx(0.4 / 3)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.trials == 3


def test_trials_that_only_one_series_has_are_left_out_and_one_trial_has_no_interval() -> None:
    found = paired_difference({1: 0.5, 3: 0.9}, {1: 0.4, 2: 0.1})
    assert found is not None
    assert found.mean == pytest.approx(0.1)
    assert (found.low, found.high, found.trials) == (None, None, 1)
    assert paired_difference({1: 0.5}, {2: 0.5}) is None


def test_area_weighs_the_score_by_the_labels_between_points() -> None:
    # Trapezia of width 20 and 40: (0.6 * 20 + 0.75 * 40) / 60.
    assert areas(OURS, "micro_f1")[1] == pytest.approx(0.7)
    assert areas(OURS, "macro_f1")[1] == pytest.approx(0.35)
    assert areas(series([0.3], labels=(40,)), "micro_f1") == {1: 0.3}


@pytest.mark.parametrize(("level", "labels"), [(0.5, 40), (0.45, 40), (0.6, 52), (0.8, 100), (0.81, None)])
def test_labels_for_a_score_lie_on_the_line_between_points(level: float, labels: float | None) -> None:
    # Means of three trials: 0.5 at 40, 0.63 at 60, 0.8 at 100.
    means = series([0.5, 2 / 3, 0.8])
    assert labels_to_reach(means, "micro_f1", level) == (None if labels is None else pytest.approx(labels))


def test_labels_saved_are_for_the_baselines_own_scores() -> None:
    saved = labels_saved(series([0.5, 0.6, 0.7]), series([0.5, 0.55, 0.8]), "micro_f1")
    assert [one.baseline_labels for one in saved] == [60, 100]
    assert saved[0].labels == pytest.approx(50)
    assert saved[1].labels is None


def test_score_that_the_baseline_had_before_saves_no_labels() -> None:
    baseline = series([0.5, 0.7, 0.6, 0.8], labels=(40, 60, 80, 100))
    for one in labels_saved(baseline, baseline, "micro_f1"):
        assert one.labels == one.baseline_labels
    assert [one.baseline_labels for one in labels_saved(baseline, baseline, "micro_f1")] == [60, 100]
    falling = series([0.5, 0.4], labels=(40, 60))
    assert labels_saved(falling, falling, "micro_f1") == []


def test_areas_are_compared_over_the_labels_that_both_have_and_equal_scores_are_one() -> None:
    short, long = series([0.5, 0.6, 0.7], labels=(40, 60, 80)), series([0.5, 0.7, 0.9], labels=(40, 80, 160))
    assert compare_with(long, short)["micro_f1"]["area_difference"]["mean"] == pytest.approx(0.0)
    point = area_difference(series([0.5, 0.6, 0.7]), series([0.4], labels=(40,)), "micro_f1")
    assert point is not None
    assert point.mean == pytest.approx(0.1)
    level = series([0.5, 0.7, 0.7])
    assert [one.baseline_labels for one in labels_saved(level, level, "micro_f1")] == [60]


def test_comparison_is_json_and_has_no_difference_without_a_baseline() -> None:
    found = compare_with(OURS, RANDOM)
    assert found["micro_f1"]["area_difference"]["trials"] == 3
    assert list(found["macro_f1"]["difference"]) == ["40", "60", "100"]
    assert list(compare_with(OURS, None)["micro_f1"]) == ["area_under_curve"]


def test_class_curves_are_means_over_trials_and_empty_for_older_histories() -> None:
    assert class_curves(OURS)[60] == pytest.approx([(0.7 + 0.6 + 0.6) / 3, 0.0])
    old = [Record(1, 1, 40, 0.5, 0.5, 0.5, 0.5, (), 1.0, 1.0, 1.0)]
    assert class_curves(old) == {}


def test_area_difference_is_over_the_labels_that_both_have() -> None:
    # Level with each other, but one goes on: over its own range its area is larger.
    short = series([0.5, 0.6, 0.7], labels=(40, 60, 80))
    long = series([0.5, 0.7, 0.9], labels=(40, 80, 160))
    difference = area_difference(long, short, "micro_f1")
    assert difference is not None
    assert difference.mean == pytest.approx(0.0)
    assert area_difference(series([0.9, 0.9], labels=(200, 240)), short, "micro_f1") is None


def test_labels_saved_are_of_the_trials_that_both_have() -> None:
    baseline = series([0.6, 0.7, 0.8], [0.6, 0.7, 0.8])
    # The second trial has just begun: beyond its 40 labels no mean is of both.
    running = [*series([0.6, 0.8, 0.9]), *series([0.1], labels=(40,), first=2)]
    assert [one.labels for one in labels_saved(running, baseline, "micro_f1")] == [None, None]
    (first, second) = labels_saved(series([0.6, 0.8, 0.9]), baseline, "micro_f1")
    assert (first.labels, second.labels) == (pytest.approx(50), pytest.approx(60))
