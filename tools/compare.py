"""Puts the curves of finished or running runs into one picture and one table.

    python -m tools.compare runs/ucmerced-mge runs/ucmerced-random --out runs/compared.png

Each run is a folder with config.json and history.jsonl, as the experiments write them; where its checkpoints are there
too, they are believed, because they tell when they are damaged. Runs of the same query
function carry the name of their folder in the legend.
"""

import json
from collections import Counter
from pathlib import Path

import tyro

from aljax.checkpointing import read_history
from aljax.errors import InputError
from aljax.experiment import command
from aljax.history import Record
from aljax.reporting import draw_curves, series_name, table


def compare(
    runs: tyro.conf.Positional[tuple[Path, ...]],
    out: Path = Path("compared.png"),
    title: str = "",
) -> None:
    """Reads the runs, writes the picture and prints the table.

    Args:
        runs: run directories, one curve each
        out: PNG file to write
        title: first line above the curves; left out, the runs' archive and start
    """
    if not runs:
        raise InputError("no runs named: give one or more run directories")
    loaded = {run: read_run(run) for run in runs}
    names = Counter(name for name, _, _ in loaded.values())
    histories = {name if names[name] == 1 else f"{name} ({run})": history for run, (name, history, _) in loaded.items()}
    described = sorted({where for _, _, where in loaded.values()})
    draw_curves(out, histories, title or "; ".join(described), ("micro_f1", "macro_f1"))
    print(table(histories))
    print(f"curve: {out}")


def read_run(run: Path) -> tuple[str, list[Record], str]:
    """Name of the query function, history, and what it ran on. Raises InputError for anything but a run."""
    try:
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
        history = read_history(run)
        name = series_name(config["query"], config["clustering"])
        where = f"{config['archive']}, {config['image_size']} px, {config['start']} start"
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{run} is not a readable run ({error}): name a folder that an experiment wrote") from error
    if not history:
        raise InputError(f"{run} has no finished iteration yet: wait for the first one")
    return name, history, where


def main() -> None:
    """Parses the command line and compares."""
    tyro.cli(compare, prog="python -m tools.compare", description=__doc__)


if __name__ == "__main__":
    command(main)
