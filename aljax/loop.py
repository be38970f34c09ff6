"""The active-learning loop: fit, evaluate, predict, score, select, label, save."""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, Int

from aljax.arrays import AnyArray
from aljax.data.archive import SplitTiles, Tiles
from aljax.errors import NonFiniteLossError
from aljax.history import Record, has_converged
from aljax.keys import Purpose, derive_key
from aljax.metrics import Metrics, evaluate
from aljax.model import Model, Variables, init_variables, last_layer
from aljax.pool import Pool
from aljax.prediction import Predictions, predict_batches, predict_probabilities
from aljax.scores import ll_scores, mge_scores, tpd_scores
from aljax.selection import select
from aljax.settings import Settings
from aljax.shortlist import Shortlist
from aljax.training import fit
from aljax.weights import Weights, start_from


class RunState(NamedTuple):
    """Everything the next iteration needs: what a checkpoint holds."""

    trial: int
    """Counts from 0."""
    iteration: int
    """Iterations of the trial that are complete."""
    pool: Pool
    variables: Variables | None
    """The last model; None before the first iteration of a trial."""
    probabilities: Float[np.ndarray, "n c"]
    """Of the tiles that were unlabelled at the last prediction, NaN elsewhere: the reference of TPD."""
    history: tuple[Record, ...]
    """One record per complete iteration, of all trials."""

    @property
    def trial_is_over(self) -> bool:
        return self.iteration > 0 and not self.history[-1].selected


@runtime_checkable
class Store(Protocol):
    """Where a run is kept."""

    def restore(self) -> RunState | None: ...

    def save(self, state: RunState) -> None: ...


@runtime_checkable
class Watcher(Protocol):
    """Who is told how a run goes."""

    def begin_iteration(self, state: RunState) -> None: ...

    def end_epoch(self, epoch: int, loss: float) -> None: ...

    def end_iteration(self, record: Record) -> None: ...


def run(
    model: Model,
    tiles: SplitTiles,
    settings: Settings,
    store: Store,
    watcher: Watcher,
    published: Weights | None = None,
) -> tuple[Record, ...]:
    """Runs all trials, going on from what `store` holds, and returns the whole history.

    `published` is the content of `settings.init_weights`.
    """
    state = store.restore() or begin_trial(tiles.pool, settings, 0, ())
    while True:
        if state.trial_is_over:
            if state.trial + 1 >= settings.trials:
                return state.history
            state = begin_trial(tiles.pool, settings, state.trial + 1, state.history)
        watcher.begin_iteration(state)
        state = advance(model, tiles, settings, state, watcher.end_epoch, published)
        store.save(state)
        watcher.end_iteration(state.history[-1])


def begin_trial(pool: Tiles, settings: Settings, trial: int, history: tuple[Record, ...]) -> RunState:
    """A trial before its first iteration, with initial labels of its own."""
    key = derive_key(settings.seed, Purpose.INITIAL_LABELS, trial)
    initial = np.asarray(jax.random.permutation(key, pool.num_tiles)[: settings.initial])
    unknown = np.full(pool.labels.shape, np.nan, np.float32)
    return RunState(trial, 0, Pool(pool.num_tiles).label(initial), None, unknown, history)


def advance(
    model: Model,
    tiles: SplitTiles,
    settings: Settings,
    state: RunState,
    on_epoch: Callable[[int, float], None],
    published: Weights | None = None,
) -> RunState:
    """One iteration: trains, evaluates and, unless the trial ends here, chooses and labels the next tiles."""
    state = state._replace(iteration=state.iteration + 1)
    clock = [time.perf_counter()]
    variables = train(model, tiles.pool, settings, state, on_epoch, published)
    clock.append(time.perf_counter())
    test, validation = (_evaluate(model, variables, part) for part in (tiles.test, tiles.validation))
    state = state._replace(variables=variables)
    chosen, times = np.array([], np.int64), (0.0, 0.0)
    if wanted := _labels_wanted(settings, state, validation.micro_f1):
        state, chosen, times = _query(model, tiles.pool, settings, state, wanted)
    record = Record(
        trial=state.trial + 1,
        iteration=state.iteration,
        num_labeled=state.pool.num_labelled,
        **test._asdict(),
        validation_micro_f1=validation.micro_f1,
        selected=tuple(tiles.pool_ids[index] for index in chosen),
        train_seconds=clock[1] - clock[0],
        predict_seconds=times[0],
        select_seconds=times[1],
    )
    pool = state.pool.label(chosen) if wanted else state.pool
    return state._replace(pool=pool, history=(*state.history, record))


