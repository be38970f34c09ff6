"""The paper's figures as values (series, panels, quoted numbers); their pictures and summaries from finished runs."""

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aljax.errors import InputWarning
from aljax.loop.constant import from_config
from aljax.loop.history import summarise
from aljax.reports.comparison import describe_series, differences_by_labels
from aljax.reports.curves import Panel, draw_classes, draw_panels
from aljax.reports.score_panels import draw_scores
from aljax.reports.tables import table
from aljax.runs.run_dir import FinishedRun
from aljax.system.files import disk_errors, make_folder, write_atomically
from experiments.scales import ArchiveName, short

Runs = Mapping[tuple[ArchiveName, str], Sequence[FinishedRun]]
"""The runs of each series, one per trial, by (archive, name of the series)."""


class Score(NamedTuple):
    """A number that the paper quotes from a panel, in %."""

    series: str
    labels: int
    percent: float

    def measure(self, panel: Panel) -> dict[str, Any]:
        """The mean over trials beside the paper's number; None if no run has so many labels."""
        rows = {row["num_labeled"]: row for row in summarise(panel.histories[self.series])}
        here = 100 * rows[self.labels][panel.metric] if self.labels in rows else None
        return {
            "what": f"{panel.metric} of {self.series} at {self.labels} labels, {panel.title}",
            "paper": self.percent,
            "here": here,
            "difference": None if here is None else here - self.percent,
        }


class Lead(NamedTuple):
    """A difference that the paper reads from a panel: the series lies above the baseline by so many `points`."""

    series: str
    baseline: str
    points: float
    labels: int | None = None
    """None: at every number of labels after the initial one."""
    words: str = "more than "
    """Precede the points; if they are empty or "about ", the paper rounds to whole points."""

    def measure(self, panel: Panel) -> dict[str, Any]:
        """The paired differences with their intervals, and at how many numbers of labels the statement holds."""
        ours, theirs = panel.histories[self.series], panel.histories[self.baseline]
        differences = list(differences_by_labels(ours, theirs, panel.metric).items())
        # At the initial labels no query has chosen anything.
        places = differences[1:] if self.labels is None else [one for one in differences if one[0] == self.labels]
        at = "every number of labels" if self.labels is None else f"{self.labels} labels"
        least = self.points if self.words == "more than " else self.points - 0.5
        return {
            "what": f"{panel.metric} of {self.series} above {self.baseline} at {at}, {panel.title}",
            "paper": f"{self.words}{self.points:g} points",
            "here": {str(labels): one.scaled(100.0)._asdict() for labels, one in places} or None,
            "holds_at": f"{sum(100 * one.mean > least for _, one in places)} of {len(places)}",
        }


class Axes(NamedTuple):
    """A panel of a figure, and what the paper states about it."""

    title: str
    archive: ArchiveName
    metric: str
    quotes: tuple[Score | Lead, ...] = ()


class Figure(NamedTuple):
    """A figure of the paper."""

    name: str
    title: str
    series: Mapping[str, Mapping[str, Any]]
    """The curves of every panel: name in the legend and settings that differ from the archive's defaults."""
    baseline: str
    """The series that the others are compared with."""
    panels: tuple[Axes, ...]

    @property
    def archives(self) -> list[ArchiveName]:
        return list(dict.fromkeys(axes.archive for axes in self.panels))


def write_figure(folder: Path, figure: Figure, title: str, finished: Runs) -> None:
    """Writes the picture, per archive those of its classes and all scores, and `summary.json`; prints the numbers."""
    histories = {series: [record for run in runs for record in run.history] for series, runs in finished.items()}
    panels = []
    for axes in figure.panels:
        shown = {name: histories[axes.archive, name] for name in figure.series}
        constant = from_config(finished[axes.archive, figure.baseline][0].config)
        panels.append(Panel(axes.title, shown, axes.metric, constant))
    summary = {"title": title.splitlines(), **compare(figure, panels), **describe_runs(finished)}
    warn_of_replaced(folder, summary["runs"])
    make_folder(folder)
    with disk_errors(folder):
        draw_panels(folder / "curve.png", panels, title)
        for archive, panel in {axes.archive: panel for axes, panel in zip(figure.panels, panels, strict=True)}.items():
            config = finished[archive, figure.baseline][0].config
            path = folder / f"classes-{short(archive)}.png"
            draw_classes(path, panel.histories, config["class_names"], config["class_tiles"], f"{title}\n{archive}")
            scores = folder / f"scores-{short(archive)}.png"
            draw_scores(scores, panel.histories, f"{title}\n{archive}", panel.constant)
        write_atomically(folder / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    for panel in panels:
        print(f"{panel.title}\n{table(panel.histories)}\n")
    print_measured(summary["paper"])
    print(f"curve: {folder / 'curve.png'}", flush=True)


def compare(figure: Figure, panels: Sequence[Panel]) -> dict[str, Any]:
    """The paper's statements beside the measured ones; each series and its difference from the baseline."""
    both = list(zip(figure.panels, panels, strict=True))
    return {
        "paper": [quote.measure(panel) for axes, panel in both for quote in axes.quotes],
        "compared_with": figure.baseline,
        "series": {
            f"{name}, {axes.archive}": describe_series(
                history, None if name == figure.baseline else panel.histories[figure.baseline]
            )
            for axes, panel in both
            for name, history in panel.histories.items()
        },
    }


def describe_runs(finished: Runs) -> dict[str, Any]:
    """The origin of a figure: machines, the settings that all runs on an archive share, and the names of the runs."""
    shared: dict[ArchiveName, dict[str, Any]] = {}
    for (archive, _), runs in finished.items():
        for run in runs:
            so_far = shared.get(archive, run.config)
            shared[archive] = {name: value for name, value in so_far.items() if run.config.get(name) == value}
    flat = [run for runs in finished.values() for run in runs]
    return {
        "machines": [json.loads(one) for one in sorted({json.dumps(run.machine, sort_keys=True) for run in flat})],
        "settings": shared,
        "runs": sorted({run.run_dir.name for run in flat}),
    }


def warn_of_replaced(folder: Path, runs: Sequence[str]) -> None:
    """Warns if the existing summary shows runs that the new one, `runs`, does not."""
    try:
        before = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["runs"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if gone := sorted({*before} - {*runs}):
        what = f"{folder} showed {len(gone)} other runs, as {gone[0]}"
        warnings.warn(InputWarning(f"{what}: it is made anew without them, and the runs stay"), stacklevel=2)


def print_measured(measured: Iterable[Mapping[str, Any]]) -> None:
    """The paper's statements and the measured ones, a line each."""
    for one in measured:
        if one["here"] is None:
            print(f"{one['what']}: paper {one['paper']}; no run here has that many labels")
        elif isinstance(one["here"], Mapping):
            shown = ", ".join(f"{found['mean']:+.2f} at {labels}" for labels, found in one["here"].items())
            print(f"{one['what']}: paper {one['paper']}; here {shown}")
        else:
            print(f"{one['what']}: paper {one['paper']:.2f} %; here {one['here']:.2f} %")
