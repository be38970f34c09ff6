"""TreeSatAI (Ahlswede et al., ESSD 2023): aerial tiles of forests in Lower Saxony with multi-labels of 15 genera.

One data folder has the files of Zenodo's record 6780578: the tiles in `aerial/60m/` or `aerial_60m_*.zip`,
`TreeSatBA_v9_60m_multi_labels.json` itself, in `labels/` or in `labels.zip`, and `train_filenames.lst` and
`test_filenames.lst`.
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from aljax.data.archive import Archive, Split
from aljax.data.archives.entries import Entry, find_file, find_tiles, read_entry, require_none
from aljax.data.archives.listing import LabelTable, Listing, list_files, to_archive
from aljax.data.archives.prepared import find_prepared
from aljax.data.tiles.decoding import TileForm
from aljax.errors import InputError
from aljax.keys import Purpose, derive_key

DATASET = "treesatai"
GENERA = (
    *("Abies", "Acer", "Alnus", "Betula", "Cleared", "Fagus", "Fraxinus", "Larix", "Picea", "Pinus"),
    *("Populus", "Prunus", "Pseudotsuga", "Quercus", "Tilia"),
)
BANDS = ("IR", "G", "B", "R")
GENERATED = "generated.json"  # marks a folder of synthetic tiles
FORM = TileForm(len(BANDS), "uint8")
AREA_THRESHOLD = 0.07
VALIDATION_SHARE = 0.15
LABEL_FILE = "TreeSatBA_v9_60m_multi_labels.json"
LABEL_PLACES = (f"labels/{LABEL_FILE}", LABEL_FILE)
LISTS = {"train": "train_filenames.lst", "test": "test_filenames.lst"}
TILE_FOLDERS = ("aerial/60m", "aerial_60m", "60m")

Areas = Mapping[str, Sequence[Sequence[str | float]]]
"""For each file name, pairs of a genus and the fraction of the tile that it covers; a genus may occur twice."""


def open_treesatai(data_dir: Path, size: int, seed: int) -> Archive:
    """The tiles with at least one label, from a prepared or downloaded archive, split as in the paper.

    The published test list is the test set; a random 15 % of the published train list, by `seed`, are the validation
    set and the rest the pool. Tiles are resized to `size` x `size` when they are read. Raises InputError for files that
    are missing or damaged; a broken tile raises it only when it is read.
    """
    listing = find_prepared(data_dir, DATASET, FORM) or list_treesatai(data_dir)
    return to_archive(listing, size, split_treesatai(seed, *listing.parts.values()))


def split_treesatai(seed: int, train: int, test: int) -> Split:
    """The split of `train` tiles of the train list, which come first, and `test` tiles of the test list."""
    validation = count_validation(train, test)
    order = np.asarray(jax.random.permutation(derive_key(seed, Purpose.SPLIT), train))
    return Split(np.sort(order[validation:]), np.sort(order[:validation]), np.arange(train, train + test))


def count_validation(train: int, test: int) -> int:
    """Number of validation tiles, out of the train list. Raises InputError for too few tiles."""
    validation = int(VALIDATION_SHARE * train)
    if validation < 1 or test < 1:
        raise InputError(f"{train} tiles for training and {test} for the test are too few for a split: add tiles")
    return validation


def list_treesatai(data_dir: Path) -> Listing:
    """The tiles of the published lists that have a label. Raises InputError for files that are missing or damaged."""
    if not data_dir.is_dir():
        raise InputError(f"{data_dir} is not a folder: give the one that holds {LABEL_FILE}")
    table = read_tables(data_dir)
    count_validation(*table.parts.values())  # raises before the tiles are read, which may take hours
    folder = next((data_dir / place for place in TILE_FOLDERS if (data_dir / place).is_dir()), None)
    zips = sorted((*data_dir.glob("aerial_60m_*.zip"), *data_dir.glob("aerial/aerial_60m_*.zip")))
    if folder is None and not zips:
        raise InputError(f"no tiles in {data_dir}: put {TILE_FOLDERS[0]} or the aerial_60m_*.zip files there")
    tiles = find_tiles(zips if folder is None else [folder], (".tif",), lambda path: path.name)
    require_none([tile for tile in table.ids if tile not in tiles], "listed tiles are not there", data_dir)
    return list_files(table, FORM, [tiles[tile] for tile in table.ids])


def read_tables(data_dir: Path) -> LabelTable:
    """The tiles of the published lists that have a label, those of the train list first; ids are file names.

    The tiles themselves are not needed. Raises InputError for lists and labels that do not fit together.
    """
    missing = f"no {LABEL_FILE} in {data_dir}: put it, or labels.zip, there"
    areas = read_areas(find_file(data_dir, (*LABEL_PLACES, "labels.zip"), LABEL_FILE, missing))
    lists = {part: read_list(data_dir / name) for part, name in LISTS.items()}
    if both := set(lists["train"]) & set(lists["test"]):
        raise InputError(f"{data_dir}: tile {min(both)} is in both lists: download them again")
    labels: dict[str, UInt8[np.ndarray, " c"]] = {}
    parts = {}
    for part, listed in lists.items():
        before = len(labels)
        for tile in listed:
            if tile not in areas:
                raise InputError(f"{data_dir / LISTS[part]} names {tile}, which has no entry in {LABEL_FILE}: add it")
            if (row := genus_labels(areas[tile])).any():
                labels[tile] = row
        parts[part] = len(labels) - before
    if not labels:
        raise InputError(f"{data_dir}: no listed tile has a genus on more than {AREA_THRESHOLD:.0%}: add tiles")
    return LabelTable(DATASET, GENERA, tuple(labels), np.stack(list(labels.values())), parts)


def read_areas(path: Entry) -> Areas:
    """The label file: {file name: [[genus, fraction of the tile], ...], ...}. Raises InputError."""

    def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise InputError(f"{path}: {twice} is there twice: remove one of its entries")
        return content

    try:
        content = json.loads(read_entry(path), object_pairs_hook=each_once)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable as JSON ({error}): download it again") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path} names no tiles: download it again")
    for tile, genera in content.items():
        if not isinstance(genera, list):
            raise InputError(f"{path}, tile {tile}: {genera!r} is not a list of genera: mend it")
        for entry in genera:
            _check_area(entry, f"{path}, tile {tile}")
    return content


def _check_area(entry: object, where: str) -> None:
    match entry:
        case [str(genus), int() | float() as area] if not isinstance(area, bool):
            if genus not in GENERA:
                raise InputError(f"{where}: {genus} is none of the {len(GENERA)} genera: mend it")
            # No upper limit of 1: in a few published entries overlapping stands of a genus exceed the tile.
            if not 0.0 <= area <= sys.float_info.max:
                raise InputError(f"{where}: the area {area} of {genus} is not a fraction of the tile: mend it")
        case _:
            raise InputError(f"{where}: {entry!r} is not a genus with its area: mend it")


def genus_labels(genera: Sequence[Sequence[str | float]]) -> UInt8[np.ndarray, " c"]:
    """Labels (C,): 1 for every genus whose areas on the tile sum to more than 0.07 (the paper's threshold)."""
    sums: dict[str, float] = defaultdict(float)
    for genus, area in genera:
        sums[str(genus)] += float(area)
    return np.array([sums[genus] > AREA_THRESHOLD for genus in GENERA], np.uint8)


def read_list(path: Path) -> tuple[str, ...]:
    """File names, one on each line. Raises InputError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} is not readable ({reason}): put the published list there") from error
    first: dict[str, int] = {}
    for number, tile in enumerate(map(str.strip, lines), start=1):
        if tile and (before := first.setdefault(tile, number)) != number:
            raise InputError(f"{path}, line {number}: {tile} is there already on line {before}: remove one")
    if not first:
        raise InputError(f"{path} names no tiles: download it again")
    return tuple(first)
