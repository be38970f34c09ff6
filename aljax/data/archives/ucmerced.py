"""UC Merced Land Use (Yang and Newsam, 2010) with the multi-labels of Chaudhuri et al. (2018).

One data folder has the downloaded files: `UCMerced_LandUse.zip` or its content, and `multilabels.zip` or its
`LandUse_Multilabeled.txt`.
"""

from pathlib import Path

import numpy as np

from aljax.data.archive import Archive
from aljax.data.archives.entries import Entry, find_file, find_tiles, read_entry, require_none
from aljax.data.archives.listing import LabelTable, Listing, list_files, to_archive
from aljax.data.archives.prepared import find_prepared
from aljax.data.tiles.decoding import TileForm
from aljax.data.tiles.images import IMAGE_SUFFIXES
from aljax.errors import InputError

DATASET = "ucmerced_multilabel"
NUM_TILES = 2100
NUM_CLASSES = 17
# Tiles for validation and test; the other 1,050 are the pool.
SPLIT_SIZES = (525, 525)
FORM = TileForm(3, "uint8")
IMAGE_PLACES = ("UCMerced_LandUse/Images", "Images", "UCMerced_LandUse.zip")
LABEL_FILE = "LandUse_Multilabeled.txt"
LABEL_PLACES = (LABEL_FILE, f"multilabels/{LABEL_FILE}", "multilabels.zip")


def open_ucmerced(data_dir: Path, size: int) -> Archive:
    """All tiles with their 17 labels, from a prepared or downloaded archive, resized to `size` x `size` when read.

    Raises InputError for files that are missing or damaged; a broken tile raises it only when it is read.
    """
    return to_archive(find_prepared(data_dir, DATASET, FORM) or list_ucmerced(data_dir), size)


def list_ucmerced(data_dir: Path) -> Listing:
    """The downloaded tiles in the order of the label table. Raises InputError for files that are missing or damaged."""
    if not data_dir.is_dir():
        raise InputError(f"{data_dir} is not a folder: give the one with UCMerced_LandUse (`aljax prepare` fetches it)")
    missing = f"no multi-labels in {data_dir}: put {' or '.join(LABEL_PLACES)} there"
    table = read_labels(find_file(data_dir, LABEL_PLACES, LABEL_FILE, missing))
    place = next((data_dir / place for place in IMAGE_PLACES if (data_dir / place).exists()), None)
    if place is None:
        raise InputError(f"no images in {data_dir}: put {' or '.join(IMAGE_PLACES)} there")
    tiles = find_tiles([place], IMAGE_SUFFIXES, lambda path: path.stem)
    require_none(sorted(set(table.ids) - tiles.keys()), "tiles named in the labels but have no image", data_dir)
    require_none(sorted(tiles.keys() - set(table.ids)), "tiles have an image but no row in the labels", data_dir)
    return list_files(table, FORM, [tiles[tile] for tile in table.ids])


def read_labels(path: Entry) -> LabelTable:
    """The tab-separated table: a header of class names, then a tile id and a 0 or 1 per class on each row.

    Raises InputError.
    """
    try:
        text = read_entry(path).decode("ascii")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not readable as the label table ({error}): download it again") from error
    (_, *names), *lines = [line.split("\t") for line in text.splitlines() or [""]]
    if len(names) != NUM_CLASSES:
        raise InputError(f"{path}, row 1: {len(names)} class names instead of {NUM_CLASSES}: download it again")
    rows: dict[str, list[int]] = {}
    for number, (tile, *cells) in enumerate(lines, start=2):
        if not "".join((tile, *cells)).strip():
            continue
        where = f"{path}, row {number}"
        if len(cells) != NUM_CLASSES:
            raise InputError(f"{where}: {len(cells)} label columns instead of {NUM_CLASSES}: mend the row")
        for column, cell in enumerate(cells, start=2):
            if cell.strip() not in ("0", "1"):
                raise InputError(f"{where}, column {column}: label {cell!r} is neither 0 nor 1: mend it")
        if tile in rows:
            raise InputError(f"{where}: tile {tile} is there twice: remove one row")
        rows[tile] = [int(cell) for cell in cells]
    if not rows:
        raise InputError(f"{path} names no tiles: download it again")
    labels = np.array(list(rows.values()), np.uint8)
    return LabelTable("ucmerced", tuple(names), tuple(rows), labels, {"train": len(rows)})
