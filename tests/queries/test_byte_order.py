"""A compiled JAX function may read big-endian numbers in the wrong byte order: none of aljax's functions does."""

import inspect
from collections.abc import Callable

import jax
import numpy as np
import pytest

from aljax import bce_loss, ranking_loss
from aljax.queries import (
    badge,
    bald_scores,
    coreset,
    coverage,
    entropy_scores,
    gradient_embeddings,
    kmeans,
    least_confidence_scores,
    ll_scores,
    margin_scores,
    mge_scores,
    pseudo_residuals,
    rarity_scores,
    select,
    tpd_scores,
)

rng = np.random.default_rng(0)
N, D, C = 30, 6, 4
PROBABILITIES, PREVIOUS = rng.random((2, N, C))
LOGITS, EMBEDDINGS, LABELS = rng.normal(size=(N, C)), rng.normal(size=(N, D)), rng.integers(0, 2, (N, C))
KERNEL, BIAS, LOSSES = rng.normal(size=(D, C)), rng.normal(size=C), rng.random(N)
POSITIVES, DRAWS, PAIRS = np.array([0, 3, 9, 20]), rng.random((3, N, C)), rng.random((2, 16, 2))

# Name: the function of arrays, and the arrays.
CALLS: dict[str, tuple[Callable, tuple[np.ndarray, ...]]] = {
    "ll_scores": (ll_scores, (LOSSES,)),
    "tpd_scores": (tpd_scores, (PROBABILITIES, PREVIOUS)),
    "mge_scores": (lambda k, b, e: mge_scores({"kernel": k, "bias": b}, e), (KERNEL, BIAS, EMBEDDINGS)),
    "gradient_embeddings": (
        lambda k, b, e: gradient_embeddings({"kernel": k, "bias": b}, e),
        (KERNEL, BIAS, EMBEDDINGS),
    ),
    "pseudo_residuals": (pseudo_residuals, (LOGITS,)),
    "entropy_scores": (entropy_scores, (PROBABILITIES,)),
    "margin_scores": (margin_scores, (PROBABILITIES,)),
    "least_confidence_scores": (least_confidence_scores, (PROBABILITIES,)),
    "rarity_scores": (lambda p, positives: rarity_scores(p, positives, 20), (PROBABILITIES, POSITIVES)),
    "bald_scores": (bald_scores, (DRAWS,)),
    "kmeans": (lambda points: kmeans(0, points, 7), (EMBEDDINGS,)),
    "select": (lambda scores, features: select(0, scores, features, 7, 5), (LOSSES, EMBEDDINGS)),
    "badge": (lambda e, r: badge(0, e, r, 7), (EMBEDDINGS, LOGITS)),
    "coreset": (lambda f, labelled: coreset(f, labelled, 7), (EMBEDDINGS, EMBEDDINGS[:3] + 1.0)),
    "coverage": (lambda f: coverage(0, f, 7), (EMBEDDINGS,)),
    "bce_loss": (bce_loss, (LOGITS, LABELS)),
    "ranking_loss": (ranking_loss, tuple(PAIRS)),
}


@pytest.mark.parametrize("name", CALLS)
def test_big_endian_arrays_give_the_answer_of_native_ones(name: str) -> None:
    function, arrays = CALLS[name]
    native = [part.astype(np.float32 if part.dtype.kind == "f" else np.int32) for part in arrays]
    expected = function(*native)
    for wide in (False, True):
        types = {"f": ">f8" if wide else ">f4", "i": ">i8" if wide else ">i4"}
        found = inspect.unwrap(function)(*(part.astype(types[part.dtype.kind]) for part in native))
        jax.tree.map(np.testing.assert_array_equal, found, expected)
