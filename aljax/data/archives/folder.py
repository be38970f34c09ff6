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
from aljax.data.tiles.decoding import Header, TileForm, read_header
from aljax.data.tiles.images import name_unreadable, read_each, read_file
from aljax.errors import InputError, InputWarning

NO_LABELS = CsvLabels((), (), np.zeros((0, 0), np.uint8), None, ())


def open_folder(
    images_dir: Path, labels: Path | CsvLabels | None, size: int, separator: str = ";", lenient: bool = False
) -> Archive:
    """The tiles below a folder, resized to `size` x `size` when they are read, with the labels of a CSV file.

    The id in a row is the tile's path below the folder or, if unique, its file name, both with or without suffix. A
    tile without a row has no labels, and its path is its id. A skipped tile is in no part of the split. Headers of all
    files are read now, pixels at each access. Raises InputError for unreadable headers, for tiles of different forms
    and for rows that match no tile; warns of classes without a tile and of copies. With `lenient` an unreadable tile
    raises only when it is read, and copies are not warned of, because they may be copies of such a tile.
    """
    files = find_tiles(images_dir)
    table = labels if isinstance(labels, CsvLabels) else read_csv(labels, separator) if labels else NO_LABELS
    rows = match_rows(table, files, images_dir)
    form = common_form(files, lenient)
    labelled = rows >= 0
    matrix = np.zeros((len(files), len(table.class_names)), np.uint8)
    matrix[labelled] = table.labels[rows[labelled]]
    ids = (table.ids[row] if row >= 0 else relative(path, images_dir) for path, row in zip(files, rows, strict=True))
    split = None
    if table.parts is not None:
        split = Split(*(np.flatnonzero(labelled & (table.parts[rows] == part)) for part in range(SKIPPED)))
    for name, count in zip(table.class_names, (table.labels == 1).sum(0), strict=True):
        if count == 0:
            warnings.warn(InputWarning(f"no tile has the class {name}: it cannot be learnt"), stacklevel=2)
    copy_of = find_copies(files)
    if not lenient:
        warn_of_copies(copy_of, files, split)
    known = LabelTable(images_dir.resolve().name, table.class_names, tuple(ids), matrix, {})
    archive = to_archive(list_files(known, form, files, read_file), size, split)
    return replace(archive, labelled=None if labelled.all() else labelled, copy_of=copy_of)


def common_form(files: Sequence[Path], lenient: bool = False) -> TileForm:
    """The common bands and type of all tiles, from their headers; with `lenient`, from the readable ones.

    Raises InputError that names two files that differ, or all files with unreadable headers. Warns if only some tiles
    are CMYK.
    """
    first: tuple[Path, TileForm] | None = None
    unreadable = []
    first_by_cmyk: dict[bool, Path] = {}  # the first tile that is CMYK, and the first that is not
    with closing(read_each(_header_or_error, files, "reading headers")) as headers:
        for path, header in zip(files, headers, strict=True):
            if isinstance(header, InputError):
                unreadable.append(header)
                continue
            first = first or (path, header.form)
            if header.form != first[1]:
                raise InputError(
                    f"{first[0]} has {first[1]}, but {path} has {header.form}: an archive has tiles of one kind"
                )
            first_by_cmyk.setdefault(header.is_cmyk, path)
    if first is None or (unreadable and not lenient):
        raise InputError(name_unreadable(unreadable, len(files)))
    if len(first_by_cmyk) == 2:
        message = f"{first_by_cmyk[True]} is CMYK and {first_by_cmyk[False]} is not: both are read as red, green and "
        message += "blue, but the same place may look another way in them; store all tiles in one way"
        warnings.warn(InputWarning(message), stacklevel=3)
    return first[1]


def _header_or_error(path: Path) -> Header | InputError:
    try:
        return read_header(path)
    except InputError as error:
        return error


def match_rows(table: CsvLabels, files: Sequence[Path], folder: Path) -> Int[np.ndarray, " n"]:
    """Row of the label file for each tile (n,), -1 for a tile without one.

    Raises InputError for ids that match no tile, several tiles, or the same tile.
    """
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
