"""What the scripts of the paper's figures share: their settings, the runs they need, pictures and summaries.

A figure is panels of series, and what the paper says about them. Each series is as many runs of one trial, made by
`experiments.ucmerced` or `experiments.treesatai`, kept in one folder under names that only the same settings give: a run
that two figures show is made once.
"""

import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tqdm import tqdm

from aljax.checkpointing import FinishedRun, read_finished
from aljax.comparison import Difference, areas, differences_by_labels, labels_saved, paired_difference
from aljax.errors import InputError
from aljax.files import disk_errors, write_atomically
from aljax.history import METRICS, Record, summarise
from aljax.recipe import Recipe
from aljax.reporting import Panel, draw_classes, draw_panels, table
from aljax.run_names import PlannedRun
from aljax.settings import Settings
from aljax.side_by_side import Job, find_places, run_jobs
from experiments.treesatai import TreeSatAISettings
from experiments.ucmerced import UCMercedSettings

ArchiveName = Literal["UC Merced", "TreeSatAI"]
Scale = Literal["paper", "small"]


@dataclass(frozen=True)
class FigureSettings:
    """Settings of a figure."""

    run_dir: Path = Path("runs/paper")  # folder for the pictures, and for the runs that all figures share
    scale: Scale = "paper"  # the paper's settings, or a size for two CPU cores: small tiles, few epochs, few labels
    trials: int = 3  # repetitions with another initial labelled set (paper: 3)
    seed: int = 0  # of every random draw
    precision: Literal["float32", "bfloat16"] = "float32"  # of the convolutions
    jobs: int = 0  # runs side by side; 0: one per accelerator or, without one, per CPU core
    print_commands: bool = False  # print the commands of the runs that are missing, for a cluster, and stop


@dataclass(frozen=True)
class OnUCMerced(FigureSettings):
    """Settings of a figure on UC Merced."""

    ucmerced_dir: Path = Path("data/ucmerced")  # folder with UCMerced_LandUse and LandUse_Multilabeled.txt, or zips


@dataclass(frozen=True)
class OnTreeSatAI(FigureSettings):
    """Settings of a figure on TreeSatAI."""

    treesatai_dir: Path = Path("data/treesatai")  # folder with the files as downloaded, or as tools.prepare made them


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


class Score(NamedTuple):
    """A number that the paper quotes from a panel, in %."""

    panel: int
    series: str
    labels: int
    percent: float


class Lead(NamedTuple):
    """A difference that the paper reads from a panel: the series lies above the baseline by at least `points`."""

    panel: int
    series: str
    baseline: str
    points: float
    labels: int | None = None
    """None: at every number of labels after the initial one."""


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

SCRIPTS: Mapping[ArchiveName, str] = {"UC Merced": "experiments.ucmerced", "TreeSatAI": "experiments.treesatai"}


def base_settings(settings: FigureSettings, archive: ArchiveName) -> Settings:
    """What all runs on an archive have in common: the scripts' defaults, or those of the small scale."""
    common: dict[str, Any] = {
        "run_dir": settings.run_dir / "runs",
        "seed": settings.seed,
        "precision": settings.precision,
        "trials": 1,
    }
    if archive == "UC Merced":
        assert isinstance(settings, OnUCMerced)
        chosen: Settings = UCMercedSettings(data_dir=settings.ucmerced_dir, **common)
        small: dict[str, Any] = {"image_size": 64, "max_labels": 120, "recipe": Recipe(epochs=20)}
    else:
        assert isinstance(settings, OnTreeSatAI)
        chosen = TreeSatAISettings(data_dir=settings.treesatai_dir, **common)
        small = {"image_size": 64, "initial": 60, "budget": 60, "max_labels": 240, "recipe": Recipe(epochs=12)}
    return replace(chosen, **small) if settings.scale == "small" else chosen


def plan(settings: FigureSettings, archive: ArchiveName, series: Series) -> list[PlannedRun]:
    """The runs of a series, one per trial."""
    base = replace(base_settings(settings, archive), **series.changes)
    return [PlannedRun(SCRIPTS[archive], replace(base, first_trial=trial)) for trial in range(1, settings.trials + 1)]


