"""The tasks of tools.benchmark: each function prepares one and returns what does it once and waits for the device."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aljax.commands.process import ask_for_determinism, prepare_process
from aljax.data import Archive, Split, Tiles, split_tiles
from aljax.data.augmentation import BandStatistics
from aljax.loop.iterations import Watcher, advance, begin_iteration, begin_trial
from aljax.loop.pool import Pool
from aljax.loop.querying import make_score
from aljax.loop.settings import Settings
from aljax.loop.state import Measured, RunState
from aljax.networks import DenseNet121, LossHead
from aljax.networks.model import Model, Variables, init_variables
from aljax.queries import Shortlist, gradient_embeddings, kmeans, mge_scores
from aljax.training.fitting import begin_fit, make_epoch
from aljax.training.prediction import predict_batches
from aljax.training.recipe import Recipe
from aljax.training.steps import Batch, train_on_batch, train_on_device
from aljax.xla.programs import VARIABLE, keep_programs
from tools.duel import Work

CLASSES = {3: 17, 4: 15}
MEAN, DEVIATION = 127.5, 73.9
# Of the iteration: b and m as for UC Merced, and a batch of test and of validation tiles.
BUDGET, MULTIPLIER, EVALUATED = 20, 3, 64
NOTHING: Mapping[str, float] = {}


def pixels(count: int, size: int, bands: int) -> np.ndarray:
    """Noise as tiles (count, size, size, bands)."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, bands), dtype=np.uint8)


def multi_labels(count: int, classes: int) -> np.ndarray:
    """Random multi-labels (count, classes)."""
    return np.random.default_rng(1).integers(0, 2, (count, classes), dtype=np.uint8)


def fresh_model(size: int, bands: int, precision: str, head: bool = False) -> tuple[Model, Variables]:
    """DenseNet121 with random weights, and with a loss head if asked."""
    prepare_process()
    model = Model(DenseNet121(CLASSES[bands], jnp.dtype(precision)), LossHead() if head else None)
    return model, init_variables(jax.random.key(0), model, size, bands)


def pool_on_device(count: int, size: int, bands: int) -> Tiles:
    """A pool of noise whose pixels are on the device."""
    images, elsewhere = jax.device_put(pixels(count, size, bands)), np.empty((0, size, size, bands), np.uint8)
    statistics = BandStatistics(np.full(bands, MEAN, np.float32), np.full(bands, DEVIATION, np.float32))
    return Tiles(elsewhere, np.arange(count), multi_labels(count, CLASSES[bands]), statistics, images)


def begin_training(batch: int, size: int, bands: int, precision: str, steps: int = 1) -> Callable[[], jax.Array]:
    """A function that starts so many steps of a fit, several in one call, and returns an array to wait for."""
    model, variables = fresh_model(size, bands, precision)
    recipe, pool = Recipe(momentum=0.9), pool_on_device(batch * steps, size, bands)
    assert pool.on_device is not None
    start, tiles = begin_fit(recipe, variables), Batch(pool.on_device, jax.device_put(pool.labels))
    program: Any = partial(train_on_batch, model, recipe)
    given: tuple[Any, ...] = tiles, pool.statistics, make_epoch(recipe, 0, jax.random.key(1)), np.asarray(0, np.int32)
    if steps > 1:
        program = partial(train_on_device, model, recipe, batch)
        given = (*given[:-1], pool.indices.astype(np.int32), np.array([0, steps], np.int32))
    # The result of a step is donated to the next one.
    carries = [(start.state, start.sums)]

    def begin() -> jax.Array:
        carries[0], done = program(*carries[0], *given)
        return done

    return begin


def train_in_jax(deterministic: bool = False, **arguments: Any) -> Work:
    """Steps of the fit: augmentation, standardisation, forward, backward, SGD; several as on an accelerator."""
    if deterministic:
        ask_for_determinism()
    begin = begin_training(**arguments)

    def work() -> Mapping[str, float]:
        begin().block_until_ready()
        return NOTHING

    return work


FIRST_STEP = "from tools.benchmarked import begin_first_step; begin_first_step(**{})"


