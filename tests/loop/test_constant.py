"""The constant prediction: the best of all sets of classes, by brute force, and measured on the test tiles."""

from itertools import chain, combinations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from aljax.arrays import UNKNOWN
from aljax.loop.constant import KEYS, Constant, best_constant, from_config, score_constant


def draw(seed: int, tiles: int = 30) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random((tiles, 5)) < rng.random(5) ** 2).astype(np.uint8)


@pytest.mark.parametrize("seed", range(8))
def test_no_other_set_of_classes_scores_more(seed: int) -> None:
    labels = draw(seed)
    found = best_constant(labels)

    def score(classes: tuple[int, ...]) -> float:
        predicted = np.zeros(labels.size).reshape(labels.shape)
        predicted[:, list(classes)] = 1
        hits = (predicted * labels).sum()
        return 2 * hits / (predicted.sum() + labels.sum())

    every = chain.from_iterable(combinations(range(5), size) for size in range(1, 6))
    assert score(tuple(found)) == max(map(score, every))
    counts = labels.sum(0)[found]
    assert list(counts) == sorted(counts, reverse=True)


def test_classes_are_those_of_the_pool_and_scores_those_of_the_test() -> None:
    pool, test = draw(0), draw(1)
    classes = best_constant(pool)
    found = score_constant("abcde", pool, test)
    predicted = np.zeros(test.shape)
    predicted[:, classes] = 1
    assert found.classes == tuple("abcde"[index] for index in classes)
    assert found.micro_f1 == pytest.approx(f1_score(test, predicted, average="micro"))
    assert found.macro_f1 == pytest.approx(f1_score(test, predicted, average="macro", zero_division=0))


def test_constant_survives_the_configuration_which_older_runs_lack() -> None:
    found = score_constant("abcde", draw(0), draw(1))
    assert from_config({"tiles": 3, **found.to_config()}) == found
    assert from_config({"tiles": 3}) is None
    assert list(found.to_config()) == list(KEYS)
    assert Constant(("a",), 0.5, 0.5).title == "always the commonest class"
    assert best_constant(np.zeros((3, 2), np.uint8)).tolist() == [0]  # nothing is labelled yet


@pytest.mark.parametrize("seed", range(8))
def test_no_other_set_of_classes_scores_more_on_the_known_cells(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hidden = rng.random((30, 5)) < rng.random(5)  # of some classes most cells
    labels = np.where(hidden, UNKNOWN, draw(seed)).astype(np.uint8)

    def score(classes: tuple[int, ...]) -> float:
        hits = (labels[:, list(classes)] == 1).sum()
        return 2 * hits / max((labels[:, list(classes)] != UNKNOWN).sum() + (labels == 1).sum(), 1)

    every = chain.from_iterable(combinations(range(5), size) for size in range(1, 6))
    assert score(tuple(best_constant(labels))) == max(map(score, every))
    found = score_constant("abcde", labels, labels)
    assert found.micro_f1 == pytest.approx(score(tuple("abcde".index(name) for name in found.classes)))
