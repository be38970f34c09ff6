"""Which query saves labels in which regime: queries and both first batches, on frozen features and from random weights.

    python -m experiments.regimes --ucmerced-features F.npz --ucmerced-labels LandUse_Multilabeled.txt \\
        --aid-features G.npz --aid-labels aid_labels.csv --aid-splits aid_splits.csv
    python -m experiments.regimes --ucmerced-dir data/ucmerced --regimes ucmerced-flat-64px ucmerced-tail-64px

A regime is an archive, a pool (unchanged, "flat", or long-tailed), a budget, and what learns. In each one every query
starts from a random first batch and from one that covers the pool, with a logistic head on the features, in the same
twenty trials. In the regimes with 64 pixels DenseNet121 learns from random weights as in the figures at
small scale, with a warm or a cold start, in eight trials; these take hours of two CPU cores.
UC Merced has the split sizes of the paper, AID its published test set. In the long-tailed pool, scene k of 21 (in an
order drawn once, k from 0) keeps (k + 1)^-0.9 of its tiles. Settings (L2, normalisation) were chosen on tiles of UC
Merced held back in another split, and not chosen for AID. A command that was stopped goes on when it is repeated.
Writes pictures and the numbers of each regime, a map of all, and tables in Markdown: F1 at the threshold 0.5 and at the
one that is fitted to the validation tiles, and mean average precision.
"""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from aljax.commands.options import read_options
from aljax.commands.process import command, prepare_process
from aljax.data.archive import Archive, Split, random_split
from aljax.data.archives.ucmerced import SPLIT_SIZES, open_ucmerced, read_labels
from aljax.data.features import open_features
from aljax.data.labels import CsvLabels
from aljax.data.storage import keep_tiles
from aljax.errors import InputError
from aljax.keys import Purpose, derive_key
from aljax.loop.constant import from_config
from aljax.loop.settings import FEATURES, Settings
from aljax.networks.densenet import DenseNet121
from aljax.networks.head import Head
from aljax.queries.table import QUERIES
from aljax.runs.experiment import run_experiment
from aljax.runs.run_dir import FinishedRun, read_finished
from aljax.system.files import make_folder
from aljax.system.side_by_side import Job, find_places, run_jobs
from aljax.training.recipe import Recipe
from experiments.regime_report import BASELINE, write_histories, write_map, write_regime
from experiments.scales import SMALL_RECIPE

MULTIPLIER = 2  # m of the clusters, chosen on validation tiles
TAIL = 0.9  # exponent of the long-tailed pool
FIRSTS = ("random", "coverage")


class Regime(NamedTuple):
    """A setting in which queries are compared."""

    title: str
    archive: str
    long_tailed: bool
    initial: int
    budget: int
    max_labels: int
    trials: int = 20
    image_size: int = FEATURES
    """Of the tiles on which DenseNet121 is trained from random weights; `FEATURES`: a head is fitted to features."""
    start: Literal["warm", "cold"] = "warm"

    @property
    def on_features(self) -> bool:
        return self.image_size == FEATURES


REGIMES: Mapping[str, Regime] = {
    "ucmerced-flat": Regime("UC Merced", "ucmerced", False, 40, 20, 400),
    "ucmerced-tail": Regime("UC Merced, long-tailed pool", "ucmerced", True, 20, 10, 140),
    "aid-flat": Regime("AID", "aid", False, 40, 20, 400),
    "ucmerced-flat-64px": Regime("UC Merced, from random weights", "ucmerced", False, 40, 40, 200, 8, 64),
    "ucmerced-cold-64px": Regime(
        "UC Merced, from random weights in each iteration", "ucmerced", False, 40, 40, 200, 8, 64, "cold"
    ),
    "ucmerced-tail-64px": Regime(
        "UC Merced, long-tailed pool, from random weights", "ucmerced", True, 20, 30, 140, 8, 64
    ),
}


