"""The works of tools.benchmark on frozen features: a round over a large pool, the head's fit, pool-wide choices."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np
from numpy.lib import format as npy

from aljax.commands.process import prepare_process
from aljax.data import Archive, Split, split_tiles
from aljax.data.archive import Tiles
from aljax.data.augmentation import BandStatistics
from aljax.data.tiles.made import Made
from aljax.loop.iterations import Watcher, advance, begin_iteration, begin_trial
from aljax.loop.settings import Settings
from aljax.networks.head import Head, unit_features
from aljax.networks.model import Model, init_variables
from aljax.queries import badge, coreset
from aljax.training.head_fitting import fit_head
from aljax.training.prediction import predict_probabilities
from aljax.training.recipe import Recipe
from tools.benchmarked import NOTHING, NoStore
from tools.duel import Work

CLASSES, L2 = 17, 0.01
EVALUATED = 500  # tiles of the validation, and of the test
# Of the round: labelled tiles, and b and m.
LABELLED, BUDGET, MULTIPLIER = 2000, 1000, 4
ROWS_AT_ONCE = 8192


def block(count: int, width: int) -> np.ndarray:
    """Features (count, width) about as uneven as those of networks are: none below 0, most of them small."""
    return np.maximum(np.random.default_rng(0).normal(size=(count, width)).astype(np.float32), 0.0)


def write_rows(path: Path, count: int, width: int) -> None:
    """A file of features in half precision, no two rows the same: one block again and again, with columns moved."""
    rows = block(ROWS_AT_ONCE, width).astype(np.float16)
    with path.open("wb") as file:
        header = {"descr": npy.dtype_to_descr(rows.dtype), "fortran_order": False, "shape": (count, width)}
        npy.write_array_header_1_0(file, header)
        for number, start in enumerate(range(0, count, ROWS_AT_ONCE)):
            moved = np.roll(rows, number, 1) * np.float16(1 + number // width)
            file.write(np.ascontiguousarray(moved[: count - start]).data)


def true_labels(vectors: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Labels (N, C) that a linear head can learn, each class on a fifth of the tiles of the first rows."""
    found = np.empty((len(vectors), kernel.shape[1]), np.uint8)
    limit = np.quantile(vectors[:ROWS_AT_ONCE].astype(np.float32) @ kernel, 0.8, axis=0)
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        found[start : start + ROWS_AT_ONCE] = vectors[start : start + ROWS_AT_ONCE].astype(np.float32) @ kernel > limit
    return found


def kernel_of(width: int) -> np.ndarray:
    """Of a linear head (width, classes)."""
    return np.random.default_rng(1).normal(size=(width, CLASSES)).astype(np.float32)


def round_in_jax(pool: int, width: int) -> Work:
    """A round of the loop on features from disk: a fit on 2,000 labels, scores of the pool, 1,000 tiles chosen."""
    prepare_process()
    folder = TemporaryDirectory(prefix="aljax-rows-")
    path = Path(folder.name) / "features.npy"
    count = pool + 2 * EVALUATED
    write_rows(path, count, width)
    vectors = np.lib.format.open_memmap(path, mode="r")
    labels = np.zeros((count, CLASSES), np.uint8)
    settings = Settings(
        query="rarity",
        start="cold",
        budget=BUDGET,
        multiplier=MULTIPLIER,
        initial=LABELLED,
        max_labels=LABELLED + BUDGET,
        image_size=1,
        recipe=Recipe(l2=L2),
    )
    split = Split(np.arange(2 * EVALUATED, count), np.arange(EVALUATED), np.arange(EVALUATED, 2 * EVALUATED))
    ids, classes = Made(count, str), tuple(map(str, range(CLASSES)))
    archive = Archive("rows", vectors[:, None, None, :], labels, ids, classes, "rows")
    tiles = split_tiles(archive, split, settings.seed)
    begun, model = begin_trial(tiles.pool, settings, 0, ()), Model(Head(CLASSES))
    # Labels of those tiles that somebody looks at: reading them all to label them is none of the round's work.
    looked_at = np.concatenate([split.validation, split.test, split.pool[begun.pool.labelled]])
    labels[looked_at] = true_labels(vectors[looked_at], kernel_of(width))
    tiles = split_tiles(archive, split, settings.seed)

    def work(folder: TemporaryDirectory[str] = folder) -> Mapping[str, float]:
        state = begin_iteration(model, tiles.pool, settings, begun)
        state = advance(model, tiles, settings, state, NoStore(), Watcher())
        return {"tiles": float(len(state.history[-1].selected)), "micro F1": state.history[-1].micro_f1}

    return work


