"""Annotation of your own archive: chooses the tiles to label next, round by round.

    aljax annotate --images DIR --classes trees,water,pavement --run-dir runs/mine
    aljax annotate --images DIR --features FILE --classes trees,water,pavement --run-dir runs/mine

The first call chooses random tiles, some for training and some for the test. Every round is a folder: open its
label.html in a browser, label its tiles with a few keys, and replace the empty to_label.csv by the one that the page
saves. (Or write 0 or 1 into its cells in a spreadsheet; --sheets draws its tiles on contact sheets. `aljax exchange`
gives them to Label Studio, CVAT or QGIS.) Then repeat the same command. It trains on all labels so far, measures F1 on
the test tiles, and chooses the next tiles by the query function. It does so again after each round, and goes on with
one that was stopped. With --finish, or when no tile is left, it trains on all labels and chooses no tiles.

A class that nobody is sure of is left open, by ? on the page or an empty cell in the row, and the tile's other classes
count. A tile that cannot be labelled gets the word skip in the column split of its row and never comes back; tiles that
cannot be read are listed in unreadable.csv and left out until they are repaired.

All labels so far are in labels.csv, and predictions of all other tiles in each round's predictions.csv (not with
--query random, which needs none; 0 and 1 with --threshold). Where tiles have a georeference, round.html is a map of
all of them, and to_label.geojson one of the round's for a GIS.

With --features, from a network that was trained elsewhere (`aljax embed` writes such a file), a head is fitted in a
second, the first tiles cover the features, and boundary is the query. Without, DenseNet121 is trained on the pixels.

Labels that you already have are given with --labels in place of --classes (CSV with id,CLASS,CLASS,... or id,labels; a
column split may say test or validation).

A later round may add classes, by --classes with one more name or by a column more in --labels. On older tiles they are
unknown, until their forms have such columns as well: without those of test tiles a class cannot be measured. In
curve.png the rounds from there on are a curve of their own.

With --annotators ana,ben each has a page and a form of their own in the round's folder, label-ana.html and
to_label-ana.csv. The tiles are dealt evenly, but for the share --overlap, which goes to all. The next round is made
when all have answered, or without the rest with --go-on; what comes later, or is corrected, joins then. labels.csv is
what the answers come to: where people differ, what --disagreement says. agreement.csv has Krippendorff's alpha of each
class and who differs from whom. With --disputed-first the tiles on which they differ come back once, to all, before new
ones.

Neighbours in a mosaic look alike, and scores on test tiles beside tiles to learn from are too good: --test-blocks
METRES draws the test tiles in blocks (a random tile and those around it) and never trains on a tile nearer to them, in
later rounds too. --min-distance METRES keeps the tiles of a batch apart. Both are distances on the ground between the
nearest points of two tiles, right at any latitude and over the borders of zones; neighbours are 0 m apart. A tile that
shares more than half of the ground of a test tile, of another year maybe, is not trained on either.

The last columns of to_label.csv say why a tile was chosen, and nothing is read from them: its score by the query, with
the rank among all tiles without labels; its cluster and the number of candidates in it; the nearest labelled tile and
the distance to it, of the embeddings that are clustered; the classes most in doubt with their probabilities; and the
group of tiles in this form that are alike. What a query does not have is blank, as all is for tiles drawn by chance.

After the training a line says what the last round has gained in percentage points, and the last three, with a 95 %
interval: how far other test tiles would agree. Another says what the tiles of the new form would likely bring: how far
the curve through the last rounds would rise, with an interval for the test tiles, the chance of each training and the
form of the curve. It is called unclear where it may be nothing as well as more than a point. Rounds on other tiles, or
with other test tiles, are not compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import jax
import numpy as np
import tyro

from aljax.annotation import round_files
from aljax.annotation.agreement import Disagreement
from aljax.annotation.annotators import check_round, deal, form_name, parse_names, tiles_left
from aljax.annotation.answers import Together, put_first, read_together
from aljax.annotation.labelling import (
    Assignment,
    Labelling,
    choose_initial,
    chosen_tiles,
    learnt_and_held,
    round_dir,
    split_labelled,
    warn_of_unmeasured,
)
from aljax.annotation.outlook import curves_of, describe_gains
from aljax.annotation.rounds import run_round
from aljax.annotation.test_blocks import find_metres, keep_metres
from aljax.annotation.unreadable import leave_out_unreadable
from aljax.arrays import UNKNOWN
from aljax.commands.on_features import FeatureSettings, choose_network
from aljax.commands.process import parse_settings, prepare_process
from aljax.data.apart import check_metres, require_places
from aljax.data.archive import Archive
from aljax.data.archives.copies import warn_of_copies
from aljax.data.archives.folder import open_folder
from aljax.data.archives.near_copies import warn_of_near_copies
from aljax.data.features.geometry import with_footprints
from aljax.data.features.reader import open_features
from aljax.data.label_rows import LIST_COLUMN, NO_CLASSES, REASON_COLUMNS, SPLIT_COLUMN, class_names_in
from aljax.data.labels import CsvLabels, classes_of, count_tiles, read_csv, read_table
from aljax.data.storage import keep_tiles
from aljax.errors import InputError
from aljax.loop.constant import from_config
from aljax.loop.metrics import Metrics, evaluate
from aljax.loop.settings import FEATURES, LARGEST, QueryName
from aljax.loop.state import RunState
from aljax.loop.thresholds import Asked, check_threshold, find_threshold
from aljax.reports.contact_sheet import parse_bands
from aljax.runs.config import read_config
from aljax.runs.experiment import check_report_place, write_report
from aljax.runs.probabilities import read_probabilities
from aljax.runs.run_dir import check_name
from aljax.system.stopping import StopRequest

ANY = LARGEST
AUTO = "auto"
INDEX = "tiles-index.npz"  # in the run's folder; without it headers are read again


@dataclass(frozen=True, kw_only=True)
class AnnotationSettings(FeatureSettings):
    """Settings of annotation by a person; training settings may change from round to round."""

    images: Path  # folder of the tiles: GeoTIFF, PNG or JPEG, nested or not
    query: QueryName = AUTO  # query function; auto: boundary with --features, else mge
    first: Literal["random", "coverage"] = "coverage"  # with --features: whether the first tiles cover them
    classes: str = ""  # names of the classes, separated by commas; not with --labels
    labels: Path | None = None  # CSV file with the labels that you already have
    label_separator: str = ";"  # between the class names of a cell, in a CSV with the columns id,labels
    finish: bool = False  # train on all labels so far, and choose no more tiles
    test: int = 100  # random test tiles, unless some of --labels are for the test
    test_blocks: float = 0.0  # metres: draw test tiles in blocks, and train on no tile nearer to them
    threshold: Asked | None = None  # of printed scores, and of 0 and 1 in predictions.csv; None: 0.5, probabilities
    bands: str = ""  # bands shown as red, green and blue, counted from 1, such as 4,1,2, or one band for grey
    annotators: str = ""  # names of several people who label, between commas, such as ana,ben; a page for each
    overlap: float = 0.2  # with --annotators: share of the tiles that go to all of them, also of the test tiles
    disagreement: Disagreement = "unknown"  # what a cell becomes on which people differ; dawid-skene needs crowd-kit
    disputed_first: bool = False  # tiles on which people differ come back in the next round, before new ones
    go_on: bool = False  # make the next round although some people have not answered for all of their tiles
    sheets: bool = False  # also draw the tiles on contact sheets, pictures to print or to look through
    run_dir: Path = Path("runs/annotation")  # folder of the rounds
    trials: tyro.conf.Fixed[int] = 1
    first_trial: tyro.conf.Fixed[int] = 1
    max_labels: tyro.conf.Fixed[int] = ANY
    patience: tyro.conf.Fixed[int] = 0
    min_gain: tyro.conf.Fixed[float] = 0.0

    def __post_init__(self) -> None:
        if self.query == AUTO:
            object.__setattr__(self, "query", "mge" if self.features is None else "boundary")


RESERVED = frozenset({"id", LIST_COLUMN, *NO_CLASSES})  # column names that no class in a form can have


def read_start(settings: AnnotationSettings) -> tuple[dict[Path, CsvLabels], tuple[str, ...]]:
    """The labels from before the first round, by their file, and the classes. Raises InputError."""
    given = settings.run_dir / round_files.GIVEN
    if settings.labels is not None and settings.classes:
        raise InputError("give either --labels, a CSV file, or --classes, names between commas, not both")
    if settings.labels is not None:
        labels = read_csv(settings.labels, settings.label_separator)
        if reserved := sorted(RESERVED.intersection(labels.class_names)):
            raise InputError(f"{settings.labels} has a class {reserved[0]}, as columns of a form are called: rename it")
        return {settings.labels: labels}, labels.class_names
    if given.exists():
        labels, newest = read_table(given), round_files.newest_form(settings.run_dir)
        if settings.classes:
            return {given: labels}, parse_classes(settings)
        return {given: labels}, labels.class_names if newest is None else classes_of(newest)
    if not settings.classes:
        raise InputError("give either --labels, a CSV file, or --classes, names between commas")
    return {}, parse_classes(settings)


def parse_classes(settings: AnnotationSettings) -> tuple[str, ...]:
    """The names in --classes. Raises InputError."""
    classes = tuple(class_names_in(settings.classes.split(",")))
    if reasons := [name for name in classes if name in REASON_COLUMNS]:
        raise InputError(f"--classes has a class {reasons[0]!r}, as columns of a form are called: rename it")
    if "" in classes or len(set(classes)) < len(classes) or RESERVED.intersection(classes):
        raise InputError(f"--classes is {settings.classes!r}: give different names, none of them id, split or labels")
    if any(character in settings.classes for character in ';"\t\r\n'):
        raise InputError(f"--classes is {settings.classes!r}: give names between commas, without semicolons or quotes")
    return classes


def check_places(settings: AnnotationSettings) -> None:
    """Raises InputError if the rounds would overwrite other files, or write into the folder of the tiles."""
    run_dir, file = settings.run_dir.resolve(), settings.run_dir / round_files.LABELS
    if settings.labels is not None and settings.labels.resolve() == file.resolve():
        raise InputError(f"--labels {settings.labels} is what the rounds write themselves: move it out of --run-dir")
    if run_dir.is_relative_to(settings.images.resolve()):
        raise InputError(f"--run-dir {settings.run_dir} is in --images: its pictures would be tiles; choose another")
    check_report_place(settings.run_dir, ("round-*",))
    check_name(settings.run_dir)  # before anybody labels


def open_labelling(
    settings: AnnotationSettings, start: Mapping[Path, CsvLabels], classes: tuple[str, ...]
) -> tuple[Labelling, tuple[str, ...], Together]:
    """The archive with all labels so far, which it saves to labels.csv, its classes, and what people say of each tile.

    Raises InputError.
    """
    together = read_together(settings.run_dir, start, classes, settings.disagreement)
    labels = together.labels
    if labels is None:
        return split_labelled(open_tiles(settings, None), settings.test_blocks), classes, together
    archive = open_tiles(settings, together.for_archive)
    round_files.save_labels(settings.run_dir, labels, together.agreement)
    if settings.labels is not None:
        round_files.save_start(settings.run_dir, start)
    return split_labelled(archive, settings.test_blocks), labels.class_names, together


def open_tiles(settings: AnnotationSettings, labels: CsvLabels | None) -> Archive:
    """The readable tiles with their labels. Raises InputError."""
    archive = open_folder(
        settings.images, labels, settings.image_size, lenient=True, index_file=settings.run_dir / INDEX
    )
    archive = leave_out_unreadable(settings.run_dir, settings.images, archive)
    flags = {"test_blocks": settings.test_blocks, "min_distance": settings.min_distance}
    archive = with_footprints(archive, settings.features, any(flags.values()))
    require_places(archive, **flags)
    warn_of_copies(archive.copy_of, archive.ids, archive.split)
    return archive


def check_form_classes(classes: tuple[str, ...], form: Path) -> None:
    """Raises InputError if the classes are not those of a form that waits for labels."""
    round_files.check_classes(classes, waiting := classes_of(form))
    if added := [name for name in classes if name not in waiting]:
        raise InputError(
            f"{form} waits for labels and has no class {added[0]}: fill it in first, and add the class to the round "
            "after it"
        )


def on_features(settings: AnnotationSettings, labelling: Labelling) -> Labelling:
    """With --features, the same labelling with features in place of pixels. Raises InputError for missing features."""
    if settings.features is None:
        return labelling
    pictures, features = labelling.archive, open_features(settings.features, None)
    places = {tile: row for row, tile in enumerate(features.ids)}
    if missing := [tile for tile in pictures.ids if tile not in places]:
        raise InputError(
            f"{len(missing)} of {len(pictures.ids)} tiles have no features in {settings.features}, as {missing[0]}: "
            "make them with `aljax embed`, or move these tiles away"
        )
    rows = np.array([places[tile] for tile in pictures.ids])
    same = np.array_equal(rows, np.arange(len(features.ids)))
    images = features.images if same else np.asarray(features.images)[rows]
    return replace(labelling, archive=replace(pictures, images=images, digest=features.digest))


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


def check_people(settings: AnnotationSettings) -> None:
    """Raises InputError for settings of several annotators that cannot be met."""
    names = parse_names(settings.annotators)
    if not 0.0 <= settings.overlap <= 1.0:
        raise InputError(f"--overlap is {settings.overlap}: it is a share of the tiles, from 0 to 1")
    if settings.disputed_first and not names:
        raise InputError("--disputed-first brings tiles back to several people: name them with --annotators")


def print_left(folder: Path, left: Mapping[str, tuple[int, int]]) -> None:
    """Prints who has how many tiles left in a round of several."""
    people = ", ".join(f"{name} {count} of {total}" for name, (count, total) in left.items())
    print(
        f"tiles left to label in {folder}: {people}. Each opens label-NAME.html in a browser and saves "
        "to_label-NAME.csv; put it there, then repeat the command (--go-on: without what is not answered)"
    )


def print_request(form: Path) -> None:
    """Prints how to label the tiles of a form."""
    page, sheets = form.parent / round_files.PAGE, form.parent / "sheet-*.png"
    look = f"look at {sheets} and " if any(form.parent.glob(sheets.name)) else ""
    print(
        f"{count_tiles(form)} tiles to label: open {page} in a browser and save what it makes as {form}, or {look}"
        "write 0 or 1 into its cells in a spreadsheet; then repeat the command"
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
    told: tuple[str, ...] = ()
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
    return Round(form, state, labelling, scores, left, together.told)


def score_round(settings: AnnotationSettings, labelling: Labelling, state: RunState, number: int) -> Metrics:
    """The scores of a round on its test tiles, at the threshold that was asked for."""
    folder, record = round_dir(settings.run_dir, number), state.history[-1]
    if settings.threshold is None:
        return Metrics(record.micro_f1, record.macro_f1, record.mean_average_precision, record.class_f1)
    found = read_probabilities(folder, record.trial, record.iteration).test
    threshold = find_threshold(settings.threshold, state.thresholds, folder)
    return evaluate(found, labelling.archive.labels[labelling.split.test], threshold)


def count_known(labelling: Labelling) -> int:
    """Number of test tiles of which something is known."""
    return int((labelling.archive.labels[labelling.split.test] != UNKNOWN).any(1).sum())


def newest_model(run_dir: Path) -> Path | None:
    """The folder of the newest round that trained a network; None if there is none."""
    trained = [path.parent for path in run_dir.glob("round-*/history.jsonl")]
    return max(trained, key=lambda folder: int(folder.name.removeprefix("round-")), default=None)


def main() -> None:
    """Parses the command line, makes the next round and prints what to label."""
    settings = parse_settings(AnnotationSettings, "aljax annotate", __doc__)
    if settings.test < 1:
        raise InputError(f"--test is {settings.test}: it must be at least 1, or there is nothing to measure with")
    check_threshold(settings.threshold)
    prepare_process()
    if jax.process_count() > 1:
        raise InputError("annotation is made by one process, which uses all devices of its machine: start one")
    made = next_round(settings)
    print(*(f"{line}\n" for line in made.told), sep="", end="")
    if made.state is not None:
        assert made.scores is not None
        assert made.labelling is not None
        at = "" if settings.threshold is None else f", threshold {settings.threshold}"
        print(
            f"round {round_files.count_rounds(settings.run_dir) + (made.form is None)}: trained on "
            f"{made.state.history[-1].num_labeled} tiles; micro F1 {made.scores.micro_f1:.1%}, macro F1 "
            f"{made.scores.macro_f1:.1%} on {count_known(made.labelling)} test tiles{at} "
            f"({settings.run_dir / 'curve.png'})"
        )
        more = min(settings.budget, len(made.state.history[-1].selected))
        args = settings.run_dir, made.labelling, made.state.history, settings.seed, settings.threshold, more
        print(*(f"{line}\n" for line in describe_gains(*args)), sep="", end="")
    if made.form is not None:
        print_left(made.form.parent, made.left) if made.left else print_request(made.form)
        return
    model, labels = newest_model(settings.run_dir), settings.run_dir / round_files.LABELS
    if made.state is None:
        print(f"nothing was labelled since: {model} has the network that has learnt all labels")
    else:
        print(f"all labels: {labels}; the network, for `aljax predict --run-dir`: {model}")