@dataclass(frozen=True, kw_only=True)
class RegimeSettings:
    """Settings of the comparison."""

    ucmerced_features: Path | None = None  # features of UC Merced's tiles, with their ids
    ucmerced_labels: Path | None = None  # LandUse_Multilabeled.txt
    ucmerced_dir: Path | None = None  # folder with UCMerced_LandUse and LandUse_Multilabeled.txt, or their zips
    aid_features: Path | None = None  # features of AID's tiles
    aid_labels: Path | None = None  # their labels, CSV with id,CLASS,...
    aid_splits: Path | None = None  # CSV with id,scene,split
    run_dir: Path = Path("runs/regimes")  # folder for the runs, and for pictures and numbers
    trials: int = 0  # of each query and first batch; 0: twenty, eight from random weights
    seed: int = 0  # of every random draw
    queries: tuple[str, ...] = tuple(name for name in QUERIES if name != "residual")  # on features residual is MGE
    firsts: tuple[str, ...] = FIRSTS  # first batches
    regimes: tuple[str, ...] = tuple(name for name, regime in REGIMES.items() if regime.on_features)  # the ones to run
    jobs: int = 0  # runs side by side; 0: one per CPU core
    part: str = ""  # make one run alone, such as aid-flat/rarity/coverage, as the processes that this command starts do


def open_regime(settings: RegimeSettings, regime: Regime) -> tuple[Archive, Split]:
    """The archive of a regime, features with labels, and its split. Raises InputError if files do not fit together."""
    if regime.archive == "aid":
        return open_aid(settings)
    if regime.on_features:
        file = need(settings, "ucmerced_labels")
        table = read_labels(file)
        places = tuple(f"{file}: {tile}" for tile in table.ids)
        labels = CsvLabels(table.ids, table.class_names, table.labels, None, places)
        archive = open_features(need(settings, "ucmerced_features"), labels)
    else:
        archive = keep_tiles(open_ucmerced(need(settings, "ucmerced_dir"), regime.image_size), "auto", None)
    # The same file under two names stays in one part.
    copy_of = np.arange(len(archive.ids))
    copy_of[archive.ids.index("airplane02")] = archive.ids.index("airplane01")
    split = random_split(settings.seed, len(archive.ids), *SPLIT_SIZES, copy_of=copy_of)
    if regime.long_tailed:
        scenes = [tile.rstrip("0123456789") for tile in archive.ids]
        split = split._replace(pool=long_tail(split.pool, scenes, settings.seed))
    return archive, split


def need(settings: RegimeSettings, name: str) -> Path:
    """The path in a setting. Raises InputError if it is not given."""
    path: Path | None = getattr(settings, name)
    if path is None:
        raise InputError(f"give --{name.replace('_', '-')}, or leave its archive out of --regimes")
    return path


def open_aid(settings: RegimeSettings) -> tuple[Archive, Split]:
    """AID with its published test set, a pool of 1,500 of its training tiles, and all other tiles for validation."""
    archive = open_features(need(settings, "aid_features"), need(settings, "aid_labels"))
    splits = need(settings, "aid_splits")
    with splits.open(encoding="utf-8", newline="") as file:
        part = {row["id"]: row["split"] for row in csv.DictReader(file)}
    if missing := [tile for tile in archive.ids if tile not in part]:
        raise InputError(f"{splits} has no split for {missing[0]}: give the file of the same archive")
    train, val, test = (
        np.flatnonzero([part[tile] == name for tile in archive.ids]) for name in ("train", "val", "test")
    )
    order = np.asarray(jax.random.permutation(derive_key(settings.seed, Purpose.SPLIT), len(train)))
    held_back = len(train) - 1500
    validation = np.sort(np.concatenate([val, train[order[:held_back]]]))
    return archive, Split(np.sort(train[order[held_back:]]), validation, test)


def long_tail(pool: np.ndarray, scenes: Sequence[str], seed: int) -> np.ndarray:
    """A long-tailed part of the pool: scene k, from 0 in random order, keeps (k + 1)^-`TAIL` of its tiles."""
    names = sorted({scenes[tile] for tile in pool})
    order_key, tiles_key = jax.random.split(derive_key(seed, Purpose.SPLIT, trial=1))
    kept = []
    for rank, place in enumerate(np.asarray(jax.random.permutation(order_key, len(names))).tolist()):
        tiles = np.array([tile for tile in pool if scenes[tile] == names[place]])
        count = max(round(len(tiles) * (rank + 1) ** -TAIL), 1)
        shuffled = np.asarray(jax.random.permutation(jax.random.fold_in(tiles_key, place), len(tiles)))
        kept.append(tiles[shuffled[:count]])
    return np.sort(np.concatenate(kept))


