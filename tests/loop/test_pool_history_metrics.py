"""Bookkeeping and metrics: small, and everything hangs on them."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from aljax.errors import InputError
from aljax.loop.history import Record, has_converged, summarise
from aljax.loop.metrics import evaluate
from aljax.loop.pool import Pool


def record(trial: int, labels: int, micro: float) -> Record:
    return Record(trial, 1, labels, micro, micro / 2, micro / 4, micro, ("a", "b"), 1.0, 2.0, 3.0)


def test_pool_keeps_the_order_and_the_round_of_every_label() -> None:
    pool = Pool(6).label(np.array([4, 1])).label(np.array([0]))
    assert pool.rounds == ((4, 1), (0,))
    np.testing.assert_array_equal(pool.labelled, [4, 1, 0])
    np.testing.assert_array_equal(pool.unlabelled, [2, 3, 5])
    assert pool.num_labelled == 3


def test_labelling_makes_a_new_pool_and_leaves_the_old_one() -> None:
    pool = Pool(3)
    pool.label(np.array([1]))
    assert pool.num_labelled == 0


@pytest.mark.parametrize(
    ("indices", "message"),
    [([1, 1], "twice"), ([9], "not in the pool"), ([-1], "not in the pool"), ([0], "labelled already")],
)
def test_impossible_labels_are_refused(indices: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Pool(3).label(np.array([0])).label(np.array(indices))


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


def test_metrics_worked_out_by_hand() -> None:
    labels = np.array([[1, 0], [1, 1], [0, 0], [0, 0]], np.uint8)
    probabilities = np.array([[0.9, 0.8], [0.2, 0.7], [0.6, 0.1], [0.1, 0.5]], np.float32)
    # Class 0: one hit, one miss, one false alarm. Class 1: one hit, one false alarm; 0.5 is not above 0.5.
    result = evaluate(probabilities, labels)
    assert result.micro_f1 == pytest.approx(2 * 2 / (2 * 2 + 2 + 1))
    assert result.macro_f1 == pytest.approx((0.5 + 2 / 3) / 2)
    assert result.mean_average_precision == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)


def test_class_without_a_positive_counts_in_macro_f1_but_not_in_average_precision() -> None:
    labels = np.array([[1, 0], [0, 0]], np.uint8)
    result = evaluate(np.array([[0.9, 0.1], [0.1, 0.1]], np.float32), labels)
    assert result.macro_f1 == pytest.approx(f1_score(labels, labels, average="macro", zero_division=0)) == 0.5
    assert result.mean_average_precision == 1.0


def test_one_class_has_the_f1_of_the_tiles_that_have_it() -> None:
    labels = np.array([[1], [1], [0], [0], [0]], np.uint8)
    result = evaluate(np.array([[0.9], [0.1], [0.1], [0.1], [0.8]], np.float32), labels)
    assert (result.micro_f1, result.macro_f1, result.class_f1) == (0.5, 0.5, (0.5,))
    nothing = evaluate(np.full((5, 1), 0.1, np.float32), np.zeros((5, 1), np.uint8))
    assert nothing == (0.0, 0.0, 0.0, (0.0,))