def pass_in_numpy(pool: int, width: int) -> Work:
    """One pass over the same file that does nothing but `embeddings @ kernel`, some rows at once."""
    folder = TemporaryDirectory(prefix="aljax-rows-")
    path = Path(folder.name) / "features.npy"
    write_rows(path, pool, width)
    vectors, kernel = np.lib.format.open_memmap(path, mode="r"), kernel_of(width)

    def work(folder: TemporaryDirectory[str] = folder) -> Mapping[str, float]:
        for start in range(0, pool, ROWS_AT_ONCE):
            vectors[start : start + ROWS_AT_ONCE].astype(np.float32) @ kernel
        return NOTHING

    return work


def labelled_rows(count: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Features as the head reads them, and labels, one in ten of them wrong."""
    vectors = block(count, width)
    vectors = np.asarray(unit_features(vectors - vectors.mean(0)))
    labels = true_labels(vectors, kernel_of(width))
    wrong = np.random.default_rng(2).random(labels.shape) < 0.1
    return vectors, np.where(wrong, 1 - labels, labels).astype(np.uint8)


def mean_objective(logits: np.ndarray, labels: np.ndarray, kernel: np.ndarray) -> float:
    """What both ways minimise: eq. 1 over the tiles, and half of `L2` times the squares of the kernel."""
    losses = np.logaddexp(0.0, logits.astype(np.float64)) - labels * logits
    return float(losses.sum(1).mean() + 0.5 * L2 * np.square(kernel.astype(np.float64)).sum())


def fit_in_jax(count: int, width: int) -> Work:
    """A fit of the linear head, and its predictions of the same tiles."""
    prepare_process()
    vectors, labels = labelled_rows(count, width)
    statistics = BandStatistics(np.zeros(width, np.float32), np.ones(width, np.float32))
    tiles = Tiles(vectors[:, None, None, :], np.arange(count), labels, statistics)
    model, recipe = Model(Head(CLASSES)), Recipe(l2=L2)
    start = init_variables(jax.random.key(0), model, 1, width)

    def work() -> Mapping[str, float]:
        found = fit_head(model, recipe, start, tiles, np.ones(count, bool), None, jax.random.key(1))
        probabilities = predict_probabilities(model, found, tiles)
        logits = np.log(probabilities) - np.log1p(-probabilities)
        return {"objective": mean_objective(logits, labels, np.asarray(found["params"]["network"]["head"]["kernel"]))}

    return work


def fit_in_sklearn(count: int, width: int) -> Work:
    """The same by scikit-learn, a logistic regression for each class, with its own tolerance."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    vectors, labels = labelled_rows(count, width)

    def work() -> Mapping[str, float]:
        found = OneVsRestClassifier(LogisticRegression(C=1.0 / (count * L2), max_iter=1000)).fit(vectors, labels)
        found.predict_proba(vectors)
        kernel = np.concatenate([each.coef_ for each in found.estimators_]).T
        logits = vectors @ kernel + np.concatenate([each.intercept_ for each in found.estimators_])
        return {"objective": mean_objective(logits, labels, kernel)}

    return work


def choose_in_jax(choice: str, count: int, width: int, labelled: int, budget: int) -> Work:
    """BADGE or core-set of a whole pool."""
    prepare_process()
    vectors = block(count + labelled, width)
    residuals = np.random.default_rng(3).uniform(-0.5, 0.5, (count, CLASSES)).astype(np.float32)

    def work() -> Mapping[str, float]:
        if choice == "badge":
            chosen = badge(0, vectors[labelled:], residuals, budget)
        else:
            chosen = coreset(vectors[labelled:], vectors[:labelled], budget)
        return {"tiles": float(len(chosen))}

    return work


def choose_in_skactiveml(choice: str, count: int, width: int, labelled: int, budget: int) -> Work:
    """The same by scikit-activeml, which knows one label a tile."""
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.pool import Badge, CoreSet
    from sklearn.linear_model import LogisticRegression

    vectors = block(count + labelled, width)
    labels = np.full(len(vectors), np.nan)
    labels[:labelled] = np.random.default_rng(3).integers(0, CLASSES, labelled)
    learner: Any = SklearnClassifier(LogisticRegression(max_iter=5), classes=np.arange(CLASSES))
    if choice == "badge":
        learner.fit(vectors, labels)

    def work() -> Mapping[str, float]:
        if choice == "badge":
            chosen = Badge(random_state=0).query(vectors, labels, learner, fit_clf=False, batch_size=budget)
        else:
            chosen = CoreSet(random_state=0).query(vectors, labels, batch_size=budget)
        return {"tiles": float(len(chosen))}

    return work
