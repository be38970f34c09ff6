"""A round of annotation: a run of one iteration on the labels so far, which continues from the previous round."""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from jaxtyping import Int

from aljax.annotation.labelling import Labelling, round_dir
from aljax.annotation.reasons import save_reasons
from aljax.errors import InputError, InputWarning
from aljax.loop.candidates import rows_to_score
from aljax.loop.constant import score_constant
from aljax.loop.iterations import advance, begin_iteration
from aljax.loop.pool import Pool
from aljax.loop.reasons import explain
from aljax.loop.settings import Settings
from aljax.loop.state import RunState
from aljax.queries.table import find_query, series_name
from aljax.runs.checkpoints import read_newest
from aljax.runs.config import read_config
from aljax.runs.experiment import prepare_run
from aljax.runs.packing import unpack
from aljax.runs.progress import Progress
from aljax.runs.run_dir import MAY_LACK, RunStore, Stop
from aljax.training.recipe import Recipe


def run_round(
    settings: Settings, labelling: Labelling, network: nn.Module, number: int, stop: Stop, last: bool = False
) -> RunState:
    """Trains on the labels so far and, unless it is the `last` round, chooses tiles; resumes a round that was stopped.

    The last record of the returned state has the chosen tiles. Raises InputError for settings that do not fit the
    previous round.
    """
    count = int(labelling.labelled.sum())
    wanted = 0 if last else min(settings.budget, int(labelling.unlabelled.sum()))
    run_dir = round_dir(settings.run_dir, number)
    settings = replace(settings, run_dir=run_dir, initial=count, max_labels=count + wanted)
    settings = replace(settings, trials=1, first_trial=1, patience=0)
    model, tiles, published, config = prepare_run(settings, labelling.archive, labelling.split, network)
    pool_ids = hashlib.sha256("\n".join(tiles.pool_ids(np.arange(tiles.pool.num_tiles))).encode()).hexdigest()
    config |= {"pool": pool_ids}
    labelled = tiles.pool.labels[labelling.labelled]  # the others have none yet
    config |= score_constant(labelling.archive.class_names, labelled, tiles.test.labels).to_config()
    if labelling.skipped.any():
        config |= {"skipped": list(tiles.pool_ids(np.flatnonzero(labelling.skipped)))}
    remedy = f"delete {run_dir} to begin that round anew"
    initial_state = _begin(settings, labelling, _read_earlier(settings, config, number))
    name = series_name(settings.query, settings.clustering)

    def keep_reasons(state: RunState, chosen: Int[np.ndarray, " b"]) -> None:
        if len(chosen):  # before the checkpoint of the round's end, like the probabilities
            reasons = explain(settings, state, model, tiles.pool, chosen)
            save_reasons(run_dir, tiles.pool_ids, labelling.archive.class_names, chosen, reasons)

    with (
        RunStore(run_dir, config, settings.recipe, settings.checkpoint_seconds, stop, remedy) as store,
        Progress(replace(settings, max_labels=count), name) as progress,
    ):
        state = store.restore() or initial_state
        if len(state.history) > len(initial_state.history):
            return state
        if state.stage is None:
            state = begin_iteration(model, tiles.pool, settings, state, published)
        progress.begin_iteration(state)
        state = advance(model, tiles, settings, state, store, progress, keep_reasons)
        store.save(state)
        progress.end_iteration(state.history[-1])
    return state


class Earlier(NamedTuple):
    """The state of the newest round that trained."""

    state: RunState
    same_pool: bool
    """Whether its pool had the same tiles in the same order."""
    same_classes: bool
    """False where classes were added."""


def _read_earlier(settings: Settings, config: Mapping[str, Any], number: int) -> Earlier | None:
    """The newest round before `number` that trained; None if there is none.

    Raises InputError if it has no final checkpoint, or if a warm start from it is impossible because its network, its
    classes or the standardisation of its pixels differ.
    """
    folders = (round_dir(settings.run_dir.parent, earlier) for earlier in range(number - 1, 0, -1))
    folder = next((folder for folder in folders if (folder / "config.json").exists()), None)
    if folder is None:
        return None
    before, newest = read_config(folder), read_newest(folder / "checkpoints", lambda facts: facts["stage"] is None)
    if newest is None:
        raise InputError(f"{folder} has no checkpoint of its end to go on from: bring its checkpoints back")
    same = ("class_names", "image_size", "depths", "network", "normalisation", "pixel_type", "mean", "deviation")
    for name in (name for name in same if name in before or name not in MAY_LACK):
        if name == "class_names" and config[name][: len(before[name])] == before[name]:
            continue  # with classes that were added the round starts afresh
        if before.get(name) != config.get(name) and settings.start == "warm":
            change = f"{name} was {before.get(name)} in {folder} and is {config.get(name)}"
            if name in ("mean", "deviation"):  # too many numbers for a message
                change = f"the pool has other tiles than in {folder}, and its bands another mean or deviation"
            raise InputError(f"{change}: a warm start goes on with the same; use --start cold")
    state = unpack(newest.vectors, newest.facts, Recipe())
    return Earlier(state, before.get("pool") == config["pool"], before["class_names"] == config["class_names"])


def _begin(settings: Settings, labelling: Labelling, earlier: Earlier | None) -> RunState:
    """The state before the round's first step: the labels, and the variables and probabilities of the previous round.

    Raises InputError if the query needs previous probabilities that are missing.
    """
    size = len(labelling.split.pool)
    pool = Pool(size, skipped=tuple(np.flatnonzero(labelling.skipped).tolist())).label(
        np.flatnonzero(labelling.labelled)
    )
    probabilities = np.full((size, len(labelling.archive.class_names)), np.nan, np.float32)
    if earlier is None:
        return RunState(0, 0, pool, None, probabilities, ())
    state = earlier.state
    needs_previous = find_query(settings.query).needs_previous
    comparable = earlier.same_pool and earlier.same_classes and needs_previous
    if comparable and state.probabilities is not None:  # other queries must not carry over older ones
        probabilities = state.probabilities
    begun = RunState(0, len(state.history), pool, None, probabilities, state.history)
    if needs_previous and not _can_compare(settings, begun):
        raise InputError(
            "TPD compares with the probabilities of the round before, and they are not there for all tiles without "
            "labels (other tiles, test tiles or classes, labels withdrawn, or chosen by chance): use --query mge this "
            "time"
        )
    variables = state.variables
    if variables is not None and (change := _other_network(settings, earlier)):
        variables = None
        if settings.start == "warm":
            warnings.warn(InputWarning(f"the round before had {change}: this one starts afresh"), stacklevel=2)
    return begun._replace(variables=variables)


def _can_compare(settings: Settings, begun: RunState) -> bool:
    """Whether the tiles to score have earlier probabilities; of `candidates` as many as are chosen."""
    assert begun.probabilities is not None
    rows = rows_to_score(settings, begun)
    needed = min(settings.budget, len(rows)) if settings.candidates else len(rows)
    return int((~np.isnan(begun.probabilities[rows]).any(1)).sum()) >= needed


def _other_network(settings: Settings, earlier: Earlier) -> str:
    """What was different in the network of the round before, so that its variables do not fit; empty if they do."""
    assert earlier.state.variables is not None
    if not earlier.same_classes:
        return "fewer classes"
    had_loss_head = "loss_head" in earlier.state.variables["params"]
    needs_loss_head = find_query(settings.query).needs_loss_head
    return "another network (with or without a loss head)" if needs_loss_head != had_loss_head else ""