def make_figure(figure: Figure, settings: FigureSettings) -> None:
    """Makes the runs that are missing, then the picture and the summary."""
    if settings.trials < 1 or settings.jobs < 0:
        raise InputError("--trials is at least 1, --jobs at least 0: change them")
    planned = {
        (panel.archive, series.name): plan(settings, panel.archive, series)
        for panel in figure.panels
        for series in panel.series
    }
    missing = [run for runs in planned.values() for run in runs if read_finished(run.run_dir) is None]
    if settings.print_commands:
        print("\n".join(shlex.join(run.command()) for run in missing))
        return
    make_runs(missing, settings.jobs)
    finished = {key: [_finished(run) for run in runs] for key, runs in planned.items()}
    folder = settings.run_dir / (figure.name + ("-small" if settings.scale == "small" else ""))
    write_figure(figure, settings, folder, finished)


def make_runs(missing: Sequence[PlannedRun], jobs: int) -> None:
    """Makes the runs, several at a time, and shows how far they are."""
    if not missing:
        return
    places = find_places(jobs)
    unique = list({run.name: run for run in missing}.values())
    for run in unique:
        run.run_dir.parent.mkdir(parents=True, exist_ok=True)
    total = sum(_iterations(run.settings) for run in unique)
    words = f"{len(unique)} runs to make, {min(len(places), len(unique))} at a time"
    print(f"{words}; what they say is in {unique[0].run_dir.parent}/*.log", file=sys.stderr, flush=True)
    started = time.monotonic()
    with tqdm(total=total, unit=" iterations", disable=not sys.stderr.isatty(), leave=False) as bar:
        told = 0

        def on_poll(ended: int) -> None:
            nonlocal told
            bar.n = sum(_lines(run.run_dir / "history.jsonl") for run in unique)
            bar.refresh()
            if ended > told and not sys.stderr.isatty():
                passed = (time.monotonic() - started) / 60
                print(f"{ended} of {len(unique)} runs ended after {passed:.1f} minutes", file=sys.stderr, flush=True)
            told = ended

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


Finished = Mapping[tuple[ArchiveName, str], Sequence[FinishedRun]]


