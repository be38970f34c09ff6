"""Where a run stands: everything that what is left of it depends on."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from aljax.loop.history import Record
from aljax.loop.metrics import Metrics
from aljax.loop.pool import Pool
from aljax.networks.model import Variables
from aljax.queries.shortlist import Shortlist
from aljax.training.fitting import Fit


class Seconds(NamedTuple):
    """Spent on the iteration under way, whatever number of processes it took."""

    train: float = 0.0
    predict: float = 0.0
    select: float = 0.0


class Training(NamedTuple):
    """The model of the iteration is being fitted."""

    fit: Fit


class Fitted(NamedTuple):
    """The model is fitted; it has not been evaluated and the pool has no scores yet."""


class Predicted(NamedTuple):
    """The model is evaluated and the unlabelled tiles have their scores; none is chosen yet."""

    test: Metrics
    validation_micro_f1: float
    wanted: int
    """Tiles to choose; 0 ends the trial."""
    shortlist: Shortlist | None
    """The most uncertain tiles; None where none are to be chosen."""


Stage = Training | Fitted | Predicted


class RunState(NamedTuple):
    """A run between two of its steps: what a checkpoint holds."""

    trial: int
    """Counts from 0."""
    iteration: int
    """The trial's last iteration that is complete or, with a stage, the one under way; counts from 1, 0 before all."""
    pool: Pool
    variables: Variables | None
    """The newest fitted model; None before the first one of a trial and while a model is being fitted."""
    probabilities: Float[np.ndarray, "n c"] | None
    """Of the tiles that were unlabelled at the last prediction, NaN elsewhere; None where nobody asks for them: a large
    pool has more of them than of anything else. They are the reference of TPD, and what people are told of a round."""
    history: tuple[Record, ...]
    """One record per complete iteration, of all trials."""
    stage: Stage | None = None
    """How far the iteration under way is; None between two iterations."""
    seconds: Seconds = Seconds()

    @property
    def trial_is_over(self) -> bool:
        return self.stage is None and self.iteration > 0 and not self.history[-1].selected
