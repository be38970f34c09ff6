"""The common part of the scripts of the paper's figures: their settings, and the runs that a figure needs.

A series of a figure has one run per trial, made by `experiments.ucmerced` or `experiments.treesatai`. All runs are in
one folder, under names that are equal only for equal settings: a run that two figures show is made once.
"""

import itertools
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from aljax.commands.options import read_options
from aljax.data.archives.treesatai import GENERATED
from aljax.data.augmentation import Normalisation
from aljax.errors import InputError
from aljax.loop.settings import Settings, check_settings
from aljax.queries.table import series_name
from aljax.runs.run_dir import FinishedRun, read_finished
from aljax.system.files import make_folder
from aljax.system.side_by_side import Job, find_places, run_jobs
from aljax.training.recipe import Recipe
from experiments.figure_report import Figure, write_figure
from experiments.run_names import PlannedRun, flatten
from experiments.scales import PAPER, ArchiveName, Scale, scaled_settings, short

SIZES = {"image_size": "px", "epochs": "epochs", "steps": "steps", "max_labels": "labels"}
# Settings that the paper does not give, or that this project doubts.
LEFT_OPEN = ("momentum", "weight_decay", "ranking_weight", "head_rate", "normalisation", "init_weights")
# The four curves of figures 4 and 5.
QUERIES = {series_name(query, True): {"query": query} for query in ("random", "ll", "tpd", "mge")}


@dataclass(frozen=True)
class FigureSettings:
    """Settings of a figure."""

    run_dir: Path = Path("runs/paper")  # folder for the pictures, and for the runs that all figures share
    scale: Scale = "paper"  # the paper's settings, or a size for two CPU cores: small tiles, few steps, few labels
    image_size: int | None = None  # pixels to which tiles are resized; None: those of the scale
    epochs: int | None = None  # of each training; None: those of the scale
    steps: int | None = None  # of each training, in place of epochs; None: those of the scale
    max_labels: int | None = None  # labelled tiles at which a trial ends; None: those of the scale
    trials: int = 3  # repetitions with another initial labelled set (paper: 3)
    seed: int = 0  # of every random draw
    precision: Literal["float32", "bfloat16"] = "float32"  # of the convolutions
    momentum: float = Recipe.momentum  # of SGD (not in the paper)
    weight_decay: float = Recipe.weight_decay  # on the kernels of F (not in the paper)
    ranking_weight: float = Recipe.ranking_weight  # lambda of eq. 3 (not in the paper)
    head_rate: float = Recipe.head_rate  # learning rate of F_L as a multiple of F's (paper: 1)
    normalisation: Normalisation = Settings.normalisation  # by mean and deviation of each band, or from 0 to 1
    init_weights: Path | None = None  # file of aljax convert-weights with weights to start from; None: random ones
    jobs: int = 0  # runs side by side; 0: one per accelerator or, without one, per CPU core
    print_commands: bool = False  # print the commands of the runs that are missing, for a cluster, and stop

    @property
    def changed_sizes(self) -> dict[str, int]:
        """The sizes that were set to replace those of the scale."""
        return {name: value for name in SIZES if (value := getattr(self, name)) is not None}

    def data_dir(self, archive: ArchiveName) -> Path:
        """The folder of an archive, an option of the figure."""
        return Path(getattr(self, f"{short(archive)}_dir"))


@dataclass(frozen=True)
class OnUCMerced(FigureSettings):
    """Settings of a figure on UC Merced."""

    ucmerced_dir: Path = Path("data/ucmerced")  # folder with UCMerced_LandUse and LandUse_Multilabeled.txt, or zips


@dataclass(frozen=True)
class OnTreeSatAI(FigureSettings):
    """Settings of a figure on TreeSatAI."""

    treesatai_dir: Path = Path("data/treesatai")  # folder with the files as downloaded, or as aljax prepare made them


@dataclass(frozen=True)
class OnBoth(OnTreeSatAI, OnUCMerced):
    """Settings of a figure on both archives."""


def make_figure(figure: Figure, kind: type[FigureSettings], description: str | None) -> None:
    """The command of a figure: makes the runs that are missing, then the picture and the summary."""
    settings = read_options(kind, f"python -m experiments.{figure.name}", description)
    trials = range(1, settings.trials + 1)
    planned = {
        (archive, name): [plan(settings, archive, {**changes, "trials": 1, "first_trial": trial}) for trial in trials]
        for archive in figure.archives
        for name, changes in figure.series.items()
    }
    finished = finish_runs(itertools.chain.from_iterable(planned.values()), settings)
    if finished is None:
        return
    by_series = {series: [finished[run.run_dir] for run in runs] for series, runs in planned.items()}
    folder = folder_of(settings.run_dir, figure.name, settings.scale, **settings.changed_sizes)
    write_figure(folder, figure, describe(figure, settings), by_series)


def plan(settings: FigureSettings, archive: ArchiveName, changes: Mapping[str, Any]) -> PlannedRun:
    """A run on an archive, with changes to the common settings, in the folder of all runs."""
    return PlannedRun(f"experiments.{short(archive)}", change(common_settings(settings, archive), changes))


def common_settings(settings: FigureSettings, archive: ArchiveName) -> Settings:
    """The common settings of all runs on an archive; `run_dir` is the folder of all runs.

    Raises InputError if both epochs and steps are given.
    """
    if settings.epochs is not None and settings.steps is not None:
        raise InputError("--epochs and --steps both say how long a training is: give one of them")
    common: dict[str, Any] = {
        "run_dir": settings.run_dir / "runs",
        "data_dir": settings.data_dir(archive),
        "seed": settings.seed,
        "precision": settings.precision,
    }
    if archive == "TreeSatAI" and settings.scale == "paper":
        common["tiles_in"] = "cache"  # 12 GB, which runs side by side share
    left_open = {name: getattr(settings, name) for name in LEFT_OPEN}
    steps = {} if settings.epochs is None else {"steps": 0}
    return change(scaled_settings(archive, settings.scale), {**common, **steps, **settings.changed_sizes, **left_open})


