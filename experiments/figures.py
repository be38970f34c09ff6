"""What the scripts of the paper's figures share: their settings, and the runs that a figure needs.

A figure is panels of series, and what the paper says about them. A series is as many runs as it has trials, each made
by `experiments.ucmerced` or `experiments.treesatai` and kept in one folder under a name that only the same settings
give: a run that two figures show is made once.
"""

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from tqdm import tqdm

from aljax.data.augmentation import Normalisation
from aljax.errors import InputError
from aljax.loop.settings import Settings, check_settings
from aljax.reports.curves import Panel
from aljax.runs.run_dir import FinishedRun, read_finished
from aljax.system.files import make_folder
from aljax.system.side_by_side import Job, find_places, run_jobs
from aljax.training.recipe import Recipe
from experiments.figure_report import Finished, write_figure
from experiments.quotes import Lead, Score
from experiments.run_names import PlannedRun
from experiments.scales import PAPER, SCRIPTS, ArchiveName, Scale, describe_sizes, scaled_settings

SIZES = {"image_size": "px", "epochs": "epochs", "max_labels": "labels"}
LEFT_OPEN = ("momentum", "weight_decay", "ranking_weight", "head_rate", "normalisation", "init_weights")


@dataclass(frozen=True)
class FigureSettings:
    """Settings of a figure."""

    run_dir: Path = Path("runs/paper")  # folder for the pictures, and for the runs that all figures share
    scale: Scale = "paper"  # the paper's settings, or a size for two CPU cores: small tiles, few epochs, few labels
    image_size: int | None = None  # pixels to which tiles are resized; None: those of the scale
    epochs: int | None = None  # of each training; None: those of the scale
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
    def left_open(self) -> dict[str, Any]:
        """The settings of the training that the paper does not give, or that this project doubts."""
        return {name: getattr(self, name) for name in LEFT_OPEN}

    @property
    def changed_sizes(self) -> dict[str, int]:
        """The sizes that are not to be those of the scale."""
        return {name: value for name in SIZES if (value := getattr(self, name)) is not None}

    def data_dir(self, archive: ArchiveName) -> Path:
        """The folder of an archive, which the figure's own settings name."""
        folder = getattr(self, {"UC Merced": "ucmerced_dir", "TreeSatAI": "treesatai_dir"}[archive])
        assert isinstance(folder, Path)
        return folder


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


class Series(NamedTuple):
    """A curve: its name in the legend, and what sets it apart from the archive's other curves."""

    name: str
    changes: Mapping[str, Any]


class Axes(NamedTuple):
    """A panel of a figure."""

    title: str
    archive: ArchiveName
    metric: str
    series: tuple[Series, ...]


class Figure(NamedTuple):
    """A figure of the paper."""

    name: str
    title: str
    panels: tuple[Axes, ...]
    quotes: tuple[Score | Lead, ...]
    baseline: str
    """The series that the others are compared with."""


# The four curves of figures 4 and 5.
QUERIES = (
    Series("Random", {"query": "random"}),
    Series("LL+Clustering", {"query": "ll"}),
    Series("TPD+Clustering", {"query": "tpd"}),
    Series("MGE+Clustering", {"query": "mge"}),
)


def plan(settings: FigureSettings, archive: ArchiveName, series: Series) -> list[PlannedRun]:
    """The runs of a series, one per trial."""
    base = change(common_settings(settings, archive), {"trials": 1, **series.changes})
    return [PlannedRun(SCRIPTS[archive], replace(base, first_trial=trial)) for trial in range(1, settings.trials + 1)]


def common_settings(settings: FigureSettings, archive: ArchiveName) -> Settings:
    """What all runs on an archive have in common, in the folder of all runs."""
    common: dict[str, Any] = {
        "run_dir": settings.run_dir / "runs",
        "data_dir": settings.data_dir(archive),
        "seed": settings.seed,
        "precision": settings.precision,
    }
    if archive == "TreeSatAI" and settings.scale == "paper":
        common["tiles_in"] = "cache"  # 12 GB, which runs side by side share
    return change(scaled_settings(archive, settings.scale), {**common, **settings.changed_sizes, **settings.left_open})


