"""The active-learning loop: fit, evaluate, predict, score, select, label, save."""

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Int

from aljax.data.archive import SplitTiles, Tiles
from aljax.data.augmentation import BandStatistics
from aljax.data.tiles.images import Images, stream
from aljax.data.tiles.resizing import shrink
from aljax.errors import DivergedError, InputError
from aljax.keys import Purpose, derive_key
from aljax.loop.history import Record
from aljax.loop.pool import Pool
from aljax.loop.querying import choose, predict
from aljax.loop.settings import Settings
from aljax.loop.spacing import spaced
from aljax.loop.state import Fitted, Measured, Predicted, RunState, Seconds, Training
from aljax.networks.head import Head, unit_features
from aljax.networks.model import Model, init_variables
from aljax.queries.diversity import Covering, cover
from aljax.queries.table import find_query
from aljax.training.fitting import Fit, begin_fit, fit
from aljax.training.weights import Weights, start_from

SIDE = 8  # of thumbnails, in blocks: colours and coarse forms
COVERED = 20_000  # tiles of a larger pool that are sampled for the first batch to cover


@runtime_checkable
class Store(Protocol):
    """Keeps the state of a run."""

    def restore(self) -> RunState | None:
        """The last saved state; None for a new run."""

    def keep(self, state: RunState, measured: Measured) -> None:
        """Keeps what the model of the state's iteration predicts of the validation and test tiles."""

    def save(self, state: RunState) -> None:
        """Returns when the state is saved."""

    def offer(self, state: RunState) -> None:
        """Saves the state if a checkpoint is due; may raise StoppedError, after saving, to stop the run."""


class Watcher:
    """Callbacks for the progress of a run; these do nothing."""

    def begin_iteration(self, state: RunState) -> None:
        """Called before an iteration starts or is resumed, with its state."""

    def end_epoch(self, epoch: int, loss: float) -> None:
        """Called after each epoch, counted from 0, with the mean loss over its steps."""

    def end_iteration(self, record: Record) -> None:
        """Called when an iteration is complete and saved."""


def run(
    model: Model,
    tiles: SplitTiles,
    settings: Settings,
    store: Store,
    watcher: Watcher,
    published: Weights | None = None,
) -> tuple[Record, ...]:
    """Runs all trials, from the state that `store` restores, and returns the history of all of them.

    `published` is the content of `settings.init_weights`.
    """
    first = settings.first_trial - 1
    state = store.restore() or begin_trial(tiles.pool, settings, first, ())
    while True:
        if state.trial_is_over:
            if state.trial + 1 >= first + settings.trials:
                return state.history
            state = begin_trial(tiles.pool, settings, state.trial + 1, state.history)
        if state.stage is None:
            store.offer(state)
            state = begin_iteration(model, tiles.pool, settings, state, published)
        watcher.begin_iteration(state)
        state = advance(model, tiles, settings, state, store, watcher)
        if isinstance(model.network, Head) and not state.trial_is_over:
            store.offer(state)  # the iteration took a tenth of a second, and a checkpoint takes as long
        else:
            store.save(state)
        watcher.end_iteration(state.history[-1])


def begin_trial(pool: Tiles, settings: Settings, trial: int, history: tuple[Record, ...]) -> RunState:
    """The state of a trial (counted from 0) before its first iteration, with its own initial labels."""
    initial = first_tiles(pool, settings, trial)
    needed = find_query(settings.query).needs_previous
    unknown = np.full(pool.labels.shape, np.nan, np.float32) if needed else None
    return RunState(trial, 0, Pool(pool.num_tiles).label(initial), None, unknown, history)


def first_tiles(pool: Tiles, settings: Settings, trial: int) -> Int[np.ndarray, " k"]:
    """Indices of the tiles that are labelled initially: random ones, or those that cover the pool.

    They cover the features or, of tiles with pixels, the thumbnails.

    In a pool of more than `COVERED` tiles they cover a random sample of so many.
    """
    if settings.first == "random":
        order = initial_labels(settings.seed, trial, pool.num_tiles, pool.num_tiles)
    else:
        key, is_apart = derive_key(settings.seed, Purpose.COVERAGE, trial), settings.min_distance > 0.0
        statistics = pool.statistics if pool.are_features else None
        order = cover_features(key, pool.images, pool.indices, settings.initial, statistics, is_apart).chosen
    first = spaced(order, settings.initial, pool.footprints, settings.min_distance)
    if len(first) < settings.initial:
        raise InputError(
            f"only {len(first)} tiles are {settings.min_distance:g} m from each other, and --initial is "
            f"{settings.initial}: lower it, or --min-distance"
        )
    return first


