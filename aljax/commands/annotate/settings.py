"""The settings of rounds of annotation, the labels and classes that they begin with, and checks of both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from aljax.annotation import round_files
from aljax.annotation.agreement import Disagreement
from aljax.annotation.annotators import parse_names
from aljax.commands.on_features import FeatureSettings
from aljax.data.label_rows import LIST_COLUMN, NO_CLASSES, REASON_COLUMNS, class_names_in
from aljax.data.labels import CsvLabels, classes_of, read_csv, read_table
from aljax.errors import InputError
from aljax.loop.settings import LARGEST, QueryName
from aljax.loop.thresholds import Asked
from aljax.runs.experiment import check_report_place
from aljax.runs.run_dir import check_name

ANY = LARGEST
AUTO = "auto"
RESERVED = frozenset({"id", LIST_COLUMN, *NO_CLASSES})  # column names that no class in a form can have


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


def check_people(settings: AnnotationSettings) -> None:
    """Raises InputError for settings of several annotators that cannot be met."""
    names = parse_names(settings.annotators)
    if not 0.0 <= settings.overlap <= 1.0:
        raise InputError(f"--overlap is {settings.overlap}: it is a share of the tiles, from 0 to 1")
    if settings.disputed_first and not names:
        raise InputError("--disputed-first brings tiles back to several people: name them with --annotators")
