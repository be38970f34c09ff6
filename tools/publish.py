"""Collects the files with which others can check and repeat the figures: pictures, summaries, histories, splits.

    python -m tools.publish runs/paper results/paper --ucmerced-dir data/ucmerced --treesatai-dir data/treesatai

RUNS is the --run-dir of experiments.fig1 to table1. Copied are the folder of each figure, and config.json and
history.jsonl of each finished run, not the checkpoints. For each archive a CSV lists for every tile its set and the
trials in which it is labelled initially. Both follow from the seed.
"""

import csv
import io
from pathlib import Path
from typing import Annotated, Any

import tyro

from aljax.commands.options import read_options
from aljax.commands.process import command
from aljax.data.archive import Archive
from aljax.data.archives.open import open_archive
from aljax.errors import InputError
from aljax.loop.history import to_text
from aljax.loop.iterations import initial_labels
from aljax.runs.run_dir import read_finished
from aljax.system.files import disk_errors, write_atomically


def publish(
    runs: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUNS")],
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")],
    ucmerced_dir: Path | None = None,
    treesatai_dir: Path | None = None,
) -> None:
    """Copies figures and runs, and writes the lists of tiles.

    Args:
        runs: folder of figures and their runs
        out: folder to write to
        ucmerced_dir: UC Merced, if runs used it
        treesatai_dir: TreeSatAI, if runs used it
    """
    folders = [path.parent for path in sorted(runs.glob("runs/*/config.json"))]
    finished = [run for run in map(read_finished, folders) if run is not None]
    if not finished:
        raise InputError(f"{runs} holds no finished runs: give the --run-dir of the figures")
    figures = [path for pattern in ("*/summary.json", "*/*.png", "*/table.md") for path in sorted(runs.glob(pattern))]
    as_they_are = (*figures, *(run.run_dir / "config.json" for run in finished))
    copies = {path.relative_to(runs): path.read_bytes() for path in as_they_are}
    # The history of the checkpoint, which is authoritative.
    copies |= {(run.run_dir / "history.jsonl").relative_to(runs): to_text(run.history).encode() for run in finished}
    configs = [run.config for run in finished]
    lists: dict[str, str] = {}
    for folder in (ucmerced_dir, treesatai_dir):
        if folder is not None:
            lists |= list_tiles(folder, configs)
    if missing := {config["archive"] for config in configs} - {name.partition("-")[0] for name in lists}:
        raise InputError(f"runs on {', '.join(sorted(missing))} need its folder for the lists of tiles: name it, too")
    there = {path.parent.name for path in out.glob("runs/*/config.json")}
    if others := sorted(there - {run.run_dir.name for run in finished}):
        raise InputError(
            f"{out} has {len(others)} other runs, as {others[0]}, which the new lists and figures would not have: name "
            "another folder, or remove what is there"
        )
    with disk_errors(out):
        for name, content in (copies | {Path(name): text.encode() for name, text in lists.items()}).items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(out / name, content)
    print(f"{len(copies)} files of figures and {len(configs)} runs, {len(lists)} lists of tiles: {out}")


def list_tiles(folder: Path, configs: list[dict[str, Any]]) -> dict[str, str]:
    """A list for each seed and number of initial labels that runs on the archive in `folder` used, by file name."""
    by_file: dict[str, list[dict[str, Any]]] = {}
    for config in configs:
        name = f"{config['archive'].replace(' ', '-')}-seed{config['seed']}-initial{config['initial']}.csv"
        by_file.setdefault(name, []).append(config)
    lists = {}
    for name, (config, *others) in by_file.items():
        archive = open_archive(folder, config["image_size"], config["seed"])
        if archive.name != config["archive"]:
            continue
        if archive.fingerprint() != config["fingerprint"]:
            raise InputError(f"{folder} does not hold the data that the runs on {archive.name} were made from")
        last = max(one["first_trial"] + one["trials"] - 1 for one in (config, *others))
        lists[name] = as_csv(archive, config["seed"], config["initial"], range(1, last + 1))
    return lists


def as_csv(archive: Archive, seed: int, initial: int, trials: range) -> str:
    """A row per tile, in the archive's order."""
    assert archive.split is not None
    sets = {tile: name for name, tiles in archive.split._asdict().items() for tile in tiles}
    begin: dict[int, list[int]] = {}
    for trial in trials:
        for row in initial_labels(seed, trial - 1, len(archive.split.pool), initial):
            begin.setdefault(int(archive.split.pool[row]), []).append(trial)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("id", "set", "initial in trials"))
    rows.writerows((tile, sets[row], " ".join(map(str, begin.get(row, [])))) for row, tile in enumerate(archive.ids))
    return text.getvalue()


def main() -> None:
    """Parses the command line and publishes."""
    read_options(publish, "python -m tools.publish", __doc__)


if __name__ == "__main__":
    command(main)
