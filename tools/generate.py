"""Generates an archive of synthetic forests in the layout of TreeSatAI (aerial tiles of 60 m).

    python -m tools.generate --out data/forests --tiles 2000

For experiments at any size and for tests, where the real archive is too large to download; results on it say nothing
about real forests. A tile of 304 pixels takes 370 kB of disk, 2,000 tiles 740 MB. The command may be stopped and
repeated: existing tiles are kept. The same settings give the same tiles on every machine.
"""

import errno
import json
import math
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import rasterio
from tqdm import tqdm

from aljax.commands.options import read_options
from aljax.data.archives import treesatai
from aljax.data.generated.forest_plan import plan
from aljax.data.generated.forests import LEAST_SIZE, SIDE_M, Areas, Tile, areas, render
from aljax.data.tiles.decoding import MAX_PIXELS
from aljax.errors import InputError
from aljax.system.files import remove_leftovers, write_atomically
from aljax.system.machine import usable_cores
from tools.workers import end_with_parent

DRAWING = 1  # version of the generator; increased when equal settings give other tiles
TILES = treesatai.TILE_FOLDERS[0]
LABELS = treesatai.LABEL_PLACES[0]
LISTS = tuple(treesatai.LISTS.values())
BATCH = 25  # tiles that a process takes at a time
CORNER = (540_000.0, 5_800_000.0)  # metres in UTM zone 32, Lower Saxony


@dataclass(frozen=True)
class Settings:
    """What is generated, and where."""

    out: Path  # folder for the archive; one that this command began is continued
    tiles: int = 2000  # number of tiles
    seed: int = 0  # of everything that is drawn
    test_share: float = 0.1  # part of the tiles that goes into the test list, the rest into the train list
    size: int = 304  # height and width of a tile in pixels; it shows the same 60.8 m at every size
    compress: bool = False  # deflate inside the GeoTIFFs: about a quarter less disk, slower to write and read
    processes: int = 0  # tiles drawn at the same time; 0: one per processor core


def check(settings: Settings) -> None:
    """Raises InputError for a setting that can never work."""
    for name, least in {"tiles": 2, "seed": 0, "size": LEAST_SIZE, "processes": 0}.items():
        if (value := getattr(settings, name)) < least:
            raise InputError(f"--{name} is {value}: it must be at least {least}")
    if settings.size**2 > MAX_PIXELS:
        raise InputError(f"--size is {settings.size}: it must be at most {math.isqrt(MAX_PIXELS)}")
    if not 0.0 < settings.test_share < 1.0:
        raise InputError(f"--test-share is {settings.test_share}: it must lie between 0 and 1")


def generate(settings: Settings) -> dict[str, Areas]:
    """Writes the archive, or its missing files, and returns its labels: areas of genera by file name."""
    check(settings)
    claim(settings)
    with _writing_to(settings.out):
        (settings.out / TILES).mkdir(parents=True, exist_ok=True)
        (settings.out / LABELS).parent.mkdir(exist_ok=True)
        labels = dict(tqdm(_written(settings), "tiles", settings.tiles, unit="tile", disable=None, smoothing=0.05))
        remove_leftovers(settings.out / TILES)
        # Written last: an archive with labels and lists is complete.
        write_atomically(settings.out / LABELS, json.dumps(labels))
        tiles = sorted(labels)
        num_test = min(max(round(settings.test_share * len(tiles)), 1), len(tiles) - 1)  # each list gets at least one
        order = np.random.default_rng([settings.seed, 0x5917]).permutation(tiles).tolist()
        for name, listed in zip(LISTS, (order[num_test:], order[:num_test]), strict=True):
            write_atomically(settings.out / name, "".join(f"{tile}\r\n" for tile in sorted(listed)))
    return labels


