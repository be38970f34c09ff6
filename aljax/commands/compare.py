"""Compares finished or running runs: curves, a table, and paired differences from a baseline.

    aljax compare runs/ucmerced-mge runs/ucmerced-random --out runs/compared.png

Each run is a folder with config.json and history.jsonl. If it has checkpoints, the history is read from them, because
their checksums reveal damage. Runs that differ only in their trials are one series. Series of the same query function
have the names of their folders in the legend.

The picture has mAP, and micro and macro F1 at the threshold 0.5 and at the one fitted to validation tiles, where all
runs know it; a dotted line is what always the commonest classes would score, where all runs have the same test tiles.

A JSON file beside the picture has, for each metric, the area under the learning curve (the mean score along it), the
difference from the baseline at each number of labels (trial by trial, with the 95 % confidence interval of the mean),
and the labels needed for the baseline's scores. If the runs have the F1 of each class, a second picture has a panel per
class, most frequent first.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from aljax.commands.options import read_options
from aljax.errors import InputError
from aljax.loop import constant
from aljax.loop.history import Record
from aljax.queries.table import QUERIES, series_name
from aljax.reports.comparison import Difference, describe_series
from aljax.reports.curves import draw_classes, draw_classes_at
from aljax.reports.score_panels import draw_scores
from aljax.reports.tables import table
from aljax.runs.config import FORMAT, find_damage
from aljax.runs.run_dir import MAY_DIFFER, read_history
from aljax.system.files import disk_errors, write_atomically

# Configuration in which runs of one series may differ: older runs have no pixel type, and no scores of a constant.
TRIALS = ("trials", "first_trial", "pixel_type", *constant.KEYS)
# Configuration that two series must share so that their trials are paired: they begin with the same tiles.
PAIRED = ("fingerprint", "split", "seed", "initial")


class Run(NamedTuple):
    """The content of a run directory."""

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
    at: int | None = None,
) -> None:
    """Reads the runs, writes pictures and numbers, and prints the table.

    Args:
        runs: run directories
        out: PNG file to write; a JSON file of the same name and a picture of the classes are written beside it
        title: first line above the curves; by default the archive and start of the runs
        baseline: the run that the others are compared with; by default the one with random choice
        at: number of labelled tiles for a further picture, with the F1 of each class by query
    """
    found = [read_run(run) for run in runs if run.suffix != ".log"]  # logs that figures write beside their runs
    check(found, out)
    series = join_trials(found)
    named = dict(zip(name_series(series), series, strict=True))
    histories = {name: [record for run in group for record in run.history] for name, group in named.items()}
    heading = title or "; ".join(sorted({run.where for run in found}))
    chosen = find_baseline(named, baseline)
    numbers = {}
    for name, history in histories.items():
        paired = chosen and chosen != name and have_same_start(named[name][0], named[chosen][0])
        shown = describe_series(history, histories[chosen] if chosen and paired else None)
        numbers[name] = {"runs": [str(run.folder) for run in named[name]], **shown}
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        draw_scores(out, histories, heading, shared_constant(found))
        as_json = json.dumps({"compared_with": chosen, "series": numbers}, indent=2)
        write_atomically(out.with_suffix(".json"), as_json + "\n")
    print(table(histories))
    print_comparison(numbers, chosen)
    print(f"curve: {out}")
    if all(record.class_f1 for history in histories.values() for record in history):
        classes, config = out.with_stem(out.stem + "-classes"), series[0][0].config
        draw_classes(classes, histories, config["class_names"], config["class_tiles"], heading)
        print(f"classes: {classes}")
        if at is not None:
            check_at(at, histories)
            gains = out.with_stem(f"{out.stem}-classes-at-{at}")
            draw_classes_at(gains, histories, config["class_names"], config["class_tiles"], at, heading)
            print(f"classes with {at} labels: {gains}")


def shared_constant(runs: Sequence[Run]) -> constant.Constant | None:
    """The constant prediction of the runs; None if their sets are others, so that it scores otherwise in each."""
    known = {one for run in runs if (one := constant.from_config(run.config)) is not None}
    return next(iter(known)) if len(known) == 1 else None


def check_at(at: int, histories: dict[str, list[Record]]) -> None:
    """Raises InputError unless every series has scores with so many labels."""
    for name, history in histories.items():
        counts = sorted({record.num_labeled for record in history})
        if at not in counts:
            raise InputError(
                f"--at {at}: {name} has scores with {', '.join(map(str, counts))} labels; choose a shared one"
            )


def check(runs: Sequence[Run], out: Path) -> None:
    """Raises InputError for runs of different classes, and for an `out` that is no PNG or is in a run directory."""
    if not runs:
        raise InputError("no runs named: give one or more run directories")
    if out.suffix.lower() != ".png":
        raise InputError(f"--out {out} is a picture: give it a name that ends in .png")
    if (out.parent / "config.json").exists():
        raise InputError(
            f"--out {out} is in the folder of a run, whose files it may be named like: name another folder"
        )
    for run in runs:
        if run.config.get("class_names") != runs[0].config.get("class_names"):
            raise InputError(f"{runs[0].folder} and {run.folder} have other classes: compare runs of one archive")


def name_series(series: Sequence[Sequence[Run]]) -> list[str]:
    """The query functions' names; series with the same one have the distinguishing end of their folder added."""
    names = []
    for group in series:
        same_name = [other[0].folder.resolve().parts for other in series if other[0].name == group[0].name]
        own = group[0].folder.resolve().parts
        length = next(n for n in range(1, len(own) + 1) if sum(parts[-n:] == own[-n:] for parts in same_name) == 1)
        names.append(group[0].name if len(same_name) == 1 else f"{group[0].name} ({'/'.join(own[-length:])})")
    return names


