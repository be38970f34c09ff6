"""The display of a run's progress: bars for trials, iterations and epochs, or lines in a log."""

import math
import sys
import time

from tqdm import tqdm

from aljax.loop.history import Record
from aljax.loop.iterations import Watcher
from aljax.loop.settings import Settings
from aljax.loop.state import RunState, Training
from aljax.training.recipe import for_labelled


class Progress(Watcher):
    """Bars on a terminal; one line per iteration if standard error is a file or a pipe.

    Use as a context manager.
    """

    def __init__(self, settings: Settings, title: str) -> None:
        self._settings, self._title = settings, title
        iterations = 1 + math.ceil((settings.max_labels - settings.initial) / settings.budget)
        self._bars = sys.stderr.isatty()
        self._begun, self._started = False, time.monotonic()
        levels = {"trials": settings.trials, "iterations": iterations, "epochs": settings.recipe.epochs}
        self._trials, self._iterations, self._epochs = (
            tqdm(
                desc=f"{title} {name}", total=total, position=row, unit=f" {name}", leave=False, disable=not self._bars
            )
            for row, (name, total) in enumerate(levels.items())
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        for bar in (self._epochs, self._iterations, self._trials):
            bar.close()

    def begin_iteration(self, state: RunState) -> None:
        _set(self._trials, state.trial - self._settings.first_trial + 1)
        _set(self._iterations, state.iteration - 1)
        epochs = for_labelled(self._settings.recipe, state.pool.num_labelled).epochs
        self._epochs.total = epochs
        _set(self._epochs, state.stage.fit.epoch if isinstance(state.stage, Training) else epochs)
        self._epochs.set_postfix_str("the first step of a process includes compilation" if not self._begun else "")
        self._begun = True

    def end_epoch(self, epoch: int, loss: float) -> None:
        self._epochs.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self._epochs.update()

    def end_iteration(self, record: Record) -> None:
        scores = f"micro F1 {record.micro_f1:.4f}  macro F1 {record.macro_f1:.4f}"
        self._iterations.set_postfix_str(f"{record.num_labeled} labels  {scores}", refresh=False)
        self._iterations.update()
        if not record.selected:
            self._trials.update()
        if not self._bars:
            seconds = record.train_seconds + record.predict_seconds + record.select_seconds
            place = f"trial {record.trial}/{self._settings.first_trial + self._settings.trials - 1}"
            line = f"{self._title}  {place}  {record.num_labeled:6d} labels  {scores}  {seconds:6.1f} s"
            print(line, file=sys.stderr, flush=True)

    def end_run(self, saves: int, save_seconds: float) -> None:
        """Prints how long the checkpoints of this process took."""
        if saves:
            share = save_seconds / (time.monotonic() - self._started)
            message = f"{self._title}  {saves} checkpoints in {save_seconds:.1f} s, {share:.1%} of the time"
            tqdm.write(message, file=sys.stderr)


def _set(bar: tqdm, value: int) -> None:
    bar.n = value
    bar.refresh()
