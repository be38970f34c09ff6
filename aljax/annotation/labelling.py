"""Annotation by a person in rounds: what is labelled so far, and the tiles that are drawn before anything is learnt.

A round is a folder: a run of one iteration on what is labelled (`rounds`), and what a person is given (`round_files`):
`to_label.csv` to fill in, a page for a browser that does so, and sheets with the pictures of its tiles. Where there are
no labels yet, a round draws its tiles and has no run.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int, Shaped

from aljax.data.archive import Archive, Split
from aljax.data.labels import PART_NAMES
from aljax.errors import InputError, InputWarning
from aljax.keys import Purpose, derive_key
from aljax.loop.iterations import cover
from aljax.loop.state import RunState


class Assignment(NamedTuple):
    """Tiles that a person is to label, and what they are for."""

    rows: Int[np.ndarray, " k"]
    """In the archive."""
    parts: Int[np.ndarray, " k"]
    """Indices of PART_NAMES."""


@dataclass(frozen=True)
class Labelling:
    """Which tiles of an archive are labelled, skipped or held back before a round."""

    archive: Archive
    split: Split
    """All tiles that are not held back are the pool."""
    labelled: Bool[np.ndarray, " p"]
    """Of the pool's tiles."""
    skipped: Bool[np.ndarray, " p"]
    """Of the pool's tiles: those that cannot be labelled, and copies of tiles that are held back.

    They stay in it, so the pixels' statistics do, too.
    """

    @property
    def unlabelled(self) -> Bool[np.ndarray, " p"]:
        """Of the pool's tiles: those to choose from."""
        return ~(self.labelled | self.skipped)


def round_dir(run_dir: Path, number: int) -> Path:
    """The folder of round 1, 2, ..."""
    return run_dir / f"round-{number}"


def split_labelled(archive: Archive) -> Labelling:
    """Splits an archive of which some tiles are labelled, some of them for validation and test.

    Without tiles for validation those of the test stand in; nothing is decided by them.
    """
    everything = np.arange(len(archive.ids))
    labelled = np.ones(len(everything), bool) if archive.labelled is None else archive.labelled
    _, validation, test = archive.split or (everything, everything[:0], everything[:0])
    pool = np.setdiff1d(everything, np.concatenate([validation, test]))
    skipped = labelled & ~np.isin(everything, np.concatenate(archive.split or [everything]))
    if archive.copy_of is not None:  # what is measured with is not learnt under another name
        skipped |= np.isin(archive.copy_of, archive.copy_of[np.setdiff1d(everything, pool)])
    split = Split(pool, validation if len(validation) else test, test)
    return Labelling(archive, split, (labelled & ~skipped)[pool], skipped[pool])


def warn_of_unmeasured(labelling: Labelling) -> None:
    """Says which classes no tile of the test has: their F1 is 0, whatever is predicted."""
    count = labelling.archive.labels[labelling.split.test].sum(0, dtype=int)
    names = [name for name, tiles in zip(labelling.archive.class_names, count, strict=True) if not tiles]
    if names and len(labelling.split.test):
        message = f"no test tile has the class {', '.join(names)}: macro F1 counts it as 0, whatever is predicted"
        warnings.warn(InputWarning(message), stacklevel=2)


def draw_first(
    labelling: Labelling,
    seed: int,
    number: int,
    initial: int,
    test: int,
    features: Shaped[np.ndarray, "n h w d"] | None = None,
) -> Assignment | None:
    """Tiles for what is missing of `initial` labelled ones, and `test` by chance for the test where it has none.

    With the archive's `features` the former cover them, without they are drawn by chance too. None if nothing is
    missing. Raises InputError if the archive has fewer.
    """
    tests = 0 if len(labelling.split.test) else test
    count = tests + max(initial - int(labelling.labelled.sum()), 0)
    candidates = labelling.split.pool[labelling.unlabelled]
    if count == 0:
        return None
    order = np.asarray(jax.random.permutation(derive_key(seed, Purpose.INITIAL_LABELS, 0, number), len(candidates)))
    if (copy_of := labelling.archive.copy_of) is not None:  # nobody is asked about a scene twice
        order = order[np.sort(np.unique(copy_of[candidates[order]], return_index=True)[1])]
    if count > len(order):
        raise InputError(
            f"there are {len(order)} tiles without labels and {count} to begin with: lower --initial or --test"
        )
    if features is not None and count > tests:
        rest = np.sort(order[tests:])
        covering = cover(derive_key(seed, Purpose.COVERAGE, 0, number), features, candidates[rest], count - tests)
        order = np.concatenate([order[:tests], rest[covering]])
    return Assignment(candidates[order[:count]], np.where(np.arange(count) < tests, PART_NAMES.index("test"), 0))


def chosen_rows(labelling: Labelling, state: RunState) -> Int[np.ndarray, " k"]:
    """Where the tiles that a round chose are in the archive, highest score first."""
    places = {tile: row for row, tile in enumerate(labelling.archive.ids)}
    return np.array([places[tile] for tile in state.history[-1].selected])
