"""One round: it waits for labels, or trains on those that are there, chooses tiles and writes its files."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from aljax.annotation import round_files
from aljax.annotation.annotators import check_round, deal, form_name, parse_names, tiles_left
from aljax.annotation.answers import put_first
from aljax.annotation.labelling import (
    Assignment,
    Labelling,
    choose_initial,
    chosen_tiles,
    learnt_and_held,
    round_dir,
    warn_of_unmeasured,
)
from aljax.annotation.outlook import curves_of
from aljax.annotation.rounds import run_round
from aljax.annotation.test_blocks import find_metres, keep_metres
from aljax.commands.annotate.opening import on_features, open_labelling
from aljax.commands.annotate.settings import AnnotationSettings, check_people, check_places, read_start
from aljax.commands.on_features import choose_network
from aljax.data.apart import check_metres
from aljax.data.archives.near_copies import warn_of_near_copies
from aljax.data.label_rows import SPLIT_COLUMN
from aljax.data.labels import classes_of
from aljax.data.storage import keep_tiles
from aljax.errors import InputError
from aljax.loop.constant import from_config
from aljax.loop.metrics import Metrics, evaluate
from aljax.loop.settings import FEATURES
from aljax.loop.state import RunState
from aljax.loop.thresholds import find_threshold
from aljax.reports.contact_sheet import parse_bands
from aljax.runs.config import read_config
from aljax.runs.experiment import write_report
from aljax.runs.probabilities import read_probabilities
from aljax.system.stopping import StopRequest


def check_form_classes(classes: tuple[str, ...], form: Path) -> None:
    """Raises InputError if the classes are not those of a form that waits for labels."""
    round_files.check_classes(classes, waiting := classes_of(form))
    if added := [name for name in classes if name not in waiting]:
        raise InputError(
            f"{form} waits for labels and has no class {added[0]}: fill it in first, and add the class to the round "
            "after it"
        )


class Round(NamedTuple):
    """A round that `next_round` made or found."""

    form: Path | None
    """The form to fill in, of a round of several the first; None after the last round."""
    state: RunState | None = None
    """The state after the training; None if there was none in this call."""
    labelling: Labelling | None = None
    """The labels that it was trained on."""
    scores: Metrics | None = None
    """Scores of the round, at the threshold that was asked for."""
    left: Mapping[str, tuple[int, int]] = {}
    """In a round of several that waits: how many tiles each of them has left, of how many."""
    agreement: tuple[str, ...] = ()
    """How far people agree."""


def find_waiting(settings: AnnotationSettings, classes: tuple[str, ...]) -> Round | None:
    """The newest round, if it is of several annotators and waits for answers of theirs. Raises InputError."""
    folder = round_dir(settings.run_dir, round_files.count_rounds(settings.run_dir))
    check_round(folder, classes)
    left = tiles_left(folder)
    nothing = all(count == total for count, total in left.values())
    if not left or not any(count for count, _ in left.values()) or (settings.go_on and not nothing):
        return None
    check_form_classes(classes, folder / form_name(next(iter(left))))
    is_trained = settings.finish and nothing and (folder / "config.json").exists()
    return Round(None) if is_trained else Round(folder / form_name(next(iter(left))), left=left)


def next_round(settings: AnnotationSettings) -> Round:
    """Makes the next round, or finds the one that waits for labels. Raises InputError."""
    check_places(settings)
    check_people(settings)
    check_metres(test_blocks=settings.test_blocks)
    settings = replace(settings, test_blocks=find_metres(settings.run_dir, settings.test_blocks))
    start, classes = read_start(settings)
    waiting = round_files.waiting_form(settings.run_dir)
    if waiting is not None:
        check_form_classes(classes, waiting)
        is_trained = settings.finish and (waiting.parent / "config.json").exists()
        return Round(None if is_trained else waiting)
    if found := find_waiting(settings, classes):
        return found
    labelling, classes, together = open_labelling(settings, start, classes)
    last = settings.finish or not labelling.unlabelled.any()
    if last and not (labelling.labelled.any() and len(labelling.split.test)):
        if settings.finish:
            raise InputError("there are no labels to train on and measure with yet: leave out --finish")
        raise InputError(
            f"every tile is labelled and none is for the test: write test into a column {SPLIT_COLUMN} of --labels for "
            "some of them"
        )
    number = round_files.count_rounds(settings.run_dir) + 1
    state = make_round(settings, labelling, classes, number, last, together.disputed)
    left = {} if last else tiles_left(round_dir(settings.run_dir, number))
    form = None if last else round_dir(settings.run_dir, number) / form_name(next(iter(left), ""))
    scores = None if state is None else score_round(settings, labelling, state, number)
    return Round(form, state, labelling, scores, left, together.summary)


def make_round(
    settings: AnnotationSettings,
    labelling: Labelling,
    classes: tuple[str, ...],
    number: int,
    last: bool,
    disputed: Mapping[str, int] = MappingProxyType({}),
) -> RunState | None:
    """Trains unless tiles for the initial labels or the test are missing, chooses tiles and writes the round's files.

    Returns the state after the training, None without.
    """
    folder = round_dir(settings.run_dir, number)
    parse_bands(settings.bands, labelling.archive)  # before the training
    trained_on = on_features(settings, labelling)
    covers = settings.features is not None and settings.first == "coverage"
    features = np.asarray(trained_on.archive.images) if covers else None
    keep_metres(settings.run_dir, settings.test_blocks)
    if not last:
        blocks, apart = settings.test_blocks, settings.min_distance
        initial = choose_initial(
            labelling, settings.seed, number, settings.initial, settings.test, features, blocks, apart
        )
        if initial is not None:
            ask(settings, labelling, initial, classes, number, disputed)
            return None
    warn_of_unmeasured(labelling)
    trained_on = replace(trained_on, archive=keep_tiles(trained_on.archive, settings.tiles_in, settings.cache_dir))
    warn_of_near_copies(trained_on.archive, *learnt_and_held(labelling))
    if settings.features is not None:
        settings = replace(settings, image_size=FEATURES)
    if isinstance(settings.threshold, str) and np.array_equal(labelling.split.validation, labelling.split.test):
        raise InputError(
            f"--threshold {settings.threshold}: no tile is for validation: write validation into the column "
            f"{SPLIT_COLUMN} of some rows of a form or of --labels, or give a number"
        )
    with StopRequest() as stop:
        state = run_round(settings, trained_on, choose_network(settings, len(classes)), number, stop, last)
    # Rounds may have had different query functions.
    title, constant = f"{labelling.archive.name}, annotation in rounds", from_config(read_config(folder))
    write_report(settings.run_dir, curves_of(state.history), title, constant)
    if not last:
        above = None if settings.threshold is None else find_threshold(settings.threshold, state.thresholds, folder)
        round_files.write_predictions(folder, labelling, state, above)
        ask(settings, labelling, chosen_tiles(labelling, state, folder), classes, number, disputed)
    return state


def ask(
    settings: AnnotationSettings,
    labelling: Labelling,
    assignment: Assignment,
    classes: tuple[str, ...],
    number: int,
    disputed: Mapping[str, int],
) -> None:
    """Writes the files of a round; the tiles are dealt where there are several annotators."""
    names, common = parse_names(settings.annotators), 0
    if settings.disputed_first:
        assignment, common = put_first(labelling, assignment, disputed)
    dealt = deal(settings.seed, number, assignment.parts, names, settings.overlap, common) if names else {}
    folder, bands = round_dir(settings.run_dir, number), parse_bands(settings.bands, labelling.archive)
    round_files.write_round(folder, labelling, assignment, classes, bands, dealt, settings.sheets)


def score_round(settings: AnnotationSettings, labelling: Labelling, state: RunState, number: int) -> Metrics:
    """The scores of a round on its test tiles, at the threshold that was asked for."""
    folder, record = round_dir(settings.run_dir, number), state.history[-1]
    if settings.threshold is None:
        return Metrics(record.micro_f1, record.macro_f1, record.mean_average_precision, record.class_f1)
    found = read_probabilities(folder, record.trial, record.iteration).test
    threshold = find_threshold(settings.threshold, state.thresholds, folder)
    return evaluate(found, labelling.archive.labels[labelling.split.test], threshold)


def newest_model(run_dir: Path) -> Path | None:
    """The folder of the newest round that trained a network; None if there is none."""
    trained = [path.parent for path in run_dir.glob("round-*/history.jsonl")]
    return max(trained, key=lambda folder: int(folder.name.removeprefix("round-")), default=None)