def settings_of(settings: RegimeSettings, regime: Regime, query: str, first: str) -> Settings:
    """The settings of a run, without its folder."""
    return Settings(
        run_dir=Path(),
        query=query,
        start=regime.start,
        first="coverage" if first == "coverage" else "random",
        trials=settings.trials or regime.trials,
        initial=regime.initial,
        budget=regime.budget,
        multiplier=MULTIPLIER,
        max_labels=regime.max_labels,
        seed=settings.seed,
        image_size=regime.image_size,
        recipe=Recipe(batch_size=2) if regime.on_features else SMALL_RECIPE,
    )


def make_part(settings: RegimeSettings) -> None:
    """Makes or continues the run `settings.part`."""
    name, query, first = settings.part.split("/")
    archive, split = open_regime(settings, REGIMES[name])
    chosen = replace(
        settings_of(settings, REGIMES[name], query, first), run_dir=settings.run_dir / "runs" / settings.part
    )
    network = Head if REGIMES[name].on_features else DenseNet121
    run_experiment(chosen, archive, split, network(len(archive.class_names)))


def parts_of(settings: RegimeSettings, name: str) -> list[str]:
    """The runs of a regime, as values of --part."""
    return [f"{name}/{query}/{first}" for first in settings.firsts for query in settings.queries]


def finish(settings: RegimeSettings) -> dict[str, FinishedRun]:
    """Makes the runs that are missing, side by side, and reads all."""
    parts = [part for name in settings.regimes for part in parts_of(settings, name)]
    folder = settings.run_dir / "runs"
    missing = [part for part in parts if not (folder / part / "summary.json").exists()]
    for part in missing:
        make_folder((folder / part).parent)
    jobs = [Job([*sys.orig_argv, "--part", part], folder / f"{part}.log") for part in missing]
    done = 0

    def report(ended: int) -> None:
        nonlocal done
        if ended > done:
            print(f"{len(parts) - len(missing) + ended} of {len(parts)} runs", file=sys.stderr, flush=True)
            done = ended

    if jobs:
        run_jobs(jobs, find_places(settings.jobs), report)
    found = {part: read_finished(folder / part) for part in parts}
    if unfinished := [part for part, run in found.items() if run is None]:
        raise InputError(f"{folder / unfinished[0]} has not ended: repeat the command")
    return {part: run for part, run in found.items() if run is not None}


def main() -> None:
    """Makes the runs, then pictures, numbers and tables."""
    settings = read_options(RegimeSettings, "python -m experiments.regimes", __doc__)
    if unknown := {*settings.regimes} - {*REGIMES}:
        raise InputError(f"--regimes {' '.join(sorted(unknown))}: the regimes are {', '.join(REGIMES)}")
    if unknown := {*settings.firsts} - {*FIRSTS}:
        raise InputError(f"--firsts {' '.join(sorted(unknown))}: the first batches are {', '.join(FIRSTS)}")
    if "random" not in settings.queries or "random" not in settings.firsts:
        raise InputError("--queries and --firsts are without random, which all others are compared with: add it")
    if settings.part:
        prepare_process()
        make_part(settings)
        return
    finished = finish(settings)
    summaries: dict[str, Any] = {}
    for name in settings.regimes:
        regime, archive_split = REGIMES[name], open_regime(settings, REGIMES[name])
        parts = {part: part.split("/")[1:] for part in parts_of(settings, name)}
        runs = {(query, first): finished[part] for part, (query, first) in parts.items()}
        histories = {series: run.history for series, run in runs.items()}
        constant = from_config(runs[BASELINE].config)
        summaries[name] = write_regime(settings.run_dir / name, regime.title, histories, *archive_split, constant)
        write_histories(settings.run_dir / name, runs)
    write_map(settings.run_dir, {name: REGIMES[name].title for name in settings.regimes}, summaries)
    print(json.dumps({name: one["best"] for name, one in summaries.items()}, indent=2))
    print(f"table: {settings.run_dir / 'table.md'}; map: {settings.run_dir / 'map.png'}")


if __name__ == "__main__":
    command(main)
