"""Table I: seconds to select tiles in one iteration, and trainable parameters, of the three query functions.

    python -m experiments.table1 --ucmerced-dir data/ucmerced --treesatai-dir data/treesatai
    python -m experiments.table1 --ucmerced-dir data/ucmerced --treesatai-dir data/forests --scale small

The second command is for two CPU cores, with tiles of 64 pixels and an archive from tools.generate. A selection is the
part of an iteration after the fit: predictions for the unlabelled tiles, scores, clustering. Its cost does not depend
on the weights, so these are random. The paper has 7.25, 10.84 and 7.06 s for LL, TPD and MGE on
UC Merced (b = 20), 141.5, 188.1 and 142.2 s on TreeSatAI (b = 1000), on hardware that it does not name, and 7.33 M
parameters with the loss head, 6.97 M without. A command that was stopped goes on with the unfinished archive.
"""

import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aljax.commands.options import read_options
from aljax.commands.process import command, prepare_process
from aljax.data.archive import Archive, Split, SplitTiles, split_tiles
from aljax.data.archives.open import open_archive
from aljax.errors import InputError
from aljax.loop.iterations import initial_labels
from aljax.loop.pool import Pool
from aljax.loop.querying import choose, predict
from aljax.loop.settings import Settings, check_pool, check_settings
from aljax.loop.state import Fitted, RunState
from aljax.networks.densenet import DenseNet121
from aljax.networks.loss_head import LossHead
from aljax.networks.model import Model, count_parameters, init_variables
from aljax.queries.table import series_name
from aljax.system.files import disk_errors, make_folder, write_atomically
from aljax.system.machine import describe_machine
from experiments.figures import folder_of
from experiments.scales import ArchiveName, Scale, scaled_settings, short

QUERIES: tuple[str, ...] = ("ll", "tpd", "mge")
PAPER_SECONDS: Mapping[ArchiveName, Mapping[str, float]] = {
    "UC Merced": {"ll": 7.25, "tpd": 10.84, "mge": 7.06},
    "TreeSatAI": {"ll": 141.5, "tpd": 188.1, "mge": 142.2},
}
PAPER_PARAMETERS: Mapping[str, float] = {"ll": 7.33e6, "tpd": 6.97e6, "mge": 6.97e6}
MEASURED = "measured.json"  # the archives that are done, while others are not


@dataclass(frozen=True)
class TableSettings:
    """Settings of the table."""

    run_dir: Path = Path("runs/paper")  # folder for the table
    scale: Scale = "paper"  # the paper's tiles and budgets, or 64 pixels and small budgets
    rounds: int = 3  # selections of each kind, in turns, after one to warm up; the median counts
    seed: int = 0  # of weights and clustering
    precision: Literal["float32", "bfloat16"] = "float32"  # of the convolutions
    ucmerced_dir: Path = Path("data/ucmerced")  # folder with UCMerced_LandUse and LandUse_Multilabeled.txt, or zips
    treesatai_dir: Path = Path("data/treesatai")  # folder with the files as downloaded, or as aljax prepare made them


class Selection(NamedTuple):
    """A query function ready to select from an archive."""

    settings: Settings
    model: Model
    state: RunState
    tiles: SplitTiles

    def seconds(self) -> float:
        """Selects once."""
        state = predict(self.model, self.tiles, self.settings, self.state)
        state, chosen = choose(self.settings, state)
        assert len(chosen) == self.settings.budget
        return state.seconds.predict + state.seconds.select


def prepare_selection(query: str, archive: Archive, tiles: SplitTiles, settings: Settings) -> Selection:
    """A state after the fit of the second iteration, the first in which TPD has earlier probabilities."""
    settings = replace(settings, query=query)
    network = DenseNet121(len(archive.class_names), jnp.dtype(settings.precision))
    model = Model(network, LossHead() if query == "ll" else None)
    key = jax.random.key(settings.seed)
    variables = init_variables(key, model, settings.image_size, tiles.pool.images.shape[-1])
    pool = Pool(tiles.pool.num_tiles).label(initial_labels(settings.seed, 0, tiles.pool.num_tiles, settings.initial))
    before = np.asarray(jax.random.uniform(key, tiles.pool.labels.shape))
    return Selection(settings, model, RunState(0, 2, pool, variables, before, (), Fitted()), tiles)


