"""Puts finished or running runs side by side: picture, table, and how much better one is than another.

    aljax compare runs/ucmerced-mge runs/ucmerced-random --out runs/compared.png

Each run is a folder with config.json and history.jsonl, as the experiments write them; where its checkpoints are there
too, they are believed, because they tell when they are damaged. Runs that differ in nothing but their trials are one
series. Series of the same query function carry the name of their folder in the legend.

Beside the picture goes a JSON file with the same numbers and more: for each metric the area under the learning curve
(the mean score along it), the difference from the baseline at each number of labels (trial by trial, with the 95 %
confidence interval of the mean), and the labels needed for the baseline's scores. Where the runs know the F1 of their
classes there is a second picture, with a panel per class, commonest first: it tells who gains.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from aljax.commands.options import read_options
from aljax.errors import InputError
from aljax.loop.history import Record, summarise
from aljax.queries.table import QUERIES, series_name
from aljax.reports.comparison import Difference, compare_with
from aljax.reports.curves import draw_classes, draw_curves, table
from aljax.runs.run_dir import read_history
from aljax.system.files import disk_errors, write_atomically

# What tells the runs of one series apart.
TRIALS = ("trials", "first_trial")
# What the trials of two series have in common that begin with the same tiles.
PAIRED = ("fingerprint", "split", "seed", "initial")


class Run(NamedTuple):
    """What a folder holds."""

    folder: Path
    config: dict[str, Any]
    history: list[Record]

    @property
    def name(self) -> str:
        return series_name(self.config["query"], self.config["clustering"])

    @property
    def where(self) -> str:
        return f"{self.config['archive']}, {self.config['image_size']} px, {self.config['start']} start"


def compare(
    runs: tyro.conf.Positional[tuple[Path, ...]],
    out: Path = Path("compared.png"),
    title: str = "",
    baseline: Path | None = None,
) -> None:
    """Reads the runs, writes pictures and numbers, and prints the table.

    Args:
        runs: run directories
        out: PNG file to write; a JSON file of the same name goes beside it, and a picture of the classes
        title: first line above the curves; left out, the runs' archive and start
        baseline: the run that the others are compared with; left out, the one with random choice
    """
    folders = [run for run in runs if run.suffix != ".log"]  # what figures leave beside their runs
    if not folders:
        raise InputError("no runs named: give one or more run directories")
    series = join_trials([read_run(run) for run in folders])
    check(series, out)
    named = dict(zip(name_series(series), series, strict=True))
    histories = {name: [record for run in group for record in run.history] for name, group in named.items()}
    heading = title or "; ".join(sorted({run.where for group in series for run in group}))
    chosen = find_baseline(named, baseline)

    def paired_with(name: str) -> list[Record] | None:
        if chosen is None or chosen == name or not are_paired(named[name][0], named[chosen][0]):
            return None
        return histories[chosen]

    numbers = {
        name: {
            "runs": [str(run.folder) for run in named[name]],
            "curve": summarise(history),
            "comparison": compare_with(history, paired_with(name)),
        }
        for name, history in histories.items()
    }
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        draw_curves(out, histories, heading, ("micro_f1", "macro_f1"))
        write_atomically(
            out.with_suffix(".json"), json.dumps({"compared_with": chosen, "series": numbers}, indent=2) + "\n"
        )
    print(table(histories))
    print_comparison(numbers, chosen)
    print(f"curve: {out}")
    first = series[0][0].config
    if all(record.class_f1 for history in histories.values() for record in history):
        classes = out.with_stem(out.stem + "-classes")
        draw_classes(classes, histories, first["class_names"], first["class_tiles"], heading)
        print(f"classes: {classes}")


def check(series: Sequence[Sequence[Run]], out: Path) -> None:
    """Raises InputError for runs that have not the same classes, and for a picture that would be none."""
    if out.suffix.lower() != ".png":
        raise InputError(f"--out {out} is a picture: give it a name that ends in .png")
    if (out.parent / "config.json").exists():
        raise InputError(
            f"--out {out} is in the folder of a run, whose files it may be named like: name another folder"
        )
    first = series[0][0]
    for run in (run for group in series for run in group):
        if run.config.get("class_names") != first.config.get("class_names"):
            raise InputError(f"{first.folder} and {run.folder} have other classes: compare runs of one archive")


def name_series(series: Sequence[Sequence[Run]]) -> list[str]:
    """The names of the query functions; where several have one, with what tells their folders apart."""
    names = []
    for group in series:
        alike = [other[0].folder.resolve().parts for other in series if other[0].name == group[0].name]
        own = group[0].folder.resolve().parts
        length = next(n for n in range(1, len(own) + 1) if sum(parts[-n:] == own[-n:] for parts in alike) == 1)
        names.append(group[0].name if len(alike) == 1 else f"{group[0].name} ({'/'.join(own[-length:])})")
    return names


def are_paired(first: Run, second: Run) -> bool:
    """Whether the trials of both begin with the same tiles of the same archive."""
    return all(first.config.get(key) == second.config.get(key) for key in PAIRED)


def join_trials(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs with the same configuration but for their trials, together. Raises InputError if two have the same trial."""
    series: dict[str, list[Run]] = {}
    for run in runs:
        shared = {name: value for name, value in run.config.items() if name not in TRIALS}
        alike = series.setdefault(json.dumps(shared, sort_keys=True), [])
        known = {record.trial for other in alike for record in other.history}
        if run.folder.resolve() in (other.folder.resolve() for other in alike):
            raise InputError(f"{run.folder} is named twice: name it once")
        if known & {record.trial for record in run.history}:
            series[f"{run.folder}"] = [run]
        else:
            alike.append(run)
    return list(series.values())


