"""From a fitted model to the tiles to label next: evaluate it, score the pool, choose."""

import time
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from aljax.data.archive import SplitTiles, Tiles
from aljax.errors import DivergedError, InputError
from aljax.keys import Purpose, derive_key
from aljax.loop.history import has_converged
from aljax.loop.metrics import THRESHOLD, evaluate, rank_correlation, true_losses
from aljax.loop.settings import Settings
from aljax.loop.spacing import choose_spaced
from aljax.loop.state import Fitted, Measured, Predicted, RunState
from aljax.loop.thresholds import AtThresholds, score_at_thresholds
from aljax.networks.model import Model, last_layer
from aljax.queries.diversity import badge, coreset
from aljax.queries.scores import last_logits, pseudo_residuals
from aljax.queries.shortlist import Shortlist
from aljax.queries.table import Candidates, find_query
from aljax.training.prediction import Predictions, predict_all, predict_batches
from aljax.xla.devices import broadcast_from_first

POOL_WIDE = 100_000  # candidates, of the highest scores, of core-set and BADGE: all tiles of most pools


def predict(
    model: Model,
    tiles: SplitTiles,
    settings: Settings,
    state: RunState,
    on_batch: Callable[[], None] = lambda: None,
    keep: Callable[[Measured], None] = lambda measured: None,
) -> RunState:
    """Evaluates the fitted model and scores the unlabelled tiles.

    Returns the state with its metrics, a shortlist of those tiles and, if the last iteration's were kept, their
    probabilities. `on_batch` is called after every batch, `keep` with what the model is evaluated by.
    """
    assert isinstance(state.stage, Fitted)
    assert state.variables is not None
    of_test, _ = _predict_all(model, state, tiles.test, on_batch)
    of_validation, losses = _predict_all(model, state, tiles.validation, on_batch)
    keep(Measured(of_validation, of_test))
    test = evaluate(of_test, tiles.test.labels)
    validation = evaluate(of_validation, tiles.validation.labels)
    fitted = _at_thresholds(tiles, of_validation, of_test)
    correlation = (
        None if losses is None else rank_correlation(losses, true_losses(of_validation, tiles.validation.labels))
    )
    wanted = _labels_wanted(settings, state, validation.micro_f1)
    started = time.perf_counter()
    probabilities, unlabelled = state.probabilities, state.pool.unlabelled
    shortlist = Shortlist(min(_candidates(settings, state, wanted), len(unlabelled))) if wanted else None
    if shortlist is None:
        pass
    elif find_query(settings.query).score is None:
        scores = _random_scores(settings, state)[unlabelled]
        shortlist.add(unlabelled, scores, scores[:, None])
    else:
        if probabilities is not None:
            probabilities = np.full(tiles.pool.labels.shape, np.nan, np.float32)
        score = make_score(settings, tiles.pool, state, THRESHOLD if fitted is None else fitted.validation_threshold)
        for rows, batch in predict_batches(model, state.variables, tiles.pool, unlabelled):
            scores = score(rows, batch)
            _check(np.isfinite(scores), state)
            shortlist.add(rows, scores, batch.embeddings)
            _check(np.isfinite(batch.probabilities), state)
            if probabilities is not None:
                probabilities[rows] = batch.probabilities
            on_batch()
    return state._replace(
        probabilities=probabilities,
        stage=Predicted(test, validation.micro_f1, wanted, shortlist, fitted, correlation),
        seconds=state.seconds._replace(predict=time.perf_counter() - started),
    )


def choose(
    settings: Settings, state: RunState, model: Model | None = None, pool: Tiles | None = None
) -> tuple[RunState, Int[np.ndarray, " b"]]:
    """The state with the time of the selection, and indices (b,) of the tiles to label, highest score first.

    Core-set alone reads `model`, and `pool` for the embeddings of the labelled tiles; --min-distance reads its places.
    """
    assert isinstance(state.stage, Predicted)
    started = time.perf_counter()
    chosen = np.array([], np.int64)
    if state.stage.shortlist is not None:
        best = partial(_choose, settings, state, state.stage.shortlist, model, pool)
        wanted, is_greedy = state.stage.wanted, find_query(settings.query).is_pool_wide
        footprints = None if pool is None else pool.footprints
        metres = settings.min_distance
        chosen = choose_spaced(best, state.stage.shortlist, wanted, is_greedy, footprints, metres)
        chosen = broadcast_from_first(chosen)
    return state._replace(seconds=state.seconds._replace(select=time.perf_counter() - started)), chosen


def clustering_key(settings: Settings, state: RunState, number: int = 0) -> jax.Array:
    """The key of the choice at the end of an iteration or, with a number, of another clustering."""
    return derive_key(settings.seed, Purpose.CLUSTERING, state.trial, state.iteration, number)


def _choose(
    settings: Settings, state: RunState, shortlist: Shortlist, model: Model | None, pool: Tiles | None, wanted: int
) -> Int[np.ndarray, " b"]:
    assert isinstance(state.stage, Predicted)
    key, choice = clustering_key(settings, state), find_query(settings.query).choice
    order = np.argsort(shortlist.rows)
    rows, embeddings = shortlist.rows[order], shortlist.embeddings[order]
    if choice == "gradients":
        assert state.variables is not None
        residuals = pseudo_residuals(last_logits(last_layer(state.variables), embeddings))
        return rows[badge(key, embeddings, residuals, wanted)]
    if choice == "centres":
        assert model is not None
        assert pool is not None
        return rows[coreset(embeddings, labelled_embeddings(model, state, pool, embeddings.shape[1])[1], wanted)]
    return shortlist.select(key, wanted, multiplier(settings, state), settings.cluster_by == "directions")


