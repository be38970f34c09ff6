"""What the last rounds have gained on the test tiles, and what another would likely bring: lines for the annotator."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from aljax.annotation.labelling import Labelling, round_dir
from aljax.arrays import UNKNOWN
from aljax.errors import InputError, InputWarning
from aljax.keys import Purpose, derive_key
from aljax.loop.history import Record
from aljax.loop.metrics import THRESHOLD, is_above
from aljax.loop.thresholds import Asked, Thresholds, find_threshold
from aljax.reports.gains import Gain, Resampled, gain, outlook, resample
from aljax.runs.config import read_config
from aljax.runs.probabilities import probabilities_file, read_probabilities

SAME = 1e-4  # scores that differ by less do so by rounding
ROUNDS = 3  # last rounds whose gain is told beside that of the last one


class MeasuredRound(NamedTuple):
    """A round that trained, as the test tiles measure it."""

    number: int
    num_labelled: int
    predicted: Bool[np.ndarray, "t c"]
    """Classes of the test tiles."""


def curves_of(history: Sequence[Record]) -> dict[str, tuple[Record, ...]]:
    """The rounds as one curve or, where classes were added, one for each number of them: their means are of others."""
    numbers = dict.fromkeys(len(record.class_f1) for record in history)  # of classes; 0: of an older version
    if len(numbers) == 1 or 0 in numbers:
        return {"annotation": tuple(history)}
    return {
        f"annotation, {number} classes": tuple(record for record in history if len(record.class_f1) == number)
        for number in numbers
    }


def describe_gains(
    run_dir: Path, labelling: Labelling, history: Sequence[Record], seed: int, asked: Asked | None, more: int
) -> list[str]:
    """Two lines: the gains of the last rounds, and the outlook for `more` labels (0: no such line).

    None after the first round. Rounds on other tiles, or measured on others, are not compared.
    """
    names = (path.parent.name.removeprefix("round-") for path in run_dir.glob("round-*/config.json"))
    trained = sorted(int(name) for name in names if name.isdecimal())
    if len(history) < 2 or len(trained) != len(history):
        return []
    rounds = read_rounds(run_dir, trained, history, asked)
    if len(rounds) < 2:
        return [f"gains: unclear, as the tiles or the scores of {round_dir(run_dir, trained[-2])} are others"]
    labels = labelling.archive.labels[labelling.split.test]
    known = labels != UNKNOWN  # F1 does not count what is absent in both
    key = derive_key(seed, Purpose.RESAMPLING, 0, rounds[-1].number)
    scores = resample(key, labels == 1, [one.predicted & known for one in rounds])
    named = {"micro F1": scores.micro, "macro F1": scores.macro}

    def since(back: int) -> str:
        begin = rounds[-1 - back]
        gains = ", ".join(f"{name} {gain(each, -1 - back).in_points()}" for name, each in named.items())
        return f"since round {begin.number}, with {rounds[-1].num_labelled - begin.num_labelled} labels: {gains}"

    backs = sorted({1, min(ROUNDS, len(rounds) - 1)})
    lines = [f"points gained {'; '.join(map(since, backs))}{_changed(scores, history, asked, backs)}"]
    if more:
        numbers = np.array([one.num_labelled for one in rounds])
        outlooks = (f"{name} {_said(outlook(numbers, each, more))}" for name, each in named.items())
        lines.append(f"points that another {more} labels would likely bring: {', '.join(outlooks)}")
    return lines


def _changed(scores: Resampled, history: Sequence[Record], asked: Asked | None, backs: Sequence[int]) -> str:
    """Says so where the labels of test tiles are not those that a round was measured with when it was made."""
    same = (abs(scores.micro[0, -1 - back] - history[-1 - back].micro_f1) < SAME for back in backs)
    return "" if asked is not None or all(same) else " (by the test labels of now, which have changed)"


def _said(found: Gain | None) -> str:
    if found is None:
        return "unclear after so few rounds"
    return f"unclear, {found.in_points()}" if found.is_unclear else found.in_points()


def read_rounds(
    run_dir: Path, trained: Sequence[int], history: Sequence[Record], asked: Asked | None
) -> list[MeasuredRound]:
    """The newest of the rounds that can be compared: on the same tiles, of which the same are for the test.

    They end where an older version kept no probabilities, or a round has no such thresholds.
    """
    found: list[MeasuredRound] = []
    newest = read_config(round_dir(run_dir, trained[-1]))
    for number, record in zip(reversed(trained), reversed(history), strict=True):
        folder = round_dir(run_dir, number)
        config = read_config(folder)
        is_same = all(config.get(name) == newest.get(name) for name in ("split", "pool", "class_names"))
        if not is_same or not probabilities_file(folder, record.trial, record.iteration).exists():
            break
        try:
            threshold = THRESHOLD if asked is None else find_threshold(asked, _thresholds(record), folder)
            test = read_probabilities(folder, record.trial, record.iteration).test
        except InputError as error:
            warnings.warn(InputWarning(f"no gain is told since round {number}: {error}"), stacklevel=2)
            break
        found.append(MeasuredRound(number, record.num_labeled, is_above(test, threshold)))
    return found[::-1]


def _thresholds(record: Record) -> Thresholds | None:
    if record.validation_threshold is None or record.class_thresholds is None:
        return None
    return Thresholds(record.validation_threshold, record.class_thresholds)
