"""From a fitted model to the tiles to label next: evaluate it, score the pool, choose."""

import time
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from aljax.data.archive import SplitTiles, Tiles
from aljax.engines.scoring import open_engine
from aljax.errors import DivergedError, InputError
from aljax.keys import Purpose, derive_key
from aljax.loop.candidates import have_reference, rows_to_score, without_reference
from aljax.loop.history import has_converged
from aljax.loop.metrics import THRESHOLD, evaluate, rank_correlation, true_losses
from aljax.loop.passes import Pass
from aljax.loop.settings import Settings
from aljax.loop.spacing import choose_spaced
from aljax.loop.state import Fitted, Measured, Predicted, RunState
from aljax.loop.thresholds import AtThresholds, score_at_thresholds
from aljax.networks.model import Model, last_layer
from aljax.queries.diversity import badge, coreset
from aljax.queries.scores import last_logits, pseudo_residuals
from aljax.queries.shortlist import Shortlist
from aljax.queries.table import Candidates, find_query
from aljax.training.prediction import Compute, Predictions, predict_batches
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
    probabilities. `on_batch` is called after every batch, when the passes of the state's stage have what was found so
    far; `keep` with what the model is evaluated by.
    """
    assert state.variables is not None
    compute = open_engine(settings.engine, model, state.variables, tiles.pool, settings.engine_precision)
    of_test, _ = _predict_all(model, state, "test", tiles.test, on_batch, compute)
    of_validation, losses = _predict_all(model, state, "validation", tiles.validation, on_batch, compute)
    keep(Measured(of_validation, of_test))
    test = evaluate(of_test, tiles.test.labels)
    validation = evaluate(of_validation, tiles.validation.labels)
    fitted = _at_thresholds(tiles, of_validation, of_test)
    correlation = (
        None if losses is None else rank_correlation(losses, true_losses(of_validation, tiles.validation.labels))
    )
    wanted = _labels_wanted(settings, state, validation.micro_f1)
    nothing = Pass(np.array([], np.int64), {})
    threshold = THRESHOLD if fitted is None else fitted.validation_threshold
    score = partial(_score_pool, model, tiles.pool, settings, state, wanted, threshold, on_batch, compute)
    scored = score() if wanted else nothing
    return state._replace(
        probabilities=scored.found.get("probabilities", state.probabilities),
        stage=Predicted(test, validation.micro_f1, wanted, scored.shortlist, fitted, correlation),
        seconds=state.seconds._replace(predict=scored.seconds),
    )


def _score_pool(
    model: Model,
    pool: Tiles,
    settings: Settings,
    state: RunState,
    wanted: int,
    threshold: float,
    on_batch: Callable[[], None],
    compute: Compute | None,
) -> Pass:
    """The pass over the unlabelled tiles, with the shortlist of `wanted` tiles; without predictions for random ones."""
    assert isinstance(state.stage, Fitted)
    assert state.variables is not None
    started, rows = time.perf_counter(), rows_to_score(settings, state)
    shortlist = Shortlist(min(_candidates(settings, state, wanted), len(rows)))
    if find_query(settings.query).score is None:
        scores = _random_scores(settings, state)[rows]
        shortlist.add(rows, scores, scores[:, None])
        return Pass(rows, {}, shortlist, seconds=time.perf_counter() - started)
    is_kept = state.probabilities is not None
    found = {"probabilities": np.full(pool.labels.shape, np.nan, np.float32)} if is_kept else {}
    scored = state.stage.begin("pool", Pass(rows, found, shortlist))
    started -= scored.seconds
    score = make_score(settings, pool, state, threshold)
    for chunk, batch in predict_batches(model, state.variables, pool, scored.left, compute=compute):
        scores, ranked = score(chunk, batch), have_reference(settings, state, chunk)
        _check(np.isfinite(scores[ranked]), state)
        _check(np.isfinite(batch.probabilities), state)
        embeddings = batch.embeddings if ranked.all() else np.asarray(batch.embeddings)[ranked]
        shortlist.add(chunk[ranked], scores[ranked], embeddings)
        if is_kept:
            found["probabilities"][chunk] = batch.probabilities
        scored.count(len(chunk), time.perf_counter() - started)
        on_batch()
    return scored


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
        _, labelled = labelled_embeddings(settings, model, state, pool, embeddings.shape[1])
        return rows[coreset(embeddings, labelled, wanted)]
    return shortlist.select(key, wanted, multiplier(settings, state), settings.cluster_by == "directions")


def labelled_embeddings(
    settings: Settings, model: Model, state: RunState, pool: Tiles, width: int
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, "m d"]]:
    """The labelled tiles of the pool, in ascending order, and their embeddings of that width."""
    assert state.variables is not None
    labelled = np.sort(state.pool.labelled)
    found = np.empty((len(labelled), width), np.float32)
    compute = open_engine(settings.engine, model, state.variables, pool, settings.engine_precision)
    for rows, batch in predict_batches(model, state.variables, pool, labelled, compute=compute):
        found[np.searchsorted(labelled, rows)] = batch.embeddings
    return labelled, found


def make_score(
    settings: Settings, pool: Tiles, state: RunState, threshold: float = THRESHOLD
) -> Callable[[Int[np.ndarray, " b"], Predictions], Float[np.ndarray, " b"]]:
    """The query's score as a function of (rows (B,) of the pool, their predictions), which returns (B,).

    In an iteration without a reference (`without_reference`) it is random. It raises InputError for another shape.
    """
    if without_reference(settings, state):
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
    model: Model, state: RunState, name: str, tiles: Tiles, on_batch: Callable[[], None], compute: Compute | None
) -> tuple[Float[np.ndarray, "n c"], Float[np.ndarray, " n"] | None]:
    """Probabilities of all tiles of the set of that name and, with a loss head, predicted losses."""
    assert isinstance(state.stage, Fitted)
    assert state.variables is not None
    found: dict[str, np.ndarray] = {"probabilities": np.empty(tiles.labels.shape, np.float32)}
    if model.loss_head is not None:
        found["losses"] = np.empty(tiles.num_tiles, np.float32)
    predicted = state.stage.begin(name, Pass(np.arange(tiles.num_tiles), found))
    for rows, batch in predict_batches(model, state.variables, tiles, predicted.left, compute=compute):
        found["probabilities"][rows] = batch.probabilities
        if batch.predicted_losses is not None:
            found["losses"][rows] = batch.predicted_losses
        predicted.count(len(rows))
        on_batch()
    for values in found.values():
        _check(np.isfinite(values), state)
    return found["probabilities"], found.get("losses")


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


def scores_say_why(settings: Settings, state: RunState) -> bool:
    """Whether tiles are chosen for their scores: not by chance, nor, as by core-set, for their distances alone."""
    query = find_query(settings.query)
    return not (query.score is None or query.choice == "centres" or without_reference(settings, state))


def multiplier(settings: Settings, state: RunState) -> int:
    """m: candidates for the clustering per tile to choose; 1 where tiles are chosen without clustering."""
    is_random = find_query(settings.query).score is None or without_reference(settings, state)
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