def change(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The settings with some fields, or fields of the recipe, replaced."""
    of_recipe = {name: value for name, value in changes.items() if hasattr(settings.recipe, name)}
    others = {name: value for name, value in changes.items() if name not in of_recipe}
    return replace(settings, recipe=replace(settings.recipe, **of_recipe), **others)


def folder_of(run_dir: Path, name: str, scale: Scale, **changed_sizes: int) -> Path:
    """The folder of a figure or table; changed sizes are in its name, as in `fig4-64px-200labels`."""
    words = (["small"] if scale == "small" else []) + [f"{value}{SIZES[size]}" for size, value in changed_sizes.items()]
    return run_dir / "-".join((name, *words))


def finish_runs(planned: Iterable[PlannedRun], settings: FigureSettings) -> dict[Path, FinishedRun] | None:
    """The runs by their folders, after making those that are missing.

    None if `print_commands` had their commands printed instead. Raises InputError if a setting can never work, a run
    fails, or runs on an archive were not made from the same data.
    """
    if settings.trials < 1 or settings.jobs < 0:
        raise InputError("--trials is at least 1, --jobs at least 0: change them")
    folders = {run.run_dir: run for run in planned}
    for run in folders.values():
        check_settings(run.settings)  # before any of them begins
    known = {folder: read_finished(folder) for folder in folders}
    missing = [run for folder, run in folders.items() if known[folder] is None]
    if settings.print_commands:
        for run in missing:
            print(shlex.join(run.command()))
        return None
    if missing:
        make_runs(missing, settings.jobs)
    finished: dict[Path, FinishedRun] = {}
    first: dict[str, FinishedRun] = {}
    for folder, found in known.items():
        if (one := found or read_finished(folder)) is None:
            raise InputError(f"{folder} ended before its last iteration: repeat the command")
        other = first.setdefault(one.config["archive"], one)
        if one.config["fingerprint"] != other.config["fingerprint"]:
            raise InputError(
                f"{folder} and {other.run_dir} were made from different data: move one of them away and repeat the "
                "command with the data of the other"
            )
        finished[folder] = one
    return finished


def describe(figure: Figure, settings: FigureSettings) -> str:
    """The figure's title, the scale, and the changed settings among those that the paper leaves open."""
    sizes = {archive: describe_sizes(common_settings(settings, archive)) for archive in figure.archives}
    kind = "small scale, not the paper's"
    if settings.scale == "paper":
        as_paper = all(words == describe_sizes(PAPER[archive]) for archive, words in sizes.items())
        kind = "the paper's scale" if as_paper else "not the paper's scale"
    words = []
    for archive, text in sizes.items():
        # A picture must not present generated tiles as the real ones; the small scale is made for generated ones.
        if (settings.data_dir(archive) / GENERATED).exists():
            text = f"generated tiles in this format, {text}"
        elif (archive, settings.scale) == ("TreeSatAI", "small"):
            text = f"an archive in this format, {text}"
        words.append(text if len(sizes) == 1 else f"{archive}: {text}")
    changed = describe_changed(common_settings(settings, figure.archives[0]))
    return "\n".join([figure.title, f"{kind}: {'; '.join(words)}", *filter(None, [changed])])


def describe_sizes(settings: Settings) -> str:
    """The sizes, for titles: "64 px, 20 epochs, up to 120 labels"."""
    count, unit = (steps, "step") if (steps := settings.recipe.steps) else (settings.recipe.epochs, "epoch")
    return f"{settings.image_size} px, {count} {unit}{'s' if count > 1 else ''}, up to {settings.max_labels} labels"


def describe_changed(settings: Settings) -> str:
    """The settings in `LEFT_OPEN` that are no defaults, for titles: "momentum 0, ranking weight 0.1"."""
    default, now = flatten(Settings()), flatten(settings)
    changed = {name: now[name] for name in LEFT_OPEN if now[name] != default[name]}
    words = {name: f"{value:g}" if isinstance(value, float) else Path(value).name for name, value in changed.items()}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in words.items())


def make_runs(missing: Sequence[PlannedRun], jobs: int) -> None:
    """Makes the runs, several at a time, and shows their progress."""
    places = find_places(jobs)
    folder = missing[0].run_dir.parent
    make_folder(folder)
    words = f"{len(missing)} runs to make, {min(len(places), len(missing))} at a time"
    print(f"{words}; what they say is in {folder}/*.log", file=sys.stderr, flush=True)
    total = sum(_iterations(run.settings) for run in missing)
    started, reported = time.monotonic(), 0
    with tqdm(total=total, unit=" iterations", disable=None, leave=False) as bar:  # None: unless it is a terminal

        def on_poll(ended: int) -> None:
            nonlocal reported
            bar.n = sum(_lines(run.run_dir / "history.jsonl") for run in missing)
            bar.refresh()
            if ended > reported and bar.disable:
                passed = (time.monotonic() - started) / 60
                print(f"{ended} of {len(missing)} runs ended after {passed:.1f} minutes", file=sys.stderr, flush=True)
            reported = ended

        run_jobs([Job(run.command(), run.run_dir.with_suffix(".log")) for run in missing], places, on_poll)


def _iterations(settings: Settings) -> int:
    return settings.trials * (1 + -(-(settings.max_labels - settings.initial) // settings.budget))


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