def train(
    model: Model,
    pool: Tiles,
    settings: Settings,
    state: RunState,
    on_epoch: Callable[[int, float], None],
    published: Weights | None = None,
) -> Variables:
    """The model of this iteration: fresh or from the last one's weights, fitted to the labelled tiles.

    A fresh model is random, and where there are published weights its heads are.
    """
    key = partial(derive_key, settings.seed, trial=state.trial, iteration=state.iteration)
    variables = state.variables
    if variables is None or settings.start == "cold":
        size, bands = pool.images.shape[2:]
        variables = init_variables(key(Purpose.WEIGHTS), model, size, bands)
        if published is not None:
            variables = start_from(published, variables)
    try:
        return fit(
            model,
            settings.recipe,
            variables,
            pool,
            state.pool.mask,
            lambda epoch: key(Purpose.TRAINING, epoch=epoch),
            on_epoch,
        )
    except NonFiniteLossError as error:
        raise NonFiniteLossError(f"trial {state.trial + 1}, iteration {state.iteration}: {error}") from error


def _evaluate(model: Model, variables: Variables, tiles: Tiles) -> Metrics:
    return evaluate(predict_probabilities(model, variables, tiles), tiles.labels)


def _labels_wanted(settings: Settings, state: RunState, score: float) -> int:
    """Tiles to choose now; 0 ends the trial, because the budget is spent or the score stopped rising."""
    earlier = [r.validation_micro_f1 for r in state.history if r.trial == state.trial + 1]
    if has_converged([*earlier, score], settings.patience, settings.min_gain):
        return 0
    return min(settings.budget, settings.max_labels - state.pool.num_labelled)


def _query(
    model: Model, pool: Tiles, settings: Settings, state: RunState, wanted: int
) -> tuple[RunState, Int[np.ndarray, " b"], tuple[float, float]]:
    """The state with the new probabilities, the chosen tiles, and the seconds of prediction and selection."""
    assert state.variables is not None
    started = time.perf_counter()
    unlabelled = state.pool.unlabelled
    random_key = derive_key(settings.seed, Purpose.RANDOM_QUERY, state.trial, state.iteration)
    by_chance = np.asarray(jax.random.uniform(random_key, (pool.num_tiles,)))
    if settings.query == "random":
        chosen = unlabelled[select(random_key, by_chance[unlabelled], by_chance[unlabelled, None], wanted)]
        return state, chosen, (0.0, time.perf_counter() - started)
    # TPD has nothing to compare with before its second iteration.
    without_reference = settings.query == "tpd" and state.iteration == 1
    multiplier = settings.multiplier if settings.clustering and not without_reference else 1
    shortlist = Shortlist(multiplier * wanted)
    probabilities = np.full(pool.labels.shape, np.nan, np.float32)
    for rows, batch in predict_batches(model, state.variables, pool, unlabelled):
        scores = by_chance[rows] if without_reference else uncertainty(settings, state, rows, batch)
        shortlist.add(rows, scores, batch.embeddings)
        probabilities[rows] = batch.probabilities
    predicted = time.perf_counter()
    key = derive_key(settings.seed, Purpose.CLUSTERING, state.trial, state.iteration)
    chosen = shortlist.select(key, wanted, multiplier)
    times = predicted - started, time.perf_counter() - predicted
    return state._replace(probabilities=probabilities), chosen, times


def uncertainty(
    settings: Settings, state: RunState, rows: Int[np.ndarray, " b"], batch: Predictions
) -> Float[AnyArray, " b"]:
    """The score of `settings.query` for the pool's tiles `rows`, predicted as `batch`."""
    match settings.query:
        case "ll":
            assert batch.predicted_losses is not None
            return ll_scores(batch.predicted_losses)
        case "tpd":
            return tpd_scores(batch.probabilities, state.probabilities[rows])
        case "mge":
            assert state.variables is not None
            return mge_scores(last_layer(state.variables), batch.embeddings)
    raise ValueError(f"the query {settings.query!r} has no score")