def find_baseline(named: dict[str, list[Run]], baseline: Path | None) -> str | None:
    """The name of the series to compare with; None if it was left open and none or several have random choice."""
    if baseline is not None:
        place = baseline.resolve()
        found = [name for name, group in named.items() if any(run.folder.resolve() == place for run in group)]
        if not found:
            raise InputError(f"--baseline {baseline} is not among the runs: name it there too")
        return found[0]
    random = [name for name in named if name.startswith(QUERIES["random"].title)]
    return random[0] if len(random) == 1 else None


def read_run(run: Path) -> Run:
    """A run. Raises InputError for anything but one with a finished iteration."""
    try:
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
        found = Run(run, config, read_history(run))
        _ = found.name, found.where  # both read the configuration
    except InputError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        if (run / "config.json").exists():
            raise InputError(f"{run} has no finished iteration yet: wait for the first one") from error
        raise InputError(f"{run} is not a run (no config.json): name a folder that an experiment wrote") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{run} is not a readable run ({error}): name a folder that an experiment wrote") from error
    if not found.history:
        raise InputError(f"{run} has no finished iteration yet: wait for the first one")
    return found


def print_comparison(numbers: dict[str, dict[str, Any]], baseline: str | None) -> None:
    """A line per series: area under the curve, its difference from the baseline, labels saved at the end."""
    print(f"\nMicro F1 along the curve, in %{f', and against {baseline}' if baseline else ''}:")
    for name, one in numbers.items():
        found = one["comparison"]["micro_f1"]
        line = f"  {name:<30}{100 * found['area_under_curve']:6.2f}"
        difference = found.get("area_difference")
        if difference is not None:
            line += f"  {Difference(**difference).in_points(2)}"
            line += f" in {difference['trials']} paired trial{'s' if difference['trials'] > 1 else ''}"
            line += _labels_needed(found["labels_saved"], baseline or "")
        elif baseline not in (None, name):
            line += "  not compared: other tiles or sets, another --seed or --initial, or no trial in common"
        print(line)
    print()


def _labels_needed(levels: Sequence[dict[str, Any]], baseline: str) -> str:
    """For the highest of the baseline's scores that the series reaches."""
    reached = [one for one in levels if one["labels"] is not None]
    if not reached:
        return f"; reaches none of {baseline}'s scores after the first"
    last = reached[-1]  # levels rise
    score, labels = 100 * last["level"], last["baseline_labels"]
    return f"; {last['labels']:.0f} labels for the {score:.2f} % that {baseline} has with {labels}"


def main() -> None:
    """Parses the command line and compares."""
    read_options(compare, "aljax compare", __doc__)