def labelled_embeddings(
    model: Model, state: RunState, pool: Tiles, width: int
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, "m d"]]:
    """The labelled tiles of the pool, in ascending order, and their embeddings of that width."""
    assert state.variables is not None
    labelled = np.sort(state.pool.labelled)
    found = np.empty((len(labelled), width), np.float32)
    for rows, batch in predict_batches(model, state.variables, pool, labelled):
        found[np.searchsorted(labelled, rows)] = batch.embeddings
    return labelled, found


def make_score(
    settings: Settings, pool: Tiles, state: RunState, threshold: float = THRESHOLD
) -> Callable[[Int[np.ndarray, " b"], Predictions], Float[np.ndarray, " b"]]:
    """The query's score as a function of (rows (B,) of the pool, their predictions), which returns (B,).

    In an iteration without a reference (`_without_reference`) it is random. It raises InputError for another shape.
    """
    if _without_reference(settings, state):
        random = _random_scores(settings, state)
        return lambda rows, batch: random[rows]
    query = find_query(settings.query)
    assert query.score is not None
    assert state.variables is not None
    score, layer, labels = query.score, last_layer(state.variables), pool.labels[state.pool.labelled]
    key = derive_key(settings.seed, Purpose.SCORE, state.trial, state.iteration)

    def scores(rows: Int[np.ndarray, " b"], batch: Predictions) -> Float[np.ndarray, " b"]:
        previous = state.probabilities[rows] if query.needs_previous and state.probabilities is not None else None
        candidates = Candidates(
            batch.probabilities, batch.embeddings, layer, batch.predicted_losses, previous, labels, key, threshold
        )
        found = np.asarray(score(candidates))
        if found.shape != rows.shape:
            raise InputError(f"--query {query.name} gives the shape {found.shape} for {len(rows)} tiles: give one each")
        return found

    return scores


def _predict_all(
    model: Model, state: RunState, tiles: Tiles, on_batch: Callable[[], None]
) -> tuple[Float[np.ndarray, "n c"], Float[np.ndarray, " n"] | None]:
    assert state.variables is not None
    probabilities, losses = predict_all(model, state.variables, tiles, on_batch=on_batch)
    _check(np.isfinite(probabilities if losses is None else losses), state)
    _check(np.isfinite(probabilities), state)
    return probabilities, losses


def _at_thresholds(
    tiles: SplitTiles, of_validation: Float[np.ndarray, "v c"], of_test: Float[np.ndarray, "t c"]
) -> AtThresholds | None:
    """The scores at fitted thresholds; None without validation tiles, also where those of the test stand in for them.

    A score on the tiles that its threshold was fitted to would flatter.
    """
    if not tiles.validation.num_tiles or np.array_equal(tiles.validation.indices, tiles.test.indices):
        return None
    return score_at_thresholds(of_validation, tiles.validation.labels, of_test, tiles.test.labels)


def _check(finite: Bool[np.ndarray, "..."], state: RunState) -> None:
    """Raises DivergedError unless all are True: with finite losses, batch statistics or the last step may overflow."""
    if not finite.all():
        raise DivergedError(
            f"trial {state.trial + 1}, iteration {state.iteration}: what the network predicts is not finite: lower the "
            "learning rate, or look for broken pixels"
        )


def _labels_wanted(settings: Settings, state: RunState, score: float) -> int:
    """Number of tiles to choose; 0 ends the trial: the labels are spent, or the validation score has converged."""
    earlier = [r.validation_micro_f1 for r in state.history if r.trial == state.trial + 1]
    if has_converged([*earlier, score], settings.patience, settings.min_gain):
        return 0
    return min(settings.budget, settings.max_labels - state.pool.num_labelled)


def _without_reference(settings: Settings, state: RunState) -> bool:
    """Whether the query needs earlier probabilities, as TPD does, and this is the first iteration, without any."""
    return find_query(settings.query).needs_previous and state.iteration == 1


def scores_say_why(settings: Settings, state: RunState) -> bool:
    """Whether tiles are chosen for their scores: not by chance, nor, as by core-set, for their distances alone."""
    query = find_query(settings.query)
    return not (query.score is None or query.choice == "centres" or _without_reference(settings, state))


def multiplier(settings: Settings, state: RunState) -> int:
    """m: candidates for the clustering per tile to choose; 1 where tiles are chosen without clustering."""
    is_random = find_query(settings.query).score is None or _without_reference(settings, state)
    return settings.multiplier if settings.clustering and not is_random else 1


def _candidates(settings: Settings, state: RunState, wanted: int) -> int:
    """Number of tiles of the highest scores from which the selection chooses `wanted`."""
    if find_query(settings.query).is_pool_wide or settings.min_distance > 0.0:
        return POOL_WIDE
    return multiplier(settings, state) * wanted


def _random_scores(settings: Settings, state: RunState) -> Float[np.ndarray, " n"]:
    """A random score in [0, 1) for each tile of the pool (N,)."""
    key = derive_key(settings.seed, Purpose.RANDOM_QUERY, state.trial, state.iteration)
    return np.asarray(jax.random.uniform(key, (state.pool.size,)))
