"""The state of a run: everything on which the rest of the run depends."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from aljax.loop.history import Record
from aljax.loop.metrics import Metrics
from aljax.loop.passes import Pass, Shard
from aljax.loop.pool import Pool
from aljax.loop.thresholds import AtThresholds, Thresholds
from aljax.networks.model import Variables
from aljax.queries.shortlist import Shortlist
from aljax.training.fitting import Fit


class Seconds(NamedTuple):
    """Spent on the current iteration, in all processes that worked on it."""

    train: float = 0.0
    predict: float = 0.0
    select: float = 0.0


class Measured(NamedTuple):
    """Probabilities of the classes, by a fitted model, on the tiles that it is measured with."""

    validation: Float[np.ndarray, "v c"]
    test: Float[np.ndarray, "t c"]


class Training(NamedTuple):
    """The model of the iteration is being fitted."""

    fit: Fit


@dataclass(frozen=True)
class Fitted:
    """The model is fitted; the passes that evaluate it and score the pool have not begun, or are under way."""

    shards: dict[str, list[Shard]] = field(default_factory=dict)
    """What an earlier process kept of the passes, by their names, until they go on."""
    passes: dict[str, Pass] = field(default_factory=dict)
    """Those of this process; they grow with every batch."""

    def begin(self, name: str, begun: Pass) -> Pass:
        """The pass of that name, with what is kept of it."""
        begun.put(self.shards.pop(name, ()))
        self.passes[name] = begun
        return begun


class Predicted(NamedTuple):
    """The model is evaluated and the unlabelled tiles have their scores; none is chosen yet."""

    test: Metrics
    validation_micro_f1: float
    wanted: int
    """Number of tiles to choose; 0 ends the trial."""
    shortlist: Shortlist | None
    """The tiles of the highest scores; None if `wanted` is 0."""
    at_thresholds: AtThresholds | None = None
    """None without validation tiles of their own, or where an older version predicted."""
    loss_rank_correlation: float | None = None
    """Of predicted and true losses on the validation tiles; None without a loss head."""


Stage = Training | Fitted | Predicted


class RunState(NamedTuple):
    """A run between two steps, as a checkpoint holds it."""

    trial: int
    """Counts from 0."""
    iteration: int
    """The current iteration or, without a `stage`, the last complete one; counts from 1, 0 before the first."""
    pool: Pool
    variables: Variables | None
    """The newest fitted model; None before the first one of a trial and while a model is being fitted."""
    probabilities: Float[np.ndarray, "n c"] | None
    """Of the tiles that were unlabelled at the last prediction, NaN elsewhere; None where nobody asks for them: a large
    pool has more of them than of anything else. They are the reference of TPD, and what people are told of a round."""
    history: tuple[Record, ...]
    """One record per complete iteration, of all trials."""
    stage: Stage | None = None
    """The stage of the current iteration; None between two iterations."""
    seconds: Seconds = Seconds()

    @property
    def trial_is_over(self) -> bool:
        return self.stage is None and self.iteration > 0 and not self.history[-1].selected

    @property
    def thresholds(self) -> Thresholds | None:
        """Of the newest model that was evaluated; None if none were fitted."""
        if isinstance(self.stage, Predicted):
            at = self.stage.at_thresholds
            return None if at is None else Thresholds(at.validation_threshold, at.class_thresholds)
        newest = self.history[-1] if self.history else None
        if newest is None or newest.validation_threshold is None or newest.class_thresholds is None:
            return None
        return Thresholds(newest.validation_threshold, newest.class_thresholds)
