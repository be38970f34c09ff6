"""A user's own archive: a folder of GeoTIFF, PNG or JPEG tiles, nested or not, and labels for all, some or none."""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from aljax.data.archive import Archive, Split
from aljax.data.archives.copies import find_copies, warn_of_copies
from aljax.data.archives.entries import few
from aljax.data.archives.listing import LabelTable, list_files, to_archive
from aljax.data.archives.scanning import find_tiles, relative, stem
from aljax.data.label_rows import normal
from aljax.data.labels import SKIPPED, CsvLabels, read_csv
from aljax.data.tiles.decoding import TileForm, read_header
from aljax.data.tiles.images import read_each, read_file
from aljax.errors import InputError, InputWarning

NO_LABELS = CsvLabels((), (), np.zeros((0, 0), np.uint8), None, ())


def open_folder(images_dir: Path, labels: Path | CsvLabels | None, size: int, separator: str = ";") -> Archive:
    """The tiles below a folder, resized to `size` x `size` when they are read, with the labels of a CSV file.

    A tile to skip has a row and is in no part of the split.

    A row's id is the tile's path below the folder or, where that is unique, its file name, either with or
    without suffix. A tile without a row has no labels; its id is its path. All headers are read here, pixels
    when they are asked for. Raises InputError for whatever does not fit, and warns of classes without a tile.
    """
    files = find_tiles(images_dir)
    table = labels if isinstance(labels, CsvLabels) else read_csv(labels, separator) if labels else NO_LABELS
    rows = match_rows(table, files, images_dir)
    form = common_form(files)
    labelled = rows >= 0
    matrix = np.zeros((len(files), len(table.class_names)), np.uint8)
    matrix[labelled] = table.labels[rows[labelled]]
    ids = (table.ids[row] if row >= 0 else relative(path, images_dir) for path, row in zip(files, rows, strict=True))
    split = None
    if table.parts is not None:
        split = Split(*(np.flatnonzero(labelled & (table.parts[rows] == part)) for part in range(SKIPPED)))
    for name, count in zip(table.class_names, table.labels.sum(0, dtype=np.int64), strict=True):
        if count == 0:
            warnings.warn(InputWarning(f"no tile has the class {name}: it cannot be learnt"), stacklevel=2)
    copy_of = find_copies(files)
    warn_of_copies(copy_of, files, split)
    known = LabelTable(images_dir.resolve().name, table.class_names, tuple(ids), matrix, {})
    archive = to_archive(list_files(known, form, files, read_file), size, split)
    return replace(archive, labelled=None if labelled.all() else labelled, copy_of=copy_of)


def common_form(files: Sequence[Path]) -> TileForm:
    """Bands and type of all tiles, from their headers. Raises InputError naming two files that differ.

    Warns where only some are JPEG files of inks.
    """
    other: Path | None = None
    with closing(read_each(read_header, files, "reading headers")) as headers:
        for path, (form, is_cmyk) in zip(files, headers, strict=True):
            if path is files[0]:
                first, first_is_cmyk = form, is_cmyk
            elif form != first:
                raise InputError(f"{files[0]} has {first}, but {path} has {form}: an archive has tiles of one kind")
            elif is_cmyk != first_is_cmyk:
                other = other or path
    if other is not None:
        inks, colours = (files[0], other) if first_is_cmyk else (other, files[0])
        message = f"{inks} is CMYK and {colours} is not: both are read as red, green and blue, but the same place may "
        warnings.warn(InputWarning(f"{message}look another way in them; store all tiles in one way"), stacklevel=3)
    return first


def match_rows(table: CsvLabels, files: Sequence[Path], folder: Path) -> Int[np.ndarray, " n"]:
    """Row of the label file for each tile, -1 for one that has none. Raises InputError."""
    named: dict[tuple[int, str], list[int]] = defaultdict(list)
    for index, path in enumerate(files):
        whole = relative(path, folder)
        name = whole.rpartition("/")[2]
        for kind, key in enumerate((whole, stem(whole), name, stem(name))):
            named[kind, key].append(index)
    rows = np.full(len(files), -1)
    missing = []
    for row, tile in enumerate(table.ids):
        keys = ((kind, key) for key in (normal(tile), normal(tile).strip()) for kind in range(4))
        found = next((named[key] for key in keys if key in named), None)
        if found is None:
            missing.append(row)
            continue
        if len(found) > 1:
            both = " or ".join(str(files[index]) for index in found[:2])
            raise InputError(f"the id {tile} may be {both}: write its path below {folder}")
        (index,) = found
        if rows[index] >= 0:
            other = table.ids[rows[index]]
            raise InputError(f"the ids {other} and {tile} both name {files[index]}: remove one row")
        rows[index] = row
    if missing:
        raise InputError(
            f"{table.places[missing[0]]}: {len(missing)} ids have no tile in {folder} "
            f"({few([table.ids[row] for row in missing])}): mend the ids or add the tiles"
        )
    return rows
