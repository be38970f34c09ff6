"""A user's own archive: a folder of GeoTIFF, PNG or JPEG tiles, nested or not, and labels for all, some or none."""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
from jaxtyping import Int

from aljax.data.archive import Archive, Split
from aljax.data.archives.entries import IMAGE_SUFFIXES, few, files_below, warn_of_links
from aljax.data.archives.listing import LabelTable, list_files, to_archive
from aljax.data.labels import SKIPPED, CsvLabels, normal, read_csv
from aljax.data.tiles.decoding import TileForm, read_form
from aljax.data.tiles.images import name_unreadable, read_each, read_file
from aljax.errors import InputError, InputWarning

# What people and geodata software leave beside tiles. Any other file may be a tile that would be missed.
OTHER_SUFFIXES = {
    *("", ".csv", ".txt", ".md", ".pdf", ".json", ".geojson", ".xml", ".zip", ".db", ".lst"),
    *(".tfw", ".tifw", ".pgw", ".jgw", ".wld", ".prj", ".ovr", ".msk"),
    *(".qgz", ".qgs", ".qml", ".shp", ".shx", ".dbf", ".cpg", ".gpkg"),
}
NO_LABELS = CsvLabels((), (), np.zeros((0, 0), np.uint8), None, ())


def open_folder(
    images_dir: Path, labels: Path | CsvLabels | None, size: int, separator: str = ";", lenient: bool = False
) -> Archive:
    """The tiles below a folder, resized to `size` x `size` when they are read, with the labels of a CSV file.

    A tile to skip has a row and is in no part of the split.

    A row's id is the tile's path below the folder or, where that is unique, its file name, either with or
    without suffix. A tile without a row has no labels; its id is its path. All headers are read here, pixels
    when they are asked for. Raises InputError for whatever does not fit, and warns of classes without a tile.
    `lenient`: not for a broken tile, which is then an InputError when it is read.
    """
    files = find_tiles(images_dir)
    table = labels if isinstance(labels, CsvLabels) else read_csv(labels, separator) if labels else NO_LABELS
    rows = match_rows(table, files, images_dir)
    form = common_form(files, lenient)
    labelled = rows >= 0
    matrix = np.zeros((len(files), len(table.class_names)), np.uint8)
    matrix[labelled] = table.labels[rows[labelled]]
    ids = (table.ids[row] if row >= 0 else _relative(path, images_dir) for path, row in zip(files, rows, strict=True))
    split = None
    if table.parts is not None:
        split = Split(*(np.flatnonzero(labelled & (table.parts[rows] == part)) for part in range(SKIPPED)))
    for name, count in zip(table.class_names, table.labels.sum(0, dtype=np.int64), strict=True):
        if count == 0:
            warnings.warn(InputWarning(f"no tile has the class {name}: it cannot be learnt"), stacklevel=2)
    known = LabelTable(images_dir.resolve().name, table.class_names, tuple(ids), matrix, {})
    return to_archive(list_files(known, form, files, read_file), size, split, None if labelled.all() else labelled)


def find_tiles(folder: Path) -> list[Path]:
    """Image files below a folder, sorted by their path. Raises InputError if there are none.

    A symbolic link to a file in the folder is that file. One that leads out of it or to a folder is left out with a
    warning, hidden files and folders without one; a mask in a file beside its tile is warned of.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give the one that holds the tiles")
    root = folder.resolve()
    files: dict[str, Path] = {}
    beside: list[Path] = []
    outside: list[Path] = []
    # By names that do not depend on how a system writes umlauts: the split is drawn from this order.
    for parts, path in sorted((_relative(path, folder).split("/"), path) for path in files_below(folder, hidden=False)):
        suffix = path.suffix.lower()
        if path.is_dir():
            outside.append(path)
            continue
        if path.name.startswith(".") or suffix in OTHER_SUFFIXES or path.name.lower().endswith(".aux.xml"):
            if _hides_pixels(path):
                beside.append(path)
            continue
        if suffix not in IMAGE_SUFFIXES:
            raise InputError(f"{path} has the unknown extension {suffix}: convert it to TIFF, PNG or JPEG, or move it")
        _check_name(path)
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            outside.append(path)
        elif path is not (first := files.setdefault("/".join(parts), path)):
            raise InputError(f"{first} is there twice, its umlauts or accents written in two ways: remove one")
    warn_of_links(outside, folder)
    if beside:
        warnings.warn(
            InputWarning(
                f"{len(beside)} files say which pixels of a tile have no data, as {beside[0]}: they are not read; "
                "store the mask or the nodata value in the tile"
            ),
            stacklevel=2,
        )
    if not files:
        raise InputError(f"{folder} holds no tiles ({', '.join(IMAGE_SUFFIXES)}): give the folder that holds them")
    return list(files.values())


def _hides_pixels(path: Path) -> bool:
    """Whether a file beside a tile is its mask, or has its nodata value."""
    name = path.name.lower()
    with suppress(OSError):
        return name.endswith(".msk") or (
            name.endswith((".tif.aux.xml", ".tiff.aux.xml")) and b"<NoDataValue" in path.read_bytes()
        )
    return False


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the name of {path} is not UTF-8: rename the file") from error


def common_form(files: Sequence[Path], lenient: bool = False) -> TileForm:
    """Bands and type of all tiles, from their headers; if `lenient`, of all that have a readable one.

    Raises InputError naming two files that differ, or all whose headers cannot be read.
    """
    first: tuple[Path, TileForm] | None = None
    unreadable = []
    with closing(read_each(_form_or_error, files, "reading headers")) as forms:
        for path, form in zip(files, forms, strict=True):
            if isinstance(form, InputError):
                unreadable.append(form)
            elif first is None:
                first = path, form
            elif form != first[1]:
                raise InputError(f"{first[0]} has {first[1]}, but {path} has {form}: an archive has tiles of one kind")
    if first is None or (unreadable and not lenient):
        raise InputError(name_unreadable(unreadable, len(files)))
    return first[1]


def _form_or_error(path: Path) -> TileForm | InputError:
    try:
        return read_form(path)
    except InputError as error:
        return error


def match_rows(table: CsvLabels, files: Sequence[Path], folder: Path) -> Int[np.ndarray, " n"]:
    """Row of the label file for each tile, -1 for one that has none. Raises InputError."""
    named: dict[tuple[int, str], list[int]] = defaultdict(list)
    for index, path in enumerate(files):
        relative = _relative(path, folder)
        name = relative.rpartition("/")[2]
        for kind, key in enumerate((relative, _stem(relative), name, _stem(name))):
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


def _relative(path: Path, folder: Path) -> str:
    return normal(path.relative_to(folder).as_posix())


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name
