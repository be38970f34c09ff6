"""Records survive their lines, and say when a trial has converged."""

import numpy as np
import pytest

from aljax.loop.history import Record, has_converged, summarise


def record(trial: int, labels: int, micro: float) -> Record:
    return Record(trial, 1, labels, micro, micro / 2, micro / 4, micro, ("a", "b"), 1.0, 2.0, 3.0)


def test_record_survives_its_line() -> None:
    original = record(1, 40, 0.123456789012345)
    assert Record.from_line(original.to_line()) == original


@pytest.mark.parametrize("line", ["[1, 2]", "3", '{"trial": 1}', "half a li"])
def test_line_that_is_no_record_is_an_error_of_those_that_readers_expect(line: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        Record.from_line(line)


def test_convergence_needs_patience_iterations_without_a_gain() -> None:
    scores = [0.5, 0.6, 0.6005, 0.599]
    assert has_converged(scores, patience=2, min_gain=0.001)
    assert not has_converged(scores, patience=2, min_gain=0.0001)
    assert not has_converged(scores, patience=3, min_gain=0.001)
    assert not has_converged(scores[:2], patience=2, min_gain=0.001)
    assert not has_converged([0.5] * 9, patience=0, min_gain=0.001)
    # A gain is one over the best before, and as much as was asked for is enough.
    assert has_converged([0.7, 0.5, 0.6], patience=1, min_gain=0.001)
    assert not has_converged([0.5, 0.75], patience=1, min_gain=0.25)


def test_summary_is_mean_and_deviation_over_trials() -> None:
    rows = summarise([record(1, 40, 0.5), record(2, 40, 0.7), record(1, 60, 0.8)])
    assert [row["num_labeled"] for row in rows] == [40, 60]
    assert [row["trials"] for row in rows] == [2, 1]
    assert rows[0]["micro_f1"] == pytest.approx(0.6)
    assert rows[0]["micro_f1_std"] == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert rows[1]["micro_f1_std"] == 0.0
