"""The pool keeps who was labelled when, and refuses what cannot be labelled."""

import numpy as np
import pytest

from aljax.errors import InputError
from aljax.loop.pool import Pool


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
