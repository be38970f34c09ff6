"""Speed and peak memory with tiles in memory, in a cache and on disk.

    python -m tools.benchmark_reading --images DIR

Two tables for any folder of tiles, with random labels. The speed of reading alone, of scoring and of training: medians
of alternating rounds, also relative to tiles in memory. And the peak memory of one iteration (training and a pass over
the pool) for pools of several sizes, each in a process of its own.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aljax.commands.options import read_options
from aljax.commands.process import command, prepare_process
from aljax.data.archive import Archive, Split, Tiles, split_tiles
from aljax.data.archives.folder import open_folder
from aljax.data.archives.scanning import find_tiles
from aljax.data.storage import TilesIn, keep_tiles
from aljax.data.tiles.images import EncodedImages, stream
from aljax.errors import InputError
from aljax.networks.densenet import DenseNet121
from aljax.networks.model import Model, Variables, init_variables
from aljax.queries.shortlist import Shortlist
from aljax.system.files import check_output, disk_errors, make_folder, write_atomically
from aljax.training.fitting import begin_fit, fit
from aljax.training.prediction import predict_batches
from aljax.training.recipe import Recipe
from tools.workers import PeakMemory

NUM_CLASSES = 15
PLACES: tuple[TilesIn, ...] = ("memory", "cache", "disk")
TRAINED = 200


@dataclass(frozen=True)
class BenchmarkSettings:
    """What to measure."""

    images: Path  # folder of tiles
    image_size: int = 128  # height and width in pixels to which tiles are resized
    tiles: int = 256  # tiles in a round of the speed table
    rounds: int = 5  # rounds of the speed table
    batch_size: int = 10  # of the training steps; scoring takes what suits the tiles
    pools: tuple[int, ...] = (2000, 20000)  # numbers of tiles of the memory table
    pool_image_size: int = 64  # height and width in pixels in the memory table
    cache_dir: Path | None = None  # folder of the cache (default: ~/.cache/aljax/tiles)
    out: Path | None = None  # JSON file for the figures


Speeds = dict[str, float]
"""Tiles per second of one round: reading, scoring and training."""


def open_pool(settings: BenchmarkSettings, count: int, size: int, where: TilesIn) -> Tiles:
    """The folder's first tiles, with made-up labels, as the pool of an iteration."""
    archive = open_folder(settings.images, None, size)
    assert isinstance(archive.images, EncodedImages)
    images = replace(archive.images, names=archive.images.names[:count])
    labels = np.random.default_rng(0).integers(0, 2, (count, NUM_CLASSES), dtype=np.uint8)
    names = tuple(f"class{index}" for index in range(NUM_CLASSES))
    first = Archive(archive.name, images, labels, archive.ids[:count], names, f"{archive.digest}-{count}")
    rows = np.arange(count)
    return split_tiles(keep_tiles(first, where, settings.cache_dir), Split(rows, rows[:1], rows[:1]), seed=0).pool


def start(pool: Tiles) -> tuple[Model, Variables]:
    """DenseNet121 with fresh weights."""
    model = Model(DenseNet121(NUM_CLASSES))
    _, size, _, bands = pool.images.shape
    return model, init_variables(jax.random.key(0), model, size, bands)


def read(pool: Tiles, count: int, batch_size: int) -> None:
    """Reads the first tiles of a pool and touches every pixel."""
    for batch in stream(pool.images, np.arange(count), batch_size):
        batch.sum()


def score(model: Model, variables: Variables, pool: Tiles) -> None:
    """Predicts and scores all tiles of a pool, as a query does."""
    shortlist = Shortlist(60)
    for rows, batch in predict_batches(model, variables, pool, np.arange(pool.num_tiles)):
        shortlist.add(rows, batch.probabilities[:, 0], batch.embeddings)


def train(model: Model, variables: Variables, pool: Tiles, labelled: int, batch_size: int) -> None:
    """One epoch on the first tiles of a pool."""
    recipe = Recipe(epochs=1, batch_size=batch_size)
    mask = np.arange(pool.num_tiles) < labelled
    jax.block_until_ready(fit(model, recipe, begin_fit(recipe, variables), pool, mask, jax.random.key))


def rate(num_tiles: int, work: Callable[..., None], *arguments: Any) -> float:
    """Tiles per second."""
    started = time.perf_counter()
    work(*arguments)
    return num_tiles / (time.perf_counter() - started)


