"""A user's own archive: a folder of GeoTIFF, PNG or JPEG tiles, nested or not, and labels for all, some or none."""

import warnings
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from aljax.data.archive import Archive, Split
from aljax.data.archives.copies import find_copies, warn_of_copies
from aljax.data.archives.entries import few
from aljax.data.archives.index import TileIndex, index_path, open_index
from aljax.data.archives.scanning import TileFiles, find_tiles, stem
from aljax.data.label_rows import normal
from aljax.data.labels import SKIPPED, CsvLabels, read_csv
from aljax.data.tiles.decoding import TileForm
from aljax.data.tiles.files import digest_tiles, hashed_rows, read_file, stamp_files
from aljax.data.tiles.images import EncodedImages, name_unreadable
from aljax.errors import InputError, InputWarning

NO_LABELS = CsvLabels((), (), np.zeros((0, 0), np.uint8), None, ())


def open_folder(
    images_dir: Path,
    labels: Path | CsvLabels | None,
    size: int,
    separator: str = ";",
    lenient: bool = False,
) -> Archive:
    """The tiles below a folder, resized to `size` x `size` when they are read, with the labels of a CSV file.

    The id in a row is the tile's path below the folder or, if unique, its file name, both with or without suffix. A
    tile without a row has no labels, and its path is its id. A skipped tile is in no part of the split. Headers of all
    files are read now, pixels at each access. Raises InputError for unreadable headers, for tiles of different forms
    and for rows that match no tile; warns of classes without a tile and of copies. With `lenient` an unreadable tile
    raises only when it is read, and copies are not warned of, because they may be copies of such a tile.
    What headers say is kept in an index, and only those of changed files are read again.
    """
    files = find_tiles(images_dir)
    table = labels if isinstance(labels, CsvLabels) else read_csv(labels, separator) if labels else NO_LABELS
    rows = match_rows(table, files)
    index = open_index(files, index_path(images_dir))
    form = common_form(index, lenient)
    labelled = rows >= 0
    matrix = np.zeros((len(rows), len(table.class_names)), np.uint8)
    matrix[labelled] = table.labels[rows[labelled]]
    ids = tuple(table.ids[row] if row >= 0 else name for name, row in zip(files.names, rows.tolist(), strict=True))
    split = None
    if table.parts is not None:
        split = Split(*(np.flatnonzero(labelled & (table.parts[rows] == part)) for part in range(SKIPPED)))
    for name, count in zip(table.class_names, (table.labels == 1).sum(0), strict=True):
        if count == 0:
            warnings.warn(InputWarning(f"no tile has the class {name}: it cannot be learnt"), stacklevel=2)
    copy_of = find_copies(index)
    if not lenient:
        warn_of_copies(copy_of, files.paths, split)
    images, digest = _images(index, size, form)
    index.save()
    name, are_labelled = images_dir.resolve().name, None if labelled.all() else labelled
    return Archive(name, images, matrix, ids, table.class_names, digest, split, are_labelled, copy_of)


def _images(index: TileIndex, size: int, form: TileForm) -> tuple[EncodedImages, str]:
    """The tiles, decoded and resized at each access, and their digest."""
    files, total = index.files, int(index.files.sizes.sum())
    rows = hashed_rows(len(index.facts), total)
    digests = (digest.ljust(32, b"\0") for digest in index.digests(np.array(rows)).tolist())  # ends without zeros
    stamp = stamp_files(map(tuple, np.stack([files.sizes, files.modified], -1)), total)
    paths = files.paths
    images = EncodedImages(lambda row: read_file(Path(paths[row])), paths, size, form, stamp)
    images = replace(
        images,
        georeferences=index.georeferences,
        readable=index.facts["is_readable"],
        note_readable=index.note_readable,
    )
    return images, digest_tiles(digests, len(index.facts), total)


def common_form(index: TileIndex, lenient: bool = False) -> TileForm:
    """The common bands and type of all tiles, from their headers; with `lenient`, from the readable ones.

    Raises InputError that names two files that differ, or all files with unreadable headers. Warns if only some tiles
    are CMYK.
    """
    errors = index.read_headers()
    facts, paths = index.facts, index.files.paths
    known = np.flatnonzero(facts["bands"])
    differs = [facts[name][known] != facts[name][known[:1]] for name in ("bands", "type")]
    if len(others := known[np.logical_or(*differs)]):
        one, other = int(known[0]), int(others[0])
        raise InputError(
            f"{paths[one]} has {index.form(one)}, but {paths[other]} has {index.form(other)}: an archive has tiles of "
            "one kind"
        )
    if not len(known) or (errors and not lenient):
        raise InputError(name_unreadable(errors.values(), len(facts)))
    are_cmyk = facts["is_cmyk"][known]
    if are_cmyk.any() and not are_cmyk.all():
        one, other = (paths[known[np.argmax(kind)]] for kind in (are_cmyk, ~are_cmyk))
        message = f"{one} is CMYK and {other} is not: both are read as red, green and "
        message += "blue, but the same place may look another way in them; store all tiles in one way"
        warnings.warn(InputWarning(message), stacklevel=3)
    return index.form(int(known[0]))


def match_rows(table: CsvLabels, files: TileFiles) -> Int[np.ndarray, " n"]:
    """Row of the label file for each tile (n,), -1 for a tile without one.

    Raises InputError for ids that match no tile, several tiles, or the same tile.
    """
    wanted = {normal(tile) for tile in table.ids}  # of a million tiles often a few hundred have labels
    whole_names = {name: index for index, name in enumerate(files.names) if name in wanted}
    wanted = {key for tile in table.ids if normal(tile) not in whole_names for key in _keys(tile)}
    named: dict[tuple[int, str], list[int]] = defaultdict(list)
    for index, whole in enumerate(files.names if wanted else ()):
        name = whole.rpartition("/")[2]
        for kind, key in enumerate((whole, stem(whole), name, stem(name))):
            if key in wanted:
                named[kind, key].append(index)
    rows = np.full(len(files.names), -1)
    missing = []
    for row, tile in enumerate(table.ids):
        keys = ((kind, key) for key in _keys(tile) for kind in range(4))
        exact = whole_names.get(normal(tile))
        found = [exact] if exact is not None else next((named[key] for key in keys if key in named), None)
        if found is None:
            missing.append(row)
            continue
        if len(found) > 1:
            both = " or ".join(files.paths[index] for index in found[:2])
            raise InputError(f"the id {tile} may be {both}: write its path below {files.folder}")
        (index,) = found
        if rows[index] >= 0:
            other = table.ids[rows[index]]
            raise InputError(f"the ids {other} and {tile} both name {files.paths[index]}: remove one row")
        rows[index] = row
    if missing:
        raise InputError(
            f"{table.places[missing[0]]}: {len(missing)} ids have no tile in {files.folder} "
            f"({few([table.ids[row] for row in missing])}): mend the ids or add the tiles"
        )
    return rows


def _keys(tile: str) -> tuple[str, str]:
    """An id as it may name a tile."""
    return normal(tile), normal(tile).strip()
