"""From the finished runs of a figure to its pictures and its summary."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aljax.errors import InputError, InputWarning
from aljax.loop.history import summarise
from aljax.reports.comparison import compare_with
from aljax.reports.curves import Panel, draw_classes, draw_panels, table
from aljax.runs.run_dir import FinishedRun
from aljax.system.files import disk_errors, write_atomically
from experiments.quotes import Lead, Score, measure, print_measured

Finished = dict[tuple[str, str], list[FinishedRun]]
"""The runs of each series, one per trial, by archive and name."""


def write_figure(
    folder: Path,
    title: str,
    panels: Sequence[tuple[str, Panel]],
    quotes: Sequence[Score | Lead],
    baseline: str,
    finished: Finished,
) -> None:
    """Writes the picture, a picture of the classes per archive, and `summary.json`; prints the numbers.

    Each panel comes with its archive.
    """
    check_data(finished)
    summary = summarise_figure(title, panels, quotes, baseline, finished)
    warn_of_others(folder / "summary.json", summary["runs"])
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        draw_panels(folder / "curve.png", [panel for _, panel in panels], title)
        for archive, panel in dict(reversed(panels)).items():
            config = next(runs[0].config for (where, _), runs in finished.items() if where == archive)
            path = folder / f"classes-{archive.lower().replace(' ', '')}.png"
            draw_classes(path, panel.histories, config["class_names"], config["class_tiles"], f"{title}\n{archive}")
        write_atomically(folder / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    for _, panel in panels:
        print(f"{panel.title}\n{table(panel.histories)}\n")
    print_measured(summary["paper"])
    print(f"curve: {folder / 'curve.png'}", flush=True)


def warn_of_others(file: Path, runs: Sequence[str]) -> None:
    """Says so where the figure that is there shows runs that the new one will not."""
    try:
        before = json.loads(file.read_text(encoding="utf-8"))["runs"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if gone := sorted({*before} - {*runs}):
        what = f"{file.parent} showed {len(gone)} other runs, as {gone[0]}"
        warnings.warn(InputWarning(f"{what}: it is made anew without them, and the runs stay"), stacklevel=2)


def summarise_figure(
    title: str,
    panels: Sequence[tuple[str, Panel]],
    quotes: Sequence[Score | Lead],
    baseline: str,
    finished: Finished,
) -> dict[str, Any]:
    """What `summary.json` holds: the paper's statements, each series and its comparison, and where it came from."""
    series = {
        f"{name}, {archive}": {
            "curve": summarise(history),
            "comparison": compare_with(history, None if name == baseline else panel.histories[baseline]),
        }
        for archive, panel in panels
        for name, history in panel.histories.items()
    }
    runs = [run for group in finished.values() for run in group]
    return {
        "title": title.splitlines(),
        "paper": [measure(quote, [panel for _, panel in panels]) for quote in quotes],
        "compared_with": baseline,
        "series": series,
        "machines": [json.loads(one) for one in sorted({json.dumps(run.machine, sort_keys=True) for run in runs})],
        "settings": {archive: in_common(archive, finished) for archive in dict(panels)},
        "runs": sorted({run.run_dir.name for run in runs}),
    }


def check_data(finished: Finished) -> None:
    """Raises InputError if the runs of an archive were not made from the same data."""
    first: dict[str, FinishedRun] = {}
    for (archive, _), runs in finished.items():
        for run in runs:
            other = first.setdefault(archive, run)
            if run.config["fingerprint"] != other.config["fingerprint"]:
                raise InputError(
                    f"{run.run_dir} and {other.run_dir} were made from different data: move one of them away and "
                    "repeat the command with the data of the other"
                )


def in_common(archive: str, finished: Finished) -> dict[str, Any]:
    """The configuration that all runs on an archive share."""
    configs = [run.config for (where, _), runs in finished.items() if where == archive for run in runs]
    return {name: value for name, value in configs[0].items() if all(one.get(name) == value for one in configs)}
