"""Any kind of array or key gives the right result, or an error that says what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_byte_order import CALLS, EMBEDDINGS, LABELS, LOSSES, PROBABILITIES

from aljax import Shortlist, evaluate, random_pairs, ranking_loss
from aljax.queries import badge, coverage, kmeans, select


def select_from_shortlist(rows: np.ndarray, scores: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    shortlist = Shortlist(12)
    shortlist.add(rows, scores, embeddings)
    return shortlist.select(jax.random.key(0), 7, 1)


@pytest.fixture(autouse=True)
def unchecked(as_users_have_it) -> None:
    """Without the types of the signatures, which only tests enforce."""


ALL = {
    **CALLS,
    "evaluate": (evaluate, (PROBABILITIES, LABELS)),
    "Shortlist": (
        lambda scores, embeddings: select_from_shortlist(np.arange(30), scores, embeddings),
        (LOSSES, EMBEDDINGS),
    ),
}


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "read-only": read_only,
    "Fortran's order": np.asfortranarray,
    "lists": np.ndarray.tolist,
    "a step of two": lambda array: np.repeat(array, 2, 0)[::2],
    "a step back": lambda array: array[::-1].copy()[::-1],
    "a mask of nothing": np.ma.masked_array,
    "more digits": lambda array: array.astype(np.longdouble) if array.dtype.kind == "f" else array,
}


def call(name: str, arrays: list) -> object:
    return ALL[name][0](*arrays)


@pytest.mark.parametrize("name", ALL)
def test_layout_of_an_array_changes_no_answer(name: str) -> None:
    native = [part.astype(np.float32 if part.dtype.kind == "f" else np.int32) for part in ALL[name][1]]
    expected = call(name, native)
    for layout in LAYOUTS.values():
        found = call(name, [layout(part) for part in native])
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6), found, expected)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda array: np.ma.masked_array(array, np.arange(array.size).reshape(array.shape) == 1),
            "masked values: fill",
        ),
        (lambda array: array.astype(object), "of type object: give real numbers"),
        (lambda array: array.astype(str), "of type <U.*: give real numbers"),
        (lambda array: array + 0j, "of type complex128: give real numbers"),
    ],
)
def test_what_is_no_number_is_refused(name: str, change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(name, [change(part) for part in ALL[name][1]])


@pytest.mark.parametrize("kind", [np.uint8, bool, np.int64])
def test_whole_losses_are_ranked_as_numbers(kind: type) -> None:
    predicted, true = np.array([[0, 1], [1, 0]]).astype(kind), np.array([[0, 1], [0, 1]]).astype(kind)
    # As unsigned integers 0 - 1 would be 255.
    np.testing.assert_array_equal(ranking_loss(predicted, true), [0.0, 2.0])


@pytest.mark.parametrize(
    "key", [3, np.int64(3), np.uint8(3), np.array(3), jnp.array(3), jax.random.key(3), np.array(3, ">i4")]
)
def test_keys_of_every_kind_are_that_of_the_number(key: object) -> None:
    np.testing.assert_array_equal(random_pairs(key, 8), random_pairs(3, 8))


def test_old_keys_draw_as_they_are() -> None:
    old = jax.random.PRNGKey(3)
    np.testing.assert_array_equal(random_pairs(np.asarray(old), 8), random_pairs(old, 8))


@pytest.mark.parametrize(
    "key", [1.5, None, "a", True, 2**32, 2**40 + 3, -(2**31) - 1, np.zeros(3), jax.random.split(jax.random.key(0), 2)]
)
def test_what_is_no_key_is_refused(key: object) -> None:
    calls = (
        lambda: random_pairs(key, 8),
        lambda: kmeans(key, EMBEDDINGS, 7),
        lambda: select(key, LOSSES, EMBEDDINGS, 7, 3),
        lambda: badge(key, EMBEDDINGS, PROBABILITIES, 7),
        lambda: coverage(key, EMBEDDINGS, 7),
    )
    for use_key in calls:
        with pytest.raises(ValueError, match=r"^the key is .*: give a whole number of 32 bits, or one key"):
            use_key()


def test_score_that_is_nan_never_enters_a_shortlist() -> None:
    scores = np.where(np.arange(30) == 4, np.nan, LOSSES)
    with pytest.raises(ValueError, match="the score of row 4 is NaN"):
        select_from_shortlist(np.arange(30), scores, EMBEDDINGS)


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (PROBABILITIES, LABELS * 255, "labels are not all 0 or 1"),
        (PROBABILITIES, LABELS[:-1], "labels have the shape"),
        (np.where(PROBABILITIES > 0.9, np.nan, PROBABILITIES), LABELS, "or probabilities not all finite"),
    ],
)
def test_metrics_of_what_is_not_to_be_measured_are_refused(probabilities, labels, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(probabilities, labels)