def cover_features(
    key: jax.Array,
    images: Images,
    rows: Int[np.ndarray, " m"],
    count: int,
    statistics: BandStatistics | None = None,
    everything: bool = False,
) -> Covering:
    """The covering of the features of the tiles `rows`, or of a sample of `COVERED` of these, as positions in `rows`.

    The features are those of `images` or, of pixels, means over blocks of a tile. They are centred by the mean of
    `statistics` or, without it, by their mean over the sample.
    With `everything` the other tiles follow, as in `cover`.
    """
    sample = np.arange(len(rows))
    if len(sample) > COVERED:
        sample = np.sort(np.asarray(jax.random.permutation(key, len(sample))[:COVERED]))
    are_features = images.shape[1:3] == (1, 1)
    wanted = rows[sample]
    chosen = (
        np.asarray(images)[wanted] if are_features else [shrink(tile, SIDE) for (tile,) in stream(images, wanted, 1)]
    )
    vectors = np.asarray(chosen, np.float32).reshape(len(sample), -1)
    mean = vectors.mean(0) if statistics is None else statistics.mean
    covering = cover(key, unit_features(vectors - mean), count, everything)
    return covering._replace(chosen=sample[covering.chosen])


def initial_labels(seed: int, trial: int, pool_size: int, count: int) -> Int[np.ndarray, " k"]:
    """Random indices of the pool's tiles that are labelled at the start of a trial, which counts from 0."""
    key = derive_key(seed, Purpose.INITIAL_LABELS, trial)
    return np.asarray(jax.random.permutation(key, pool_size)[:count])


def begin_iteration(
    model: Model, pool: Tiles, settings: Settings, state: RunState, published: Weights | None = None
) -> RunState:
    """The state of the next iteration before its first step.

    A warm start takes the variables of the last iteration. A cold start, and the first iteration, take random ones or,
    but for the heads, `published` weights.
    """
    iteration, variables = state.iteration + 1, state.variables
    if variables is None or settings.start == "cold":
        key = derive_key(settings.seed, Purpose.WEIGHTS, state.trial, iteration)
        size, bands = pool.images.shape[2:]
        variables = init_variables(key, model, size, bands)
        if published is not None:
            variables = start_from(published, variables)
    start = Training(begin_fit(settings.recipe, variables))
    return state._replace(iteration=iteration, variables=None, stage=start, seconds=Seconds())


def advance(
    model: Model,
    tiles: SplitTiles,
    settings: Settings,
    state: RunState,
    store: Store,
    watcher: Watcher,
    on_choice: Callable[[RunState, Int[np.ndarray, " b"]], None] = lambda state, chosen: None,
) -> RunState:
    """Does the rest of an iteration: trains, evaluates and, unless the trial ends, chooses and labels new tiles.

    `on_choice` is called with the state that the tiles were chosen from, and the tiles.
    """
    if isinstance(state.stage, Training):
        state = train(model, tiles, settings, state, store, watcher)
        store.offer(state)
    if isinstance(state.stage, Fitted):
        state = predict(model, tiles, settings, state, partial(store.offer, state), partial(store.keep, state))
        store.offer(state)
    state, chosen = choose(settings, state, model, tiles.pool)
    on_choice(state, chosen)
    return label(state, chosen, tiles.pool_ids(chosen))


def train(
    model: Model, tiles: SplitTiles, settings: Settings, state: RunState, store: Store, watcher: Watcher
) -> RunState:
    """Fits the model to the labelled tiles, from the step that the state has reached."""
    assert isinstance(state.stage, Training)
    before = time.perf_counter() - state.seconds.train

    def seconds() -> Seconds:
        return Seconds(train=time.perf_counter() - before)

    def on_step(progress: Fit) -> None:
        store.offer(state._replace(stage=Training(progress), seconds=seconds()))

    def key(epoch: int) -> jax.Array:
        return derive_key(settings.seed, Purpose.TRAINING, state.trial, state.iteration, epoch)

    start, labelled = state.stage.fit, state.pool.mask
    try:
        variables = fit(
            model, settings.recipe, start, tiles.pool, labelled, key, watcher.end_epoch, on_step, tiles.validation
        )
    except DivergedError as error:
        raise DivergedError(f"trial {state.trial + 1}, iteration {state.iteration}: {error}") from error
    return state._replace(variables=variables, stage=Fitted(), seconds=seconds())


def label(state: RunState, chosen: Int[np.ndarray, " b"], ids: tuple[str, ...]) -> RunState:
    """The state after the iteration, with its record in the history and the chosen tiles, of these ids, labelled."""
    assert isinstance(state.stage, Predicted)
    record = Record(
        trial=state.trial + 1,
        iteration=state.iteration,
        num_labeled=state.pool.num_labelled,
        **state.stage.test._asdict(),
        validation_micro_f1=state.stage.validation_micro_f1,
        selected=ids,
        train_seconds=state.seconds.train,
        predict_seconds=state.seconds.predict,
        select_seconds=state.seconds.select,
        **({} if state.stage.at_thresholds is None else state.stage.at_thresholds._asdict()),
        loss_rank_correlation=state.stage.loss_rank_correlation,
    )
    pool = state.pool.label(chosen) if len(chosen) else state.pool
    return state._replace(pool=pool, history=(*state.history, record), stage=None, seconds=Seconds())