def start_in_jax(**arguments: Any) -> Work:
    """From the start of a process to its first step of a fit, with the compiled programs of the process before it."""
    folder = TemporaryDirectory(prefix="aljax-programs-")

    def work() -> Mapping[str, float]:
        environment = {**os.environ, VARIABLE: folder.name}  # the folder lasts as long as this function
        command = [sys.executable, "-c", FIRST_STEP.format(arguments)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            begun = process.stdout.readline()
            process.kill()
        if not begun:
            raise RuntimeError("the process ended before its first step")
        return NOTHING

    return work


def begin_first_step(**arguments: Any) -> None:
    """Prints a line when the first step has started."""
    keep_programs()
    begin_training(**arguments)()
    print("begun", flush=True)


def score_in_jax(count: int, batch: int, size: int, bands: int, precision: str) -> Work:
    """A pass over a pool that is on the device: probabilities and embeddings of every tile."""
    model, variables = fresh_model(size, bands, precision)
    pool = pool_on_device(count, size, bands)

    def work() -> Mapping[str, float]:
        for _, predictions in predict_batches(model, variables, pool, pool.indices, batch):
            predictions.embeddings.block_until_ready()
        return NOTHING

    return work


class NoStore:
    """Keeps nothing."""

    def restore(self) -> None: ...

    def save(self, state: RunState) -> None: ...

    def offer(self, state: RunState) -> None: ...

    def keep(self, state: RunState, measured: Measured) -> None: ...


def iterate_in_jax(labelled: int, epochs: int, pool: int, size: int, bands: int, precision: str, **engine: Any) -> Work:
    """A whole iteration of the loop with MGE and warm start: fit, evaluation, scores of the pool, clustering."""
    model, variables = fresh_model(size, bands, precision)
    sizes: dict[str, Any] = {"initial": labelled, "max_labels": labelled + BUDGET, "image_size": size, **engine}
    settings = Settings(
        query="mge", budget=BUDGET, multiplier=MULTIPLIER, recipe=Recipe(epochs=epochs, momentum=0.9), **sizes
    )
    count, classes = pool + 2 * EVALUATED, CLASSES[bands]
    images, labels = pixels(count, size, bands), multi_labels(count, classes)
    archive = Archive("noise", images, labels, tuple(map(str, range(count))), tuple(map(str, range(classes))))
    split = Split(*np.split(np.arange(count), [pool, pool + EVALUATED]))
    tiles = split_tiles(archive, split, settings.seed)
    begun = [begin_trial(tiles.pool, settings, 0, ())._replace(variables=variables)]

    def work() -> Mapping[str, float]:
        state = begin_iteration(model, tiles.pool, settings, begun[0])
        state = advance(model, tiles, settings, state, NoStore(), Watcher())
        begun[0] = begun[0]._replace(variables=state.variables)
        return {"tiles": float(len(state.history[-1].selected))}

    return work


def embeddings(count: int, dimension: int = 1024) -> np.ndarray:
    """Points (count, dimension) as uneven as embeddings: more clusters than are sought, of unequal sizes and widths."""
    rng = np.random.default_rng(2)
    centers = np.maximum(rng.normal(size=(max(count // 8, 4), dimension)), 0.0)
    chosen = rng.choice(len(centers), count, p=rng.dirichlet(np.ones(len(centers))))
    points = centers[chosen] + rng.normal(size=(count, dimension)) * rng.uniform(0.2, 1.0, (count, 1))
    return points.astype(np.float32)


def kmeans_in_jax(count: int, clusters: int) -> Work:
    """k-means++ and Lloyd, with another seed each time, because with few points one seeding is luck."""
    prepare_process()
    points, seeds = jax.device_put(embeddings(count)), itertools.count()

    def work() -> Mapping[str, float]:
        return {"inertia": float(kmeans(jax.random.key(next(seeds)), points, clusters).inertia)}

    return work


def kmeans_in_sklearn(count: int, clusters: int) -> Work:
    """The same by scikit-learn, with the same stopping rule: no tolerance, one seeding."""
    from sklearn.cluster import KMeans

    points, seeds = embeddings(count), itertools.count()

    def work() -> Mapping[str, float]:
        found = KMeans(clusters, n_init=1, max_iter=100, tol=0.0, random_state=next(seeds)).fit(points)
        return {"inertia": float(found.inertia_)}

    return work


def mge_in_jax(count: int, materialised: bool) -> Work:
    """MGE scores by the product of norms or, if `materialised`, as norms of the full gradients."""
    prepare_process()
    layer = {"kernel": jax.random.normal(jax.random.key(0), (1024, 15)) * 0.05, "bias": jnp.zeros(15)}
    points = jax.device_put(embeddings(count))

    @jax.jit
    def norms(points: jax.Array) -> jax.Array:
        gradients = gradient_embeddings(layer, points)
        return jnp.sqrt(sum(jnp.square(part).reshape(len(points), -1).sum(1) for part in gradients.values()))

    def work() -> Mapping[str, float]:
        scores = norms(points) if materialised else mge_scores(layer, points)
        return {"mean": float(scores.mean())}

    return work


def select_in_jax(query: str, pool: int, size: int, bands: int, budget: int, multiplier: int, precision: str) -> Work:
    """One whole selection of Table I: a pass over the pool, its scores, and clustering."""
    model, variables = fresh_model(size, bands, precision, head=query == "ll")
    settings = Settings(query=query, budget=budget, multiplier=multiplier)
    tiles = pool_on_device(pool, size, bands)
    before = np.random.default_rng(3).random(tiles.labels.shape, np.float32)
    state = RunState(0, 2, Pool(pool), variables, before, ())

    def work() -> Mapping[str, float]:
        score, shortlist = make_score(settings, tiles, state), Shortlist(multiplier * budget)
        for chunk, batch in predict_batches(model, variables, tiles, tiles.indices):
            shortlist.add(chunk, score(chunk, batch), batch.embeddings)
        chosen = shortlist.select(jax.random.key(1), budget, multiplier)
        return {"tiles": float(len(chosen))}

    return work
