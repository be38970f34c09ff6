"""UC Merced Land Use (Yang and Newsam, 2010) with the multi-labels of Chaudhuri et al. (2018).

Read as they are downloaded: `UCMerced_LandUse.zip` or the folder in it, and `multilabels.zip` or the
`LandUse_Multilabeled.txt` in it, both somewhere under one data folder.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from aljax.data.archive import Archive
from aljax.data.archives.entries import Entry, find_in_zip, open_zip, read_entry, walk
from aljax.data.archives.listing import Listing, list_files, to_archive
from aljax.data.archives.prepared import find_prepared
from aljax.data.tiles.decoding import TileForm
from aljax.errors import InputError

DATASET = "ucmerced_multilabel"
NUM_TILES = 2100
NUM_CLASSES = 17
# Tiles for validation and test; 1,050 are left as the pool.
SPLIT_SIZES = (525, 525)
FORM = TileForm(3, "uint8")
IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
IMAGE_PLACES = ("UCMerced_LandUse/Images", "Images", "UCMerced_LandUse.zip")
LABEL_PLACES = (
    "LandUse_Multilabeled.txt",
    "multilabels/LandUse_Multilabeled.txt",
    "multilabels.zip",
)


class LabelTable(NamedTuple):
    """The content of LandUse_Multilabeled.txt."""

    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    """In the order of the file."""
    labels: UInt8[np.ndarray, "n c"]


def open_ucmerced(data_dir: Path, size: int) -> Archive:
    """All tiles with their 17 labels, resized to `size` x `size` when they are read; prepared or as downloaded.

    Raises InputError for anything amiss but broken tiles, which are found when they are read.
    """
    return to_archive(find_prepared(data_dir, DATASET, FORM) or list_ucmerced(data_dir), size)


def list_ucmerced(data_dir: Path) -> Listing:
    """All tiles as downloaded, in the order of the label table. Raises InputError for anything amiss."""
    if not data_dir.is_dir():
        raise InputError(f"{data_dir} is not a folder: give the one with UCMerced_LandUse (`aljax prepare` fetches it)")
    table = read_labels(find_labels(data_dir))
    found = find_images(data_dir)
    _match(table.ids, found, data_dir)
    files = [found[tile] for tile in table.ids]
    return list_files("ucmerced", table.class_names, table.ids, table.labels, {"train": len(files)}, FORM, files)


def find_labels(data_dir: Path) -> Entry:
    """The label table below the data folder, unpacked or in its zip."""
    for place in LABEL_PLACES:
        path = data_dir / place
        if path.is_file():
            return find_in_zip(path, "LandUse_Multilabeled.txt") if path.suffix == ".zip" else path
    raise InputError(f"no multi-labels in {data_dir}: put {' or '.join(LABEL_PLACES)} there")


def find_images(data_dir: Path) -> dict[str, Entry]:
    """Image files by tile id (the file's name without its suffix)."""
    for place in IMAGE_PLACES:
        path = data_dir / place
        if path.exists():
            break
    else:
        raise InputError(f"no images in {data_dir}: put {' or '.join(IMAGE_PLACES)} there")
    files: Iterator[Entry] = walk(open_zip(path) if path.suffix == ".zip" else path)
    images: dict[str, Entry] = {}
    for file in files:
        stem, _, suffix = file.name.rpartition(".")
        if f".{suffix.lower()}" not in IMAGE_SUFFIXES or stem.startswith("."):
            continue
        if stem in images:
            raise InputError(f"tile {stem} is there twice, as {images[stem]} and {file}: remove one")
        images[stem] = file
    return images


def _match(ids: tuple[str, ...], images: dict[str, Entry], data_dir: Path) -> None:
    for kind, missing in (
        ("named in the labels but have no image", sorted(set(ids) - images.keys())),
        ("have an image but no row in the labels", sorted(images.keys() - set(ids))),
    ):
        if missing:
            few = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            raise InputError(f"{data_dir}: {len(missing)} tiles {kind} ({few}): complete the archive")


def read_labels(path: Entry) -> LabelTable:
    """The tab-separated table: a header of class names, then a tile id and a 0 or 1 per class on each row."""
    try:
        text = read_entry(path).decode("ascii")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not readable as the label table ({error}): download it again") from error
    lines = text.splitlines()
    names = tuple(lines[0].split("\t")[1:]) if lines else ()
    if len(names) != NUM_CLASSES:
        raise InputError(f"{path}, row 1: {len(names)} class names instead of {NUM_CLASSES}: download it again")
    rows: dict[str, list[int]] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        tile, values = _read_row(line, f"{path}, row {number}")
        if tile in rows:
            raise InputError(f"{path}, row {number}: tile {tile} is there twice: remove one row")
        rows[tile] = values
    if not rows:
        raise InputError(f"{path} names no tiles: download it again")
    return LabelTable(names, tuple(rows), np.array(list(rows.values()), dtype=np.uint8))


def _read_row(line: str, where: str) -> tuple[str, list[int]]:
    tile, *cells = line.split("\t")
    if len(cells) != NUM_CLASSES:
        raise InputError(f"{where}: {len(cells)} label columns instead of {NUM_CLASSES}: mend the row")
    for column, cell in enumerate(cells, start=2):
        if cell.strip() not in ("0", "1"):
            raise InputError(f"{where}, column {column}: label {cell!r} is neither 0 nor 1: mend it")
    return tile, [int(cell) for cell in cells]