def measure_archive(name: ArchiveName, settings: TableSettings) -> dict[str, Any]:
    """The table's columns of one archive."""
    chosen = replace(scaled_settings(name, settings.scale), seed=settings.seed, precision=settings.precision)
    folder = getattr(settings, f"{short(name)}_dir")
    archive = open_archive(folder, chosen.image_size, settings.seed)
    if archive.name != short(name) or archive.split is None:
        raise InputError(f"{folder} holds {archive.name} and not {name}: give each archive its own folder")
    check_pool(replace(chosen, max_labels=chosen.initial + chosen.budget), len(archive.split.pool))
    tiles = split_tiles(archive, with_few_to_evaluate(archive.split), settings.seed)
    selections = {query: prepare_selection(query, archive, tiles, chosen) for query in QUERIES}
    seconds: dict[str, list[float]] = {query: [] for query in QUERIES}
    for number in range(settings.rounds + 1):
        for query, selection in selections.items():
            seconds[query].append(selection.seconds())
        print(f"{name}: round {number} of {settings.rounds}", file=sys.stderr, flush=True)
    return {
        "tiles": len(selections["mge"].state.pool.unlabelled),
        "image_size": chosen.image_size,
        "budget": chosen.budget,
        "multiplier": chosen.multiplier,
        "rows": {
            query: {
                "seconds": statistics.median(seconds[query][1:]),  # the first warms up
                "all_seconds": seconds[query][1:],
                "paper_seconds": PAPER_SECONDS[name][query],
                "parameters": count_parameters(selection.state.variables or {}),
                "paper_parameters": PAPER_PARAMETERS[query],
            }
            for query, selection in selections.items()
        },
    }


def read_measured(path: Path, settings: Mapping[str, Any]) -> dict[ArchiveName, dict[str, Any]]:
    """The columns that a stopped command with the same settings has measured on this machine."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        columns: dict[ArchiveName, dict[str, Any]] = found.pop("archives")
    except (OSError, ValueError, AttributeError, KeyError, TypeError):  # none, or none that can be read
        return {}
    return columns if found == settings else {}


def with_few_to_evaluate(split: Split) -> Split:
    """The split with a batch of test and validation tiles: their evaluation is no part of a selection."""
    return Split(split.pool, split.validation[:64], split.test[:64])


def as_markdown(columns: Mapping[ArchiveName, Mapping[str, Any]], machine: str) -> str:
    """The paper's arrangement: a row per query function; for each archive parameters and seconds."""
    heads = [f"{name}: parameters | seconds | paper" for name in columns]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (1 + 3 * len(columns)) + "|"]
    for query in QUERIES:
        cells = []
        for column in columns.values():
            row = column["rows"][query]
            cells += [f"{row['parameters']:,}", f"{row['seconds']:.2f}", f"{row['paper_seconds']:.2f}"]
        lines.append(f"| {series_name(query, True)} | {' | '.join(cells)} |")
    shapes = "; ".join(
        f"{name}: {one['budget']} of {one['tiles']:,} tiles of {one['image_size']} x {one['image_size']} pixels, "
        f"m = {one['multiplier']}"
        for name, one in columns.items()
    )
    return "\n".join(lines) + f"\n\n{shapes}. {machine}.\n"


def main() -> None:
    """Measures and writes the table."""
    settings = read_options(TableSettings, "python -m experiments.table1", __doc__)
    if settings.rounds < 1:
        raise InputError("--rounds is at least 1: raise it")
    for name in PAPER_SECONDS:
        check_settings(replace(scaled_settings(name, settings.scale), seed=settings.seed))
    make_folder(settings.run_dir)
    prepare_process()
    folder = folder_of(settings.run_dir, "table1", settings.scale)
    machine = describe_machine()
    chosen = {name: getattr(settings, name) for name in ("scale", "rounds", "seed", "precision")}
    measured_with = {"table": "table1", **chosen, "machine": machine}
    columns = read_measured(folder / MEASURED, measured_with)
    for name in PAPER_SECONDS:
        if name not in columns:
            columns[name] = measure_archive(name, settings)
            make_folder(folder)
            with disk_errors(folder):
                write_atomically(folder / MEASURED, json.dumps({**measured_with, "archives": columns}, indent=2) + "\n")
    text = as_markdown(columns, ", ".join(f"{name} {value}" for name, value in machine.items()))
    with disk_errors(folder):
        write_atomically(folder / "table.md", text)
        (folder / MEASURED).replace(folder / "summary.json")
    print(f"{text}\ntable: {folder / 'table.md'}")


if __name__ == "__main__":
    command(main)