def measure_speeds(settings: BenchmarkSettings) -> dict[str, list[Speeds]]:
    """Rounds of each place, alternating, after one round of each to compile and to fill the cache."""
    pools = {where: open_pool(settings, settings.tiles, settings.image_size, where) for where in PLACES}
    started, batch_size = start(pools["memory"]), settings.batch_size
    count = settings.tiles // batch_size * batch_size
    rounds: dict[str, list[Speeds]] = {where: [] for where in PLACES}
    for number in range(settings.rounds + 1):
        for where, pool in pools.items():
            speeds = {"reading": rate(count, read, pool, count, batch_size)}
            speeds["scoring"] = rate(settings.tiles, score, *started, pool)
            speeds["training"] = rate(count, train, *started, pool, count, batch_size)
            if number:
                rounds[where].append(speeds)
    return rounds


def measure_memory(settings: BenchmarkSettings, pool_size: int, where: TilesIn) -> int:
    """Peak memory in bytes of one iteration on a pool; runs in a process of its own."""
    prepare_process()
    with PeakMemory() as peak:
        pool = open_pool(settings, pool_size, settings.pool_image_size, where)
        started = start(pool)
        train(*started, pool, TRAINED, settings.batch_size)
        score(*started, pool)
    return peak.bytes


def speed_table(rounds: dict[str, list[Speeds]]) -> str:
    """Medians with their range, and the share of the speed from memory."""
    names = list(rounds["memory"][0])
    lines = [f"{'tiles in':<9}" + "".join(f"{name + ', tiles/s':>32}" for name in names)]
    for where in rounds:
        line = f"{where:<9}"
        for name in names:
            values, from_memory = ([speeds[name] for speeds in rounds[place]] for place in (where, "memory"))
            median = statistics.median(values)
            cell = f"{median:>10.1f} ({min(values):.0f}-{max(values):.0f})"
            line += f"{cell + f' {median / statistics.median(from_memory):>6.0%}':>32}"
        lines.append(line)
    return "\n".join(lines)


def measure_memories(settings: BenchmarkSettings) -> dict[str, dict[int, int]]:
    """Peak bytes for each place and size of pool, printed as they come."""
    print(f"\npeak memory of an iteration in MiB, {settings.pool_image_size} px, memory-mapped files apart")
    print(f"{'tiles in':<9}" + "".join(f"{f'{size} tiles':>14}" for size in settings.pools))
    peaks: dict[str, dict[int, int]] = {}
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as process:
        # Compiling takes memory too: the first process leaves its programs to the others.
        process.submit(measure_memory, settings, TRAINED, "disk").result()
        for where in PLACES:
            found = [process.submit(measure_memory, settings, size, where) for size in settings.pools]
            peaks[where] = {size: peak.result() for size, peak in zip(settings.pools, found, strict=True)}
            print(f"{where:<9}" + "".join(f"{peak / 2**20:>14.0f}" for peak in peaks[where].values()), flush=True)
    return peaks


def main() -> None:
    """Measures and prints."""
    settings = read_options(BenchmarkSettings, "python -m tools.benchmark_reading", __doc__)
    if settings.batch_size < 2 or settings.rounds < 1 or min(settings.image_size, settings.pool_image_size) < 32:
        raise InputError("--batch-size is at least 2, --rounds at least 1, sizes at least 32: raise them")
    if settings.tiles < settings.batch_size or not settings.pools or min(settings.pools) < TRAINED:
        raise InputError(f"--tiles is at least --batch-size, --pools names pools of at least {TRAINED} tiles")
    found = len(find_tiles(settings.images).names)
    if found < max(settings.tiles, *settings.pools):
        raise InputError(f"{settings.images} holds {found} tiles: lower --tiles and --pools, or give more")
    if settings.out is not None:
        make_folder(settings.out.parent)
        check_output(settings.out)
    prepare_process()
    device = f"{jax.devices()[0].device_kind}, {os.cpu_count()} CPU cores"
    rounds = measure_speeds(settings)
    print(f"{settings.image_size} px, {settings.tiles} tiles, {settings.rounds} rounds, {device}")
    print(speed_table(rounds), flush=True)
    peaks = measure_memories(settings)
    if settings.out is not None:
        figures = {"device": device, "image_size": settings.image_size, "tiles_per_second": rounds}
        figures |= {"pool_image_size": settings.pool_image_size, "peak_bytes": peaks}
        with disk_errors(settings.out):
            write_atomically(settings.out, json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    command(main)