def write_figure(figure: Figure, settings: FigureSettings, folder: Path, finished: Finished) -> None:
    """Writes the picture, the classes' curves and `summary.json`, and prints the numbers."""
    histories = {key: [record for run in runs for record in run.history] for key, runs in finished.items()}
    _check_data(finished)
    panels = [
        Panel(
            panel.title, {series.name: histories[panel.archive, series.name] for series in panel.series}, panel.metric
        )
        for panel in figure.panels
    ]
    title = f"{figure.title}\n{describe_scale(settings, figure)}"
    comparison = compare_series(figure, histories)
    archives = list(dict.fromkeys(panel.archive for panel in figure.panels))
    summary = {
        "figure": figure.name,
        "scale": describe_scale(settings, figure),
        "paper": [describe_quote(quote, figure, panels) for quote in figure.quotes],
        "compared_with": figure.baseline,
        **comparison,
        "series": {f"{name}, {archive}": summarise(history) for (archive, name), history in histories.items()},
        "runs": sorted({run.run_dir.name for runs in finished.values() for run in runs}),
        "settings": {archive: _of(archive, finished) for archive in archives},
        "machines": sorted({json.dumps(run.machine, sort_keys=True) for runs in finished.values() for run in runs}),
    }
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        draw_panels(folder / "curve.png", panels, title)
        for archive in archives:
            own = {name: history for (where, name), history in histories.items() if where == archive}
            config = finished[archive, next(iter(own))][0].config
            path = folder / f"classes-{archive.lower().replace(' ', '')}.png"
            draw_classes(path, own, config["class_names"], config["class_tiles"], f"{archive}\n{title}")
        write_atomically(folder / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    for panel in panels:
        print(f"{panel.title}\n{table(panel.histories)}\n")
    print_quotes(summary["paper"])
    print(f"curve: {folder / 'curve.png'}", flush=True)


def _check_data(finished: Finished) -> None:
    """Raises InputError if the runs of an archive were not made from the same data."""
    seen: dict[str, FinishedRun] = {}
    for (archive, _), runs in finished.items():
        for run in runs:
            other = seen.setdefault(archive, run)
            if run.config["fingerprint"] != other.config["fingerprint"]:
                raise InputError(
                    f"{run.run_dir} and {other.run_dir} were made from different data: move one of them away, and repeat "
                    "the command with the data of the other"
                )


def _of(archive: ArchiveName, finished: Finished) -> dict[str, Any]:
    """What all runs on an archive have in common."""
    configs = [run.config for (where, _), runs in finished.items() if where == archive for run in runs]
    return {name: value for name, value in configs[0].items() if all(one.get(name) == value for one in configs)}


def describe_scale(settings: FigureSettings, figure: Figure) -> str:
    """The scale in words, for title and summary."""
    parts = []
    for archive in dict.fromkeys(panel.archive for panel in figure.panels):
        base = base_settings(settings, archive)
        of = f"{archive}: " if len({panel.archive for panel in figure.panels}) > 1 else ""
        parts.append(f"{of}{base.image_size} px, {base.recipe.epochs} epochs, up to {base.max_labels} labels")
    return ("small scale, not the paper's: " if settings.scale == "small" else "the paper's scale: ") + "; ".join(parts)


def compare_series(figure: Figure, histories: Mapping[tuple[ArchiveName, str], Sequence[Record]]) -> dict[str, Any]:
    """Each series beside the baseline of its archive: area under the curve, paired differences, labels saved."""
    found: dict[str, Any] = {}
    for (archive, name), history in histories.items():
        baseline = histories[archive, figure.baseline]
        found[f"{name}, {archive}"] = compare_histories(history, baseline, is_baseline=name == figure.baseline)
    return {"comparison": found}


def compare_histories(history: Sequence[Record], baseline: Sequence[Record], is_baseline: bool) -> dict[str, Any]:
    """Numbers of a series, and of its difference from a baseline, for each metric."""
    found: dict[str, Any] = {}
    for metric in METRICS:
        own = areas(history, metric)
        entry: dict[str, Any] = {"area_under_curve": sum(own.values()) / len(own)}
        if not is_baseline:
            entry["area_difference"] = _as_dict(paired_difference(own, areas(baseline, metric)))
            entry["difference"] = {
                str(labels): _as_dict(difference)
                for labels, difference in differences_by_labels(history, baseline, metric).items()
            }
            entry["labels_for_the_baselines_score"] = [one._asdict() for one in labels_saved(history, baseline, metric)]
        found[metric] = entry
    return found


def _as_dict(difference: Difference | None) -> dict[str, Any] | None:
    return None if difference is None else difference._asdict()


def describe_quote(quote: Score | Lead, figure: Figure, panels: Sequence[Panel]) -> dict[str, Any]:
    """What the paper says, and what was measured, in %."""
    panel, metric = panels[quote.panel], panels[quote.panel].metric
    where = f"{figure.panels[quote.panel].archive}, {metric}"
    history = panel.histories[quote.series]
    if isinstance(quote, Score):
        row = next((row for row in summarise(history) if row["num_labeled"] == quote.labels), None)
        here = None if row is None else 100 * row[metric]
        return {
            "what": f"{quote.series} at {quote.labels} labels ({where})",
            "paper": quote.percent,
            "here": here,
            "difference": None if here is None else here - quote.percent,
        }
    differences = differences_by_labels(history, panel.histories[quote.baseline], metric)
    places = {quote.labels: differences[quote.labels]} if quote.labels in differences else {}
    if quote.labels is None:
        places = dict(list(differences.items())[1:])  # with the initial labels nothing has been chosen yet
    at = "every number of labels" if quote.labels is None else f"{quote.labels} labels"
    return {
        "what": f"{quote.series} above {quote.baseline} at {at} ({where})",
        "paper": f"more than {quote.points:g} points",
        "here": {
            str(labels): {name: value if name == "trials" or value is None else 100 * value for name, value in pairs}
            for labels, difference in places.items()
            for pairs in [difference._asdict().items()]
        }
        or None,
        "holds_at": f"{sum(100 * one.mean > quote.points for one in places.values())} of {len(places)}",
    }


def print_quotes(quotes: Sequence[Mapping[str, Any]]) -> None:
    """The paper's statements beside the measured ones."""
    for quote in quotes:
        if "holds_at" in quote:
            shown = ", ".join(f"{one['mean']:+.2f} at {labels}" for labels, one in (quote["here"] or {}).items())
            print(f"{quote['what']}: paper {quote['paper']}; here {shown or 'not run so far'}")
        else:
            here = "not run so far" if quote["here"] is None else f"{quote['here']:.2f} %"
            print(f"{quote['what']}: paper {quote['paper']:.2f} %; here {here}")
