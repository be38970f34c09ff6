"""Writing small archives in the layouts of their publishers, for tests."""

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from tools.generate import Settings, generate

HEADER = ["IMAGE\\LABEL", *(f"class{index}" for index in range(17))]
UCMERCED_TILES = ("beach00", "beach01", "river00", "river01", "forest00", "forest01")


def write_table(path: Path, rows: list[list[str]]) -> None:
    """UC Merced's label table with the given rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join("\t".join(row) + "\r\n" for row in [HEADER, *rows]).encode())


def label_row(tile: str, seed: int) -> list[str]:
    """A row of that table with labels drawn by the seed."""
    return [tile, *map(str, np.random.default_rng(seed).integers(0, 2, 17))]


def write_ucmerced(folder: Path) -> Path:
    """Six tiles in the official layout; one has another size, as 44 of the real ones have."""
    rng = np.random.default_rng(0)
    for number, tile in enumerate(UCMERCED_TILES):
        path = folder / "UCMerced_LandUse" / "Images" / tile[:-2] / f"{tile}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        side = 251 if number == 3 else 256
        Image.fromarray(rng.integers(0, 256, (side, 256, 3), dtype=np.uint8)).save(path)
    rows = [label_row(tile, number) for number, tile in enumerate(UCMERCED_TILES)]
    write_table(folder / "multilabels" / "LandUse_Multilabeled.txt", rows)
    return folder


def write_treesatai(folder: Path, tiles: int = 24) -> Path:
    """Generated tiles in the layout of Zenodo's record, unpacked."""
    generate(Settings(folder, tiles, size=32, test_share=0.25, processes=1))
    return folder


def write_zip(path: Path, root: Path, below: Path) -> None:
    """Everything in `below`, deflated, named as it is below `root`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry in sorted(below.rglob("*")):
            file.write(entry, entry.relative_to(root))


def zip_ucmerced(source: Path, folder: Path) -> Path:
    """The official layout as its two zips."""
    folder.mkdir()
    for name, part in (("UCMerced_LandUse.zip", "UCMerced_LandUse"), ("multilabels.zip", "multilabels")):
        write_zip(folder / name, source, source / part)
    return folder


def zip_treesatai(source: Path, folder: Path) -> Path:
    """Zenodo's files as they are downloaded: the labels, a zip for every species, and the lists."""
    folder.mkdir()
    write_zip(folder / "labels.zip", source / "labels", source / "labels")
    for tile in sorted((source / "aerial/60m").iterdir()):
        species = "_".join(tile.name.split("_")[:-4]).lower()
        with zipfile.ZipFile(folder / f"aerial_60m_{species}.zip", "a") as file:
            file.write(tile, f"aerial/60m/{species}/{tile.name}")
    for name in ("train_filenames.lst", "test_filenames.lst"):
        (folder / name).write_bytes((source / name).read_bytes())
    return folder
