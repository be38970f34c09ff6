"""From a fitted model to the tiles to label next: evaluate it, score the pool, choose."""

import time
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from aljax.arrays import AnyArray
from aljax.data.archive import SplitTiles, Tiles
from aljax.errors import DivergedError
from aljax.keys import Purpose, derive_key
from aljax.loop.history import has_converged
from aljax.loop.metrics import Metrics, evaluate
from aljax.loop.settings import Settings
from aljax.loop.state import Fitted, Predicted, RunState
from aljax.networks.model import Model, last_layer
from aljax.queries.scores import ll_scores, mge_scores, tpd_scores
from aljax.queries.shortlist import Shortlist
from aljax.training.prediction import Predictions, predict_batches, predict_probabilities
from aljax.xla.devices import broadcast_from_first


def predict(
    model: Model, tiles: SplitTiles, settings: Settings, state: RunState, on_batch: Callable[[], None] = lambda: None
) -> RunState:
    """Evaluates the fitted model and scores the unlabelled tiles: the state with their probabilities and a shortlist.

    `on_batch` is called after every batch of tiles.
    """
    assert isinstance(state.stage, Fitted)
    assert state.variables is not None
    test, validation = (_evaluate(model, state, part, on_batch) for part in (tiles.test, tiles.validation))
    wanted = _labels_wanted(settings, state, validation.micro_f1)
    started = time.perf_counter()
    probabilities, unlabelled = state.probabilities, state.pool.unlabelled
    shortlist = Shortlist(min(_multiplier(settings, state) * wanted, len(unlabelled))) if wanted else None
    if shortlist is None:
        pass
    elif settings.query == "random":
        by_chance = _by_chance(settings, state)[unlabelled]
        shortlist.add(unlabelled, by_chance, by_chance[:, None])
    else:
        probabilities = np.full(tiles.pool.labels.shape, np.nan, np.float32)
        for rows, batch in predict_batches(model, state.variables, tiles.pool, unlabelled):
            scores = np.asarray(uncertainty(settings, state, rows, batch))
            _check(np.isfinite(scores), state)
            shortlist.add(rows, scores, batch.embeddings)
            probabilities[rows] = batch.probabilities
            on_batch()
    return state._replace(
        probabilities=probabilities,
        stage=Predicted(test, validation.micro_f1, wanted, shortlist),
        seconds=state.seconds._replace(predict=time.perf_counter() - started),
    )


def choose(settings: Settings, state: RunState) -> tuple[RunState, Int[np.ndarray, " b"]]:
    """The tiles to label, highest score first, and the state with the time it took to choose them."""
    assert isinstance(state.stage, Predicted)
    started = time.perf_counter()
    chosen = np.array([], np.int64)
    if state.stage.shortlist is not None:
        key = derive_key(settings.seed, Purpose.CLUSTERING, state.trial, state.iteration)
        chosen = state.stage.shortlist.select(key, state.stage.wanted, _multiplier(settings, state))
    return state._replace(seconds=state.seconds._replace(select=time.perf_counter() - started)), broadcast_from_first(
        chosen
    )


def uncertainty(
    settings: Settings, state: RunState, rows: Int[np.ndarray, " b"], batch: Predictions
) -> Float[AnyArray, " b"]:
    """The score of `settings.query` for the pool's tiles `rows`, predicted as `batch`."""
    if _without_reference(settings, state):
        return _by_chance(settings, state)[rows]
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


def _evaluate(model: Model, state: RunState, tiles: Tiles, on_batch: Callable[[], None]) -> Metrics:
    assert state.variables is not None
    probabilities = predict_probabilities(model, state.variables, tiles, on_batch=on_batch)
    _check(np.isfinite(probabilities), state)
    return evaluate(probabilities, tiles.labels)


def _check(finite: Bool[np.ndarray, "..."], state: RunState) -> None:
    """Raises DivergedError: with finite losses the statistics of batches, or the last step, may still overflow."""
    if not finite.all():
        raise DivergedError(
            f"trial {state.trial + 1}, iteration {state.iteration}: what the network predicts is not finite: lower the "
            "learning rate, or look for broken pixels"
        )


def _labels_wanted(settings: Settings, state: RunState, score: float) -> int:
    """Tiles to choose now; 0 ends the trial, because the budget is spent or the score stopped rising."""
    earlier = [r.validation_micro_f1 for r in state.history if r.trial == state.trial + 1]
    if has_converged([*earlier, score], settings.patience, settings.min_gain):
        return 0
    return min(settings.budget, settings.max_labels - state.pool.num_labelled)


def _without_reference(settings: Settings, state: RunState) -> bool:
    """TPD has nothing to compare with before its second iteration."""
    return settings.query == "tpd" and state.iteration == 1


def _multiplier(settings: Settings, state: RunState) -> int:
    """Candidates for the clustering per tile to choose; 1 where tiles are chosen without it."""
    clustered = settings.clustering and settings.query != "random" and not _without_reference(settings, state)
    return settings.multiplier if clustered else 1


def _by_chance(settings: Settings, state: RunState) -> Float[np.ndarray, " n"]:
    """A random score for each tile of the pool."""
    key = derive_key(settings.seed, Purpose.RANDOM_QUERY, state.trial, state.iteration)
    return np.asarray(jax.random.uniform(key, (state.pool.size,)))
