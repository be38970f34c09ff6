"""Which query saves labels in which regime: all queries and both first batches, on frozen features of two archives.

    python -m experiments.regimes --ucmerced-features F.npz --ucmerced-labels LandUse_Multilabeled.txt \\
        --aid-features G.npz --aid-labels aid_labels.csv --aid-splits aid_splits.csv

A regime is an archive, a pool (unchanged, "flat", or long-tailed) and a budget. In each one every query starts from a
random first batch and from one that covers the pool, with a logistic head on the features, in the same twenty trials.
UC Merced has the split sizes of the paper, AID its published test set. In the long-tailed pool, scene k of 21 (in an
order drawn once, k from 0) keeps (k + 1)^-0.9 of its tiles. Settings (L2, normalisation) were chosen on tiles of UC
Merced held back in another split, and not chosen for AID. A command that was stopped goes on when it is repeated.
Writes a picture and the numbers of each regime, a map of all, and a table in Markdown.
"""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from aljax.commands.options import read_options
from aljax.commands.process import command, prepare_process
from aljax.data.archive import Archive, Split, random_split
from aljax.data.archives.ucmerced import SPLIT_SIZES, read_labels
from aljax.data.features import open_features
from aljax.data.labels import CsvLabels
from aljax.errors import InputError
from aljax.keys import Purpose, derive_key
from aljax.loop.settings import FEATURES, Settings
from aljax.networks.head import Head
from aljax.queries.table import QUERIES
from aljax.runs.experiment import run_experiment
from aljax.runs.run_dir import FinishedRun, read_finished
from aljax.system.files import make_folder
from aljax.system.side_by_side import Job, find_places, run_jobs
from aljax.training.recipe import Recipe
from experiments.regime_report import write_histories, write_map, write_regime

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


REGIMES: Mapping[str, Regime] = {
    "ucmerced-flat": Regime("UC Merced", "ucmerced", False, 40, 20, 400),
    "ucmerced-tail": Regime("UC Merced, long-tailed pool", "ucmerced", True, 20, 10, 140),
    "aid-flat": Regime("AID", "aid", False, 40, 20, 400),
}


@dataclass(frozen=True, kw_only=True)
class RegimeSettings:
    """Settings of the comparison."""

    ucmerced_features: Path  # features of UC Merced's tiles, with their ids
    ucmerced_labels: Path  # LandUse_Multilabeled.txt
    aid_features: Path  # features of AID's tiles
    aid_labels: Path  # their labels, CSV with id,CLASS,...
    aid_splits: Path  # CSV with id,scene,split
    run_dir: Path = Path("runs/regimes")  # folder for the runs, and for pictures and numbers
    trials: int = 20  # of each query and first batch
    seed: int = 0  # of every random draw
    queries: tuple[str, ...] = tuple(QUERIES)  # the ones to compare; random is what they are compared with
    regimes: tuple[str, ...] = tuple(REGIMES)  # the ones to run
    jobs: int = 0  # runs side by side; 0: one per CPU core
    part: str = ""  # make one run alone, such as aid-flat/rarity/coverage, as the processes that this command starts do


def open_regime(settings: RegimeSettings, regime: Regime) -> tuple[Archive, Split]:
    """The archive of a regime, features with labels, and its split. Raises InputError if files do not fit together."""
    if regime.archive == "aid":
        return open_aid(settings)
    table = read_labels(settings.ucmerced_labels)
    places = tuple(f"{settings.ucmerced_labels}: {tile}" for tile in table.ids)
    labels = CsvLabels(table.ids, table.class_names, table.labels, None, places)
    archive = open_features(settings.ucmerced_features, labels)
    # airplane01 and airplane02 of the archive are the same file: they stay in one part.
    split = random_split(settings.seed, len(archive.ids), *SPLIT_SIZES, copy_of=archive.copy_of)
    if regime.long_tailed:
        scenes = [tile.rstrip("0123456789") for tile in archive.ids]
        split = split._replace(pool=long_tail(split.pool, scenes, settings.seed))
    return archive, split


def open_aid(settings: RegimeSettings) -> tuple[Archive, Split]:
    """AID with its published test set, a pool of 1,500 of its training tiles, and all other tiles for validation."""
    archive = open_features(settings.aid_features, settings.aid_labels)
    with settings.aid_splits.open(encoding="utf-8", newline="") as file:
        part = {row["id"]: row["split"] for row in csv.DictReader(file)}
    if missing := [tile for tile in archive.ids if tile not in part]:
        raise InputError(f"{settings.aid_splits} has no split for {missing[0]}: give the file of the same archive")
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
        first="coverage" if first == "coverage" else "random",
        trials=settings.trials,
        initial=regime.initial,
        budget=regime.budget,
        multiplier=MULTIPLIER,
        max_labels=regime.max_labels,
        seed=settings.seed,
        image_size=FEATURES,
        recipe=Recipe(batch_size=2),
    )


def make_part(settings: RegimeSettings) -> None:
    """Makes or continues the run `settings.part`."""
    name, query, first = settings.part.split("/")
    archive, split = open_regime(settings, REGIMES[name])
    chosen = replace(
        settings_of(settings, REGIMES[name], query, first), run_dir=settings.run_dir / "runs" / settings.part
    )
    run_experiment(chosen, archive, split, Head(len(archive.class_names)))


def parts_of(settings: RegimeSettings, name: str) -> list[str]:
    """The runs of a regime, as values of --part."""
    return [f"{name}/{query}/{first}" for first in FIRSTS for query in settings.queries]


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
    if settings.part:
        prepare_process()
        make_part(settings)
        return
    finished = finish(settings)
    summaries: dict[str, Any] = {}
    for name in settings.regimes:
        regime, archive_split = REGIMES[name], open_regime(settings, REGIMES[name])
        runs = {(query, first): finished[f"{name}/{query}/{first}"] for first in FIRSTS for query in settings.queries}
        histories = {series: run.history for series, run in runs.items()}
        summaries[name] = write_regime(settings.run_dir / name, regime.title, histories, *archive_split)
        write_histories(settings.run_dir / name, runs)
    write_map(settings.run_dir, {name: REGIMES[name].title for name in settings.regimes}, summaries)
    print(json.dumps({name: one["best"] for name, one in summaries.items()}, indent=2))
    print(f"table: {settings.run_dir / 'table.md'}; map: {settings.run_dir / 'map.png'}")


if __name__ == "__main__":
    command(main)
