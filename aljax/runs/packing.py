"""Conversion of a `RunState` to vectors and JSON, and back.

All arrays of one type are concatenated into one vector, with a table of their names and shapes: writing hundreds of
small arrays would take five times as long. The probabilities are a vector of their own, which most checkpoints share.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import PyTree

from aljax.loop.history import Record
from aljax.loop.metrics import Metrics
from aljax.loop.pool import Pool
from aljax.loop.state import Fitted, Predicted, RunState, Seconds, Stage, Training
from aljax.loop.thresholds import AtThresholds
from aljax.networks.model import Variables
from aljax.queries.shortlist import Shortlist
from aljax.training.fitting import Fit
from aljax.training.recipe import Recipe, make_optimizer
from aljax.training.steps import Sums, TrainState
from aljax.xla.devices import replicate

Vectors = Mapping[str, np.ndarray]
"""For each dtype, all arrays of a state in one vector, but for those that are in `APART`."""

APART = {"probabilities": "<f4"}  # arrays by name, with their types, that change once in an iteration

Facts = dict[str, Any]
"""Everything in a state that is no array, as JSON."""


def pack(state: RunState) -> tuple[Vectors, Facts]:
    """The state as vectors and facts; `unpack` restores it from them."""
    tree: dict[str, Any] = {"trial": np.array(state.trial)}  # Orbax writes no checkpoint without an array
    if state.probabilities is not None:
        tree["probabilities"] = state.probabilities
    if state.variables is not None:
        tree["variables"] = state.variables
    facts: Facts = {
        "trial": state.trial,
        "iteration": state.iteration,
        "pool_size": state.pool.size,
        "rounds": [list(chosen) for chosen in state.pool.rounds],
        "skipped": list(state.pool.skipped),
        "history": [record.to_line() for record in state.history],
        "seconds": list(state.seconds),
        "stage": None if state.stage is None else type(state.stage).__name__,
    }
    match state.stage:
        case Training(fit):
            tree["fit"] = {"state": fit.state, "sums": fit.sums}
            facts |= {"epoch": fit.epoch, "step": fit.step}
        case Predicted(test, validation, wanted, shortlist, at_thresholds, correlation):
            facts |= {"test": list(test), "validation_micro_f1": validation, "wanted": wanted}
            facts |= {"loss_rank_correlation": correlation}
            if at_thresholds is not None:
                facts["at_thresholds"] = at_thresholds._asdict()
            if shortlist is not None:
                facts["shortlist_size"] = shortlist.size
                tree["shortlist"] = shortlist.arrays()
    named = {name: np.asarray(leaf) for name, leaf in _names(jax.device_get(tree)).items()}
    keys = {name: name if name in APART else array.dtype.name for name, array in named.items()}
    facts["arrays"] = [[name, keys[name], list(array.shape)] for name, array in named.items()]
    by_key: dict[str, list[np.ndarray]] = {}
    for name, array in named.items():
        by_key.setdefault(keys[name], []).append(array.ravel())
    return {key: np.concatenate(parts) if len(parts) > 1 else parts[0] for key, parts in by_key.items()}, facts


def unpack(vectors: Vectors, facts: Facts, recipe: Recipe) -> RunState:
    """The state from which `pack` made `vectors` and `facts`, with its arrays on the devices."""
    arrays = _split_vectors(vectors, facts["arrays"])
    return RunState(
        trial=facts["trial"],
        iteration=facts["iteration"],
        pool=Pool(facts["pool_size"], tuple(map(tuple, facts["rounds"])), tuple(facts.get("skipped", ()))),
        variables=_variables(arrays),
        probabilities=arrays.get("probabilities"),
        history=tuple(Record.from_line(line) for line in facts["history"]),
        stage=_stage(arrays, facts, recipe),
        seconds=Seconds(*facts["seconds"]),
    )


def holds_model(facts: Facts) -> bool:
    """Whether the packed state has a fitted model."""
    return any(name.startswith("variables/") for name, _, _ in facts["arrays"])


def _split_vectors(vectors: Vectors, table: Sequence[Sequence[Any]]) -> dict[str, np.ndarray]:
    """The arrays by name, from the rows (name, key of the vector, shape) of the table.

    In checkpoints of older versions the key of the probabilities is their dtype, too.
    """
    start = dict.fromkeys(vectors, 0)
    arrays = {}
    for name, key, shape in table:
        size = int(np.prod(shape))
        arrays[name] = vectors[key][start[key] : start[key] + size].reshape(shape).copy()
        start[key] += size
    return arrays


def _variables(arrays: Mapping[str, np.ndarray], prefix: str = "variables/") -> Variables | None:
    """The model's variables among named arrays, on the devices; None if there are none."""
    own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    # A network without batch statistics has none among its arrays.
    return _to_device({"batch_stats": {}, **unflatten_dict(own, sep="/")}) if own else None


def _stage(arrays: Mapping[str, np.ndarray], facts: Facts, recipe: Recipe) -> Stage | None:
    match facts["stage"]:
        case "Training":
            variables = _variables(arrays, "fit/state/variables/")
            assert variables is not None
            empty = jax.eval_shape(make_optimizer(recipe).init, variables["params"])
            names = _names({"fit": {"state": TrainState({}, empty)}})
            optimizer = _to_device(jax.tree.unflatten(jax.tree.structure(empty), [arrays[name] for name in names]))
            sums = Sums(*(_to_device(arrays[f"fit/sums/{name}"]) for name in Sums._fields))
            return Training(Fit(TrainState(variables, optimizer), sums, facts["epoch"], facts["step"]))
        case "Fitted":
            return Fitted()
        case "Predicted":
            shortlist = None
            if "shortlist_size" in facts:
                parts = (arrays[f"shortlist/{name}"] for name in ("rows", "scores", "embeddings"))
                shortlist = Shortlist(facts["shortlist_size"], *parts)
            micro, macro, precision, class_f1 = facts["test"]
            test = Metrics(micro, macro, precision, tuple(class_f1))
            at = facts.get("at_thresholds")
            fitted = AtThresholds(**{**at, "class_thresholds": tuple(at["class_thresholds"])}) if at else None
            correlation = facts.get("loss_rank_correlation")
            return Predicted(test, facts["validation_micro_f1"], facts["wanted"], shortlist, fitted, correlation)
    return None


def _names(tree: PyTree) -> dict[str, Any]:
    """Leaves by their path, such as `variables/params/network/head/bias`, in the order of the tree."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _to_device(tree: PyTree) -> PyTree:
    # Copies, because a step donates its arguments, which must not be memory of NumPy.
    return replicate(jax.tree.map(lambda array: jnp.array(array, copy=True), tree))
