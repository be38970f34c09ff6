"""The archive of a played project: generated scenes or UC Merced as GeoTIFFs side by side, and features of them."""

import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio

from aljax.commands.main import main as run_command
from aljax.data.archive import Archive
from aljax.data.archives.ucmerced import open_ucmerced
from aljax.data.features.reader import read_features
from aljax.data.features.writer import write_features
from aljax.data.generated.scenes import generate_scenes
from aljax.data.labels import to_text
from aljax.errors import InputError
from aljax.networks.densenet import DenseNet
from tools.played_people import People

SIDE = 76.8  # of a tile in metres: 256 pixels of 0.3 m
APART = 50.0  # metres: more than between neighbours, less than to the tile after
CORNER = 480000.0, 3620000.0  # of the mosaic, in the zone EPSG:32611
SCENES_ELSEWHERE = 400  # on half of which the network of the features is trained


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to play."""

    out: Path  # folder for all that is made; a new one
    ucmerced_dir: Path | None = None  # folder of UC Merced; None: generated scenes
    features: Path | None = None  # of the tiles, by their names in the archive; None: of a small network, trained first
    label_studio: bool = False  # start a real Label Studio, on this machine
    tiles: int = 600  # of the archive, at most
    pixels: int = 64  # height and width of generated scenes
    initial: int = 40  # tiles of the first round to train on
    test: int = 60  # and to measure with
    budget: int = 20  # tiles of the other rounds
    seed: int = 0  # of all draws


def aljax(*words: object) -> None:
    """Runs a command as the command line does; if it fails, the script ends with its status."""
    before, sys.argv = sys.argv, ["aljax", *map(str, words)]
    print(f"\n$ {shlex.join(sys.argv)}", flush=True)
    try:
        run_command()
    finally:
        sys.argv = before


def quick_network(num_classes: int) -> DenseNet:
    """A network that trains in a minute."""
    return DenseNet(num_classes=num_classes, depths=(2, 2, 2), growth=16, stem_channels=16)


def write_tiles(folder: Path, archive: Archive, places: Iterable[tuple[int, int]], rows: Iterable[int]) -> None:
    """Writes tiles side by side as GeoTIFF."""
    folder.mkdir(parents=True)
    for row, (down, right) in zip(rows, places, strict=True):
        pixels = np.asarray(archive.images[row])
        step = SIDE / len(pixels)
        where = rasterio.Affine(step, 0.0, CORNER[0] + SIDE * right, 0.0, -step, CORNER[1] - SIDE * down)
        form = {"driver": "GTiff", "width": len(pixels), "height": len(pixels), "count": 3, "dtype": "uint8"}
        with rasterio.open(folder / f"{archive.ids[row]}.tif", "w", crs="EPSG:32611", transform=where, **form) as file:
            file.write(np.moveaxis(pixels, -1, 0))


def open_archive(settings: Settings) -> tuple[People, dict[str, tuple[int, int]]]:
    """Writes the tiles in random order, and their features; the people who know what they show, and the tiles' places.

    Raises InputError for a folder that has files.
    """
    if settings.out.exists() and any(settings.out.iterdir()):
        raise InputError(f"{settings.out} has files: name another --out, or remove it")
    folder, seed = settings.ucmerced_dir, settings.seed
    archive = open_ucmerced(folder, 256) if folder else generate_scenes(settings.tiles, settings.pixels, seed)
    rows = np.random.default_rng(seed).permutation(len(archive.ids))[: settings.tiles].tolist()
    width = int(np.ceil(len(rows) ** 0.5))
    places = [divmod(number, width) for number in range(len(rows))]
    write_tiles(settings.out / "tiles", archive, places, rows)
    names = [archive.ids[row] for row in rows]
    make_features(settings) if settings.features is None else rename_features(settings, names)
    tiles = [f"{name}.tif" for name in names]
    truth = [dict(zip(archive.class_names, archive.labels[row].tolist(), strict=True)) for row in rows]
    people = People(seed, dict(zip(tiles, truth, strict=True)), list(archive.class_names))
    return people, dict(zip(tiles, places, strict=True))


def rename_features(settings: Settings, names: list[str]) -> None:
    """Writes the features that are given by the names of the tiles' files."""
    assert settings.features is not None
    found = read_features(settings.features)
    rows = {tile: row for row, tile in enumerate(found.ids or ())}
    vectors = np.asarray(found.vectors)[[rows[name] for name in names]]
    write_features(settings.out / "features.npz", [f"{name}.tif" for name in names], vectors, "float32")


def make_features(settings: Settings) -> None:
    """Trains a small network on other scenes, and has it make features of the tiles."""
    elsewhere, labels, trained = (settings.out / name for name in ("elsewhere", "elsewhere.csv", "trained"))
    archive = generate_scenes(SCENES_ELSEWHERE, settings.pixels, settings.seed + 1)
    write_tiles(elsewhere, archive, [(0, column) for column in range(SCENES_ELSEWHERE)], range(SCENES_ELSEWHERE))
    rows = ((f"{tile}.tif", *cells) for tile, cells in zip(archive.ids, archive.labels.tolist(), strict=True))
    labels.write_text(to_text(("id", *archive.class_names), rows))
    half = SCENES_ELSEWHERE // 2
    sizes = ["--trials", 1, "--initial", half, "--max-labels", half, "--epochs", 30, "--image-size", settings.pixels]
    network = ["--network", "tools.played_archive:quick_network", "--run-dir", trained]
    aljax("run", "--images", elsewhere, "--labels", labels, "--query", "random", *sizes, *network)
    aljax("embed", "--images", settings.out / "tiles", "--run-dir", trained, "--out", settings.out / "features.npz")
