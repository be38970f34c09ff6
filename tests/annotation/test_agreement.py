"""Agreement of annotators: alpha by hand and by another implementation, and what disputed cells come to."""

import csv
import io

import numpy as np
import pytest

from aljax.annotation.agreement import (
    agreement_text,
    describe_agreement,
    find_disputed,
    krippendorff_alpha,
    resolve,
)
from aljax.arrays import UNKNOWN
from aljax.errors import InputError

U = UNKNOWN


def votes_of(*people: list[int]) -> np.ndarray:
    """Votes (people, tiles, 1) about one class."""
    return np.array(people, np.uint8)[:, :, None]


def draw(seed: int, people: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = rng.random((25, 4)) < 0.4
    votes = (truth ^ (rng.random((people, 25, 4)) < 0.2)).astype(np.uint8)
    return np.where(rng.random(votes.shape) < 0.3, U, votes).astype(np.uint8)


def test_alpha_worked_out_by_hand() -> None:
    # Two people, ten tiles, four of them with two ones or two zeros apart: Krippendorff's own example, 0.095.
    one, other = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert krippendorff_alpha(votes_of(one, other))[0] == pytest.approx(0.095, abs=5e-4)
    # A tile that one person has answered alone does not count.
    assert krippendorff_alpha(votes_of([*one, 1], [*other, U]))[0] == krippendorff_alpha(votes_of(one, other))[0]


def test_alpha_is_one_for_the_same_answers_and_not_defined_without_two_kinds_of_them() -> None:
    assert krippendorff_alpha(votes_of([0, 1, 1], [0, 1, 1]))[0] == 1.0
    for same in (votes_of([1, 1], [1, 1]), votes_of([0, 1], [U, U]), votes_of([0, 1])):
        assert np.isnan(krippendorff_alpha(same)[0])


@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_that_of_the_library(seed: int) -> None:
    krippendorff = pytest.importorskip("krippendorff")
    votes = draw(seed)
    for index, alpha in enumerate(krippendorff_alpha(votes)):
        table = np.where(votes[:, :, index] == U, np.nan, votes[:, :, index])
        assert alpha == pytest.approx(krippendorff.alpha(reliability_data=table, level_of_measurement="nominal"))


def test_rules_decide_what_is_disputed_and_nothing_else() -> None:
    votes = votes_of([1, 1, 1, 0, U, U, 1], [1, 0, 1, 0, 0, U, 0], [1, 1, U, U, U, U, U])
    assert find_disputed(votes)[:, 0].tolist() == [False, True, False, False, False, False, True]
    assert resolve(votes, "unknown")[:, 0].tolist() == [1, U, 1, 0, 0, U, U]
    assert resolve(votes, "majority")[:, 0].tolist() == [1, 1, 1, 0, 0, U, U]


def test_dawid_skene_believes_those_who_agree_with_others() -> None:
    pytest.importorskip("crowdkit")
    rng = np.random.default_rng(0)
    truth = (rng.random(80) < 0.5).astype(np.uint8)
    careful = [np.where(rng.random(80) < error, 1 - truth, truth) for error in (0.02, 0.05)]
    careless = (rng.random(80) < 0.5).astype(np.uint8)
    votes = np.stack([*careful, careless]).astype(np.uint8)[:, :, None]
    votes[1, :20] = U  # on these a careful and a careless person differ, and there is no majority
    found = resolve(votes, "dawid-skene")[:, 0]
    disputed = find_disputed(votes)[:, 0]
    assert (found == truth)[disputed].mean() > 0.9
    np.testing.assert_array_equal(found[~disputed], resolve(votes, "majority")[~disputed, 0])


def test_dawid_skene_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "crowdkit.aggregation", None)
    with pytest.raises(
        InputError, match=r"--disagreement dawid-skene needs crowd-kit .*: pip install 'aljax\[people\]'"
    ):
        resolve(votes_of([1, 0], [0, 0]), "dawid-skene")
    assert resolve(votes_of([1, 0], [1, 0]), "dawid-skene")[:, 0].tolist() == [1, 0]  # nothing is disputed


def test_table_and_lines_say_who_differs_from_whom() -> None:
    votes = np.concatenate([votes_of([1, 0, 1], [1, 1, 1], [U, 0, 0]), votes_of([0] * 3, [0] * 3, [U] * 3)], axis=2)
    rows = list(csv.DictReader(io.StringIO(agreement_text(votes, ["ana", "ben", "eva"], ["trees", "water"]))))
    assert [tuple(row.values())[:4] for row in rows[:4]] == [
        ("trees", "all", "3", "2"),
        ("trees", "ana ben", "3", "1"),
        ("trees", "ana eva", "2", "1"),
        ("trees", "ben eva", "2", "2"),
    ]
    assert rows[4]["alpha"] == ""  # of answers that are all the same it is not defined
    alpha, differ = describe_agreement(votes, ["ana", "ben", "eva"], ["trees", "water"])
    assert alpha == f"agreement, Krippendorff's alpha: trees {krippendorff_alpha(votes)[0]:.2f}"
    assert differ == "differ: ana and ben in 1 of 6 cells, ana and eva in 1 of 2 cells, ben and eva in 2 of 2 cells"
    assert describe_agreement(votes_of([1], [U]), ["ana", "ben"], ["trees"]) == []