def have_same_start(one: Run, other: Run) -> bool:
    """Whether the trials of both begin with the same tiles of the same archive."""
    return all(one.config.get(key) == other.config.get(key) for key in PAIRED)


def join_trials(runs: Sequence[Run]) -> list[list[Run]]:
    """Groups the runs into series: the same configuration but for the trials. A repeated trial begins a new series.

    Raises InputError if a run is named twice.
    """
    series: dict[str, list[Run]] = {}
    for run in runs:
        shared = {name: value for name, value in run.config.items() if name not in (*TRIALS, *MAY_DIFFER)}
        group = series.setdefault(json.dumps(shared, sort_keys=True), [])
        trials = {record.trial for other in group for record in other.history}
        if run.folder.resolve() in (other.folder.resolve() for other in group):
            raise InputError(f"{run.folder} is named twice: name it once")
        if trials & {record.trial for record in run.history}:
            series[f"{run.folder}"] = [run]
        else:
            group.append(run)
    return list(series.values())


def find_baseline(named: dict[str, list[Run]], baseline: Path | None) -> str | None:
    """The name of the series of the run `baseline`; if that is None, of the only series with random choice, if any.

    Raises InputError if the baseline is not among the runs.
    """
    if baseline is not None:
        place = baseline.resolve()
        found = [name for name, group in named.items() if any(run.folder.resolve() == place for run in group)]
        if not found:
            raise InputError(f"--baseline {baseline} is not among the runs: name it there too")
        return found[0]
    random = [name for name in named if name.startswith(QUERIES["random"].title)]
    return random[0] if len(random) == 1 else None


def read_run(run: Path) -> Run:
    """The content of a run directory. Raises InputError if it is damaged or has no finished iteration."""
    try:
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
        if config.get("format") == FORMAT and (damage := find_damage(config)):
            raise ValueError(damage)
        found = Run(run, config, read_history(run))
        _ = found.name, found.where  # raise for an incomplete configuration
    except InputError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        if not (run / "config.json").exists():
            raise InputError(f"{run} is not a run (no config.json): name a folder that an experiment wrote") from error
        found = Run(run, {}, [])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{run} is not a readable run ({error}): name a folder that an experiment wrote") from error
    if not found.history:
        raise InputError(f"{run} has no finished iteration yet: wait for the first one")
    return found


def print_comparison(numbers: dict[str, dict[str, Any]], baseline: str | None) -> None:
    """Prints a line per series: area under the curve, difference from the baseline, labels for its highest score."""
    print(f"\nMicro F1 along the curve, in %{f', and against {baseline}' if baseline else ''}:")
    for name, one in numbers.items():
        found = one["comparison"]["micro_f1"]
        line = f"  {name:<30}{100 * found['area_under_curve']:6.2f}"
        if difference := found.get("area_difference"):
            line += f"  {Difference(**difference).in_points(2)}"
            line += f" in {difference['trials']} paired trial{'s' if difference['trials'] > 1 else ''}"
            reached = [level for level in found["labels_saved"] if level["labels"] is not None]  # levels rise
            if reached:
                score, labels = 100 * reached[-1]["level"], reached[-1]["baseline_labels"]
                line += f"; {reached[-1]['labels']:.0f} labels for the {score:.2f} % that {baseline} has with {labels}"
            else:
                line += f"; reaches none of {baseline}'s scores after the first"
        elif baseline not in (None, name):
            line += "  not compared: other tiles or sets, another --seed or --initial, or no trial in common"
        print(line)
    print()


def main() -> None:
    """Parses the command line and compares."""
    read_options(compare, "aljax compare", __doc__)