def claim(settings: Settings) -> None:
    """Writes the settings into a new folder, or compares them with those in it. Raises InputError if they differ."""
    out, mark = settings.out, settings.out / treesatai.GENERATED
    wanted: dict[str, object] = {"drawing": DRAWING, **asdict(settings)}
    del wanted["out"], wanted["processes"]  # the rest identifies the archive
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give --out a folder")
    if not mark.exists():
        if out.exists() and any(not entry.name.startswith(".") for entry in out.iterdir()):
            raise InputError(f"{out} is not empty and was not generated here (no {mark.name}): choose another --out")
        with _writing_to(out):
            out.mkdir(parents=True, exist_ok=True)
            write_atomically(mark, json.dumps(wanted, indent=2) + "\n")
        return
    try:
        found = dict(json.loads(mark.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{mark} is not readable ({error}): choose another --out") from error
    differences = [
        f"{name} is {wanted.get(name)} here and {found.get(name)} there"
        for name in dict.fromkeys((*wanted, *found))
        if wanted.get(name) != found.get(name)
    ]
    if differences:
        raise InputError(
            f"{out} holds an archive with other settings ({'; '.join(differences)}): "
            "repeat them or choose another --out"
        )


def _written(settings: Settings) -> Iterator[tuple[str, Areas]]:
    """Writes every tile that is missing; yields (file name, areas) in the order of the tiles."""
    write = partial(write_tile, settings)
    processes = min(settings.processes or usable_cores(), -(-settings.tiles // BATCH))
    if processes == 1:
        return (yield from map(write, range(settings.tiles)))
    # Spawned, not forked: a fork copies the locks of whatever threads the parent has.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_ignore_interrupts)
    try:
        yield from pool.map(write, range(settings.tiles), chunksize=BATCH)
    except BrokenProcessPool as error:
        raise InputError("a drawing process was killed, perhaps for memory: try fewer --processes") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def write_tile(settings: Settings, index: int) -> tuple[str, Areas]:
    """Writes a tile unless its file is complete; returns its file name and areas."""
    path = settings.out / TILES / plan(settings.seed, index).name
    if is_complete(path, settings.size, settings.compress):
        return path.name, areas(settings.seed, index, settings.size)
    tile = render(settings.seed, index, settings.size)
    write_atomically(path, encode(tile, index, settings.compress))
    return path.name, tile.areas


def is_complete(path: Path, size: int, compress: bool) -> bool:
    """Whether the file is a tile of that size with all of its pixels."""
    # Without compression the size of a file shows that it is too short; with compression only decoding does.
    if not path.is_file() or (not compress and path.stat().st_size < 4 * size * size):
        return False
    try:
        with rasterio.open(path) as file:
            same = (*file.shape, *file.dtypes) == (size, size, *4 * ["uint8"])
            return same and (not compress or file.read().size > 0)
    except rasterio.errors.RasterioError:
        return False


def encode(tile: Tile, index: int, compress: bool) -> bytes:
    """The tile as a GeoTIFF (IR, G, B, R in EPSG:25832); tiles lie side by side in rows of 200."""
    size, (row, column) = len(tile.pixels), divmod(index, 200)
    metres = 0.2 * (304 / size)  # per pixel; this order of operations gives exactly 0.2 for 304 pixels
    place = rasterio.Affine(metres, 0.0, CORNER[0] + column * SIDE_M, 0.0, -metres, CORNER[1] - row * SIDE_M)
    bands, dtype = treesatai.FORM
    form = {"width": size, "height": size, "count": bands, "dtype": dtype, "crs": "EPSG:25832", "transform": place}
    options = {"photometric": "MINISBLACK", **({"compress": "deflate", "predictor": 2} if compress else {})}
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", **form, **options) as file:
            file.write(np.moveaxis(tile.pixels, 2, 0))
        return bytes(memory.getbuffer())


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = "free some and repeat the command" if error.errno == errno.ENOSPC else "choose another --out"
        raise InputError(f"cannot write to {folder} ({error.strerror or error}): {advice}") from error


def report(settings: Settings, labels: dict[str, Areas]) -> str:
    """The number of tiles per genus and without any, and the disk space, as text."""
    counts = Counter[str]()
    for rows in labels.values():
        counts.update(np.array(treesatai.GENERA)[treesatai.genus_labels(rows).astype(bool)].tolist() or ["none"])
    empty = counts.pop("none", 0)
    lines = [f"{genus:12s} {count:7d} tiles" for genus, count in counts.most_common()]
    space = sum(path.stat().st_size for path in (settings.out / TILES).glob("*.tif"))
    none = f"{'none':12s} {empty:7d} tiles (no genus covers more than {treesatai.AREA_THRESHOLD:.0%})"
    return "\n".join([*lines, none, f"{settings.out}: {len(labels)} tiles, {space / 1e6:,.0f} MB"])


def main() -> None:
    """Parses the command line, generates and reports."""
    settings = read_options(Settings, "python -m tools.generate", __doc__)
    try:
        print(report(settings, generate(settings)))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on with the tiles that are missing", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    from aljax.commands.process import command

    command(main)