def change(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Settings with some changed, whether they are of the recipe or not."""
    of_recipe = {name: value for name, value in changes.items() if hasattr(settings.recipe, name)}
    others = {name: value for name, value in changes.items() if name not in of_recipe}
    return replace(settings, recipe=replace(settings.recipe, **of_recipe), **others)


def make_figure(figure: Figure, settings: FigureSettings) -> None:
    """Makes the runs that are missing, then the picture and the summary."""
    planned = {
        (panel.archive, series.name): plan(settings, panel.archive, series)
        for panel in figure.panels
        for series in panel.series
    }
    finished_runs = finish_runs([run for runs in planned.values() for run in runs], settings)
    if finished_runs is None:
        return
    finished: Finished = {key: [finished_runs[run.run_dir] for run in runs] for key, runs in planned.items()}
    histories = {key: [record for run in runs for record in run.history] for key, runs in finished.items()}
    panels = []
    for axes in figure.panels:
        shown = {series.name: histories[axes.archive, series.name] for series in axes.series}
        panels.append((axes.archive, Panel(axes.title, shown, axes.metric)))
    folder = folder_of(settings.run_dir, figure.name, settings.scale, settings.changed_sizes)
    write_figure(folder, describe(figure, settings), panels, figure.quotes, figure.baseline, finished)


def folder_of(run_dir: Path, name: str, scale: Scale, changed_sizes: Mapping[str, int] = MappingProxyType({})) -> Path:
    """Where a figure or table goes: sizes that differ have folders of their own, as `fig4-64px-200labels`."""
    words = (["small"] if scale == "small" else []) + [f"{value}{SIZES[size]}" for size, value in changed_sizes.items()]
    return run_dir / "-".join((name, *words))


def finish_runs(planned: Sequence[PlannedRun], settings: FigureSettings) -> dict[Path, FinishedRun] | None:
    """The runs by their folders, after making those that are missing.

    None if their commands were to be printed instead. Raises InputError if a setting can never work or a run fails.
    """
    if settings.trials < 1 or settings.jobs < 0:
        raise InputError("--trials is at least 1, --jobs at least 0: change them")
    for run in planned:
        check_settings(run.settings)  # before any of them begins
    known = {run.run_dir: read_finished(run.run_dir) for run in planned}
    missing = [run for run in planned if known[run.run_dir] is None]
    if settings.print_commands:
        for run in missing:
            print(shlex.join(run.command()))
        return None
    make_runs(missing, settings.jobs)
    return {run.run_dir: known[run.run_dir] or _finished(run) for run in planned}


def describe(figure: Figure, settings: FigureSettings) -> str:
    """The figure's title, with the scale, and what is not the default of the settings that the paper leaves open."""
    archives = list(dict.fromkeys(axes.archive for axes in figure.panels))
    chosen = {name: common_settings(settings, name) for name in archives}
    sizes = {name: describe_sizes(name, settings.scale, one, settings.data_dir(name)) for name, one in chosen.items()}
    if settings.scale == "small":
        kind = "small scale, not the paper's"
    else:
        as_paper = all(_sizes(one) == _sizes(PAPER[name]) for name, one in chosen.items())
        kind = "the paper's scale" if as_paper else "not the paper's scale"
    words = [f"{name}: {one}" for name, one in sizes.items()] if len(sizes) > 1 else list(sizes.values())
    title = f"{figure.title}\n{kind}: {'; '.join(words)}"
    return f"{title}\n{changed}" if (changed := describe_changed(settings)) else title


def _sizes(settings: Settings) -> tuple[int, ...]:
    return settings.image_size, settings.recipe.epochs, settings.max_labels


def describe_changed(settings: FigureSettings) -> str:
    """In words: "momentum 0, ranking weight 0.1"; empty where all are the defaults."""
    default = FigureSettings().left_open
    changed = {name: value for name, value in settings.left_open.items() if value != default[name]}
    return ", ".join(f"{name.replace('_', ' ')} {_in_words(value)}" for name, value in changed.items())


def _in_words(value: float | str | Path) -> str:
    if isinstance(value, Path):
        return value.name
    return value if isinstance(value, str) else f"{value:g}"


def make_runs(missing: Sequence[PlannedRun], jobs: int) -> None:
    """Makes the runs, several at a time, and shows how far they are."""
    if not missing:
        return
    places = find_places(jobs)
    unique = list({run.name: run for run in missing}.values())
    for run in unique:
        make_folder(run.run_dir.parent)
    total = sum(_iterations(run.settings) for run in unique)
    words = f"{len(unique)} runs to make, {min(len(places), len(unique))} at a time"
    print(f"{words}; what they say is in {unique[0].run_dir.parent}/*.log", file=sys.stderr, flush=True)
    started = time.monotonic()
    with tqdm(total=total, unit=" iterations", disable=not sys.stderr.isatty(), leave=False) as bar:
        printed = 0

        def on_poll(ended: int) -> None:
            nonlocal printed
            bar.n = sum(_lines(run.run_dir / "history.jsonl") for run in unique)
            bar.refresh()
            if ended > printed and not sys.stderr.isatty():
                passed = (time.monotonic() - started) / 60
                print(f"{ended} of {len(unique)} runs ended after {passed:.1f} minutes", file=sys.stderr, flush=True)
            printed = ended

        run_jobs([Job(run.command(), run.run_dir.with_suffix(".log")) for run in unique], places, on_poll)


def _iterations(settings: Settings) -> int:
    return 1 + -(-(settings.max_labels - settings.initial) // settings.budget)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _finished(run: PlannedRun) -> FinishedRun:
    finished = read_finished(run.run_dir)
    if finished is None:
        raise InputError(f"{run.run_dir} ended before its last iteration: repeat the command")
    return finished
