"""How far annotators agree about each class, who differs from whom, and what their answers come to.

Answers are votes (people, tiles, classes): 1, 0 or UNKNOWN, where somebody was not asked, or was not sure.
"""

import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from aljax.arrays import UNKNOWN
from aljax.data.labels import to_text
from aljax.errors import InputError

Disagreement = Literal["unknown", "majority", "dawid-skene"]
DAWID_SKENE_STEPS = 100

Votes = UInt8[np.ndarray, "p n c"]


def find_disputed(votes: Votes) -> Bool[np.ndarray, "n c"]:
    """Which cells (tiles, classes) have a 1 of somebody and a 0 of somebody else."""
    return (votes == 1).any(0) & (votes == 0).any(0)


def krippendorff_alpha(votes: Votes) -> Float[np.ndarray, " c"]:
    """Krippendorff's alpha of each class (C,) for nominal data with missing values; NaN if it is not defined.

    1 is perfect agreement, 0 that of chance. It is observed over expected disagreement of the pairs of answers about
    the same tile, so a tile with one answer does not count (Krippendorff, Content Analysis, 2004, section 11.3). It is
    not defined where no tile has two answers, or where all answers are the same.
    """
    ones, zeros = (votes == 1).sum(0).astype(float), (votes == 0).sum(0).astype(float)  # (n, c)
    answers = ones + zeros
    ones, zeros = np.where(answers > 1, ones, 0.0), np.where(answers > 1, zeros, 0.0)
    observed = (ones * zeros / np.maximum(answers - 1, 1)).sum(0)
    total, present = (ones + zeros).sum(0), ones.sum(0)
    expected = present * (total - present) / np.maximum(total - 1, 1)
    return np.where(expected > 0, 1.0 - observed / np.where(expected > 0, expected, 1.0), np.nan)


def agreement_text(votes: Votes, people: Sequence[str], class_names: Sequence[str]) -> str:
    """The text of a table with a row for each class and all people, and, of three or more, for each pair of them.

    Its columns are the class, the people, the tiles that at least two of them know, those on which they differ, and
    alpha, blank if it is not defined.
    """
    pairs = [*combinations(range(len(people)), 2)] if len(people) > 2 else []
    groups = {"all": [*range(len(people))], **{f"{people[a]} {people[b]}": [a, b] for a, b in pairs}}
    lines = []
    for index, name in enumerate(class_names):
        for title, rows in groups.items():
            own = votes[rows][:, :, [index]]
            common = int(((own != UNKNOWN).sum(0) > 1).sum())
            alpha = float(krippendorff_alpha(own)[0])
            differ = int(find_disputed(own).sum())
            lines.append((name, title, common, differ, "" if np.isnan(alpha) else f"{alpha:.3f}"))
    return to_text(("class", "people", "tiles", "differ", "alpha"), lines)


def describe_agreement(votes: Votes, people: Sequence[str], class_names: Sequence[str]) -> list[str]:
    """Two lines: alpha of each class, lowest first, and in how many cells each two people differ; none without any."""
    both = {
        (people[a], people[b]): ((votes[[a, b]] != UNKNOWN).all(0), find_disputed(votes[[a, b]]))
        for a, b in combinations(range(len(people)), 2)
    }
    disagreements = [f"{a} and {b} in {d.sum()} of {k.sum()} cells" for (a, b), (k, d) in both.items() if k.any()]
    if not disagreements:
        return []
    alphas = krippendorff_alpha(votes)
    order = [index for index in np.argsort(alphas, kind="stable") if not np.isnan(alphas[index])]
    known = ", ".join(f"{class_names[index]} {alphas[index]:.2f}" for index in order)
    known = known or "not defined, as all answers are the same"
    return [f"agreement, Krippendorff's alpha: {known}", f"differ: {', '.join(disagreements)}"]


def resolve(votes: Votes, rule: Disagreement) -> UInt8[np.ndarray, "n c"]:
    """What the votes come to: where all who know agree, their answer; where they differ, what the rule says.

    A majority that is level is UNKNOWN, as is what nobody knows. Raises InputError if Dawid-Skene needs what is not
    installed.
    """
    ones, zeros = (votes == 1).sum(0), (votes == 0).sum(0)
    agreed = np.where(ones > 0, 1, np.where(zeros > 0, 0, UNKNOWN)).astype(np.uint8)
    disputed = find_disputed(votes)
    if not disputed.any():
        return agreed
    if rule == "unknown":
        decided = np.full_like(agreed, UNKNOWN)
    elif rule == "majority":
        decided = np.where(ones == zeros, UNKNOWN, ones > zeros).astype(np.uint8)
    else:
        decided = _dawid_skene(votes, disputed)
    return np.where(disputed, decided, agreed)


def _dawid_skene(votes: Votes, disputed: Bool[np.ndarray, "n c"]) -> UInt8[np.ndarray, "n c"]:
    """The likeliest label of each cell by Dawid and Skene (1979), a fit for each class that is disputed."""
    try:
        import pandas as pd
        from crowdkit.aggregation import DawidSkene
    except ImportError as error:
        raise InputError(
            f"--disagreement dawid-skene needs crowd-kit ({error}): pip install 'aljax[people]', or choose majority"
        ) from error
    decided = np.full(disputed.shape, UNKNOWN, np.uint8)
    for column in np.flatnonzero(disputed.any(0)):
        worker, task = np.nonzero(votes[:, :, column] != UNKNOWN)
        answers = pd.DataFrame({"task": task, "worker": worker, "label": votes[worker, task, column].astype(int)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # crowd-kit 1.4 uses what pandas 3.1 deprecates
            found: Mapping[int, int] = DawidSkene(n_iter=DAWID_SKENE_STEPS).fit_predict(answers)
        for tile, label in found.items():
            decided[tile, column] = label
    return decided
