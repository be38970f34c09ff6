"""Annotation in rounds: the state of the labels, and the initial tiles, which are chosen without a fitted model.

A round is a folder with a run of one iteration on the labels so far (`rounds`) and the files for the annotator
(`round_files`): the form `to_label.csv`, an HTML page that fills it in, and contact sheets. A round without labels to
train on has random or covering tiles and no run.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int, Shaped

from aljax.annotation.reasons import BLANK, Cells, covering_cells, read_reasons
from aljax.data.apart import too_near, warn_of_left_out
from aljax.data.archive import Archive, Split
from aljax.data.labels import PART_NAMES
from aljax.data.space.blocks import in_blocks
from aljax.errors import InputError, InputWarning
from aljax.keys import Purpose, derive_key
from aljax.loop.iterations import cover_features
from aljax.loop.reasons import GROUPING, group_alike
from aljax.loop.spacing import spaced, warn_of_fewer
from aljax.loop.state import RunState
from aljax.networks.head import unit_features


class Assignment(NamedTuple):
    """Tiles that a person is to label, and their parts of the split."""

    rows: Int[np.ndarray, " k"]
    """Indices in the archive."""
    parts: Int[np.ndarray, " k"]
    """Indices into PART_NAMES."""
    reasons: Sequence[Cells] = ()
    """Why each was chosen; empty where nothing is known of any."""


@dataclass(frozen=True)
class Labelling:
    """The tiles of an archive that are labelled, skipped or held out before a round."""

    archive: Archive
    split: Split
    """The pool has all tiles that are not held out for validation and test."""
    labelled: Bool[np.ndarray, " p"]
    """Which tiles of the pool are labelled."""
    skipped: Bool[np.ndarray, " p"]
    """Which tiles of the pool cannot be labelled, or are copies of held-out tiles, of the same place or too near.

    They stay in the pool, so that the band statistics do not change.
    """

    @property
    def unlabelled(self) -> Bool[np.ndarray, " p"]:
        """Which tiles of the pool can be chosen."""
        return ~(self.labelled | self.skipped)


def round_dir(run_dir: Path, number: int) -> Path:
    """The folder of a round, counted from 1."""
    return run_dir / f"round-{number}"


def split_labelled(archive: Archive, metres: float = 0.0) -> Labelling:
    """The state of an archive of which some tiles are labelled, some of them for validation and test.

    Tiles nearer to these than `metres` are skipped, and told. Without validation tiles the test tiles also serve as
    validation; annotation makes no decision by them.
    """
    count = len(archive.ids)
    labelled = np.ones(count, bool) if archive.labelled is None else archive.labelled
    learnt, validation, test = archive.split or (slice(None), np.arange(0), np.arange(0))
    held_out, skipped, of_held_out = np.zeros(count, bool), labelled.copy(), np.zeros(count, bool)
    held_out[validation] = held_out[test] = True
    skipped[learnt] = skipped[held_out] = False
    if archive.copy_of is not None:  # copies of held-out tiles must not be trained on
        of_held_out[archive.copy_of[held_out]] = True
        skipped |= of_held_out[archive.copy_of]
    near = too_near(archive, np.flatnonzero(held_out), metres)
    warn_of_left_out(int(near.sum()), len(near), metres)
    skipped |= near
    pool = np.flatnonzero(~held_out)
    split = Split(pool, validation if len(validation) else test, test)
    return Labelling(archive, split, (labelled & ~skipped)[pool], skipped[pool])


def warn_of_unmeasured(labelling: Labelling) -> None:
    """Warns of classes that no test tile has: their F1 is 0, whatever is predicted."""
    count = (labelling.archive.labels[labelling.split.test] == 1).sum(0)
    names = [name for name, tiles in zip(labelling.archive.class_names, count, strict=True) if not tiles]
    if names and len(labelling.split.test):
        message = f"no test tile has the class {', '.join(names)}: macro F1 counts it as 0, whatever is predicted"
        warnings.warn(InputWarning(message), stacklevel=2)


def choose_initial(
    labelling: Labelling,
    seed: int,
    number: int,
    initial: int,
    test: int,
    features: Shaped[np.ndarray, "n h w d"] | None = None,
    test_blocks: float = 0.0,
    min_distance: float = 0.0,
) -> Assignment | None:
    """Tiles that bring the labelled ones up to `initial` and, if the archive has no test tiles, `test` of these.

    Test tiles are random, with `test_blocks` metres in blocks so far from the others. These are random, too, or cover
    the archive's `features`, `min_distance` metres from each other. Returns None if no tiles are needed. Raises
    InputError if the archive has too few without labels.
    """
    tests = 0 if len(labelling.split.test) else test
    count = tests + max(initial - int(labelling.labelled.sum()), 0)
    candidates = labelling.split.pool[labelling.unlabelled]
    if count == 0:
        return None
    order = np.asarray(jax.random.permutation(derive_key(seed, Purpose.INITIAL_LABELS, 0, number), len(candidates)))
    if (copy_of := labelling.archive.copy_of) is not None:  # of copies only one is labelled
        order = order[np.sort(np.unique(copy_of[candidates[order]], return_index=True)[1])]
    if count > len(order):
        raise InputError(
            f"there are {len(order)} tiles without labels and {count} to begin with: lower --initial or --test"
        )
    footprints = labelling.archive.footprints and labelling.archive.footprints.take(candidates)
    if tests and test_blocks > 0.0 and footprints is not None:
        order = in_blocks(footprints, order, tests, test_blocks)
    rest = _not_beside(labelling.archive, candidates, order, tests, test_blocks)
    if count - tests > len(rest):
        raise InputError(
            f"{len(rest)} tiles are not too near to the {tests} test tiles, and {count - tests} are to begin with: "
            "lower --test, --test-blocks or --initial"
        )
    key = derive_key(seed, Purpose.COVERAGE, 0, number)
    covering = None
    if features is not None and count > tests:
        rest = np.sort(rest)
        covering = cover_features(key, features, candidates[rest], count - tests, everything=min_distance > 0.0)
        rest = rest[covering.chosen]
    first = spaced(np.arange(len(rest)), count - tests, footprints and footprints.take(rest), min_distance)
    warn_of_fewer(len(first), count - tests, min_distance)
    rows = candidates[np.concatenate([order[:tests], rest[first]])]
    parts = np.where(np.arange(len(rows)) < tests, PART_NAMES.index("test"), 0)
    reasons = [BLANK] * len(rows)
    if features is not None and covering is not None:
        vectors = features[rows].astype(np.float32).reshape(len(rows), -1)
        groups = group_alike(jax.random.fold_in(key, GROUPING), np.asarray(unit_features(vectors - vectors.mean(0))))
        reasons = covering_cells(covering.take(first), tests, groups)
    return Assignment(rows, parts, reasons)


def _not_beside(
    archive: Archive, candidates: Int[np.ndarray, " n"], order: Int[np.ndarray, " m"], tests: int, metres: float
) -> Int[np.ndarray, " k"]:
    """What comes after the `tests` in the order of the candidates, but for tiles that are too near to these."""
    near = too_near(archive, candidates[order[:tests]], metres)[candidates]
    warn_of_left_out(int(near.sum()), len(archive.ids), metres)
    return order[tests:][~near[order[tests:]]]


def learnt_and_held(labelling: Labelling) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " h"]]:
    """Indices in the archive of the tiles that are trained on, and of those for validation and test."""
    split = labelling.split
    return split.pool[labelling.labelled], np.union1d(split.validation, split.test)


def chosen_tiles(labelling: Labelling, state: RunState, folder: Path) -> Assignment:
    """The tiles that the round in a folder chose, highest score first, all of them for the pool."""
    chosen = state.history[-1].selected
    wanted = {*chosen}
    places = {tile: row for row, tile in enumerate(labelling.archive.ids) if tile in wanted}
    rows = np.array([places[tile] for tile in chosen])
    return Assignment(rows, np.zeros(len(rows), int), read_reasons(folder, chosen))
