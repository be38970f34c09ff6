"""A user's own archive: a folder of GeoTIFF, PNG or JPEG tiles, nested or not, and labels for all, some or none."""

import os
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from aljax.data.archive import Archive, Split
from aljax.data.archives.entries import warn_of_links
from aljax.data.labels import CsvLabels, normal, read_csv
from aljax.data.tiles.decoding import TileForm, read_form
from aljax.data.tiles.images import EncodedImages, digest_tiles, read_each, read_file, stamp_files
from aljax.errors import InputError, InputWarning

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
# What people and geodata software leave beside tiles. Any other file may be a tile that would be missed.
OTHER_SUFFIXES = {
    *("", ".csv", ".txt", ".md", ".pdf", ".json", ".geojson", ".xml", ".zip", ".db", ".lst"),
    *(".tfw", ".tifw", ".pgw", ".jgw", ".wld", ".prj", ".ovr", ".msk"),
    *(".qgz", ".qgs", ".qml", ".shp", ".shx", ".dbf", ".cpg", ".gpkg"),
}


def open_folder(images_dir: Path, labels: Path | CsvLabels | None, size: int, separator: str = ";") -> Archive:
    """The tiles below a folder, resized to `size` x `size` when they are read, with the labels of a CSV file.

    A tile to skip has a row and is in no part of the split.

    A row's id is the tile's path below the folder or, where that is unique, its file name, either with or
    without suffix. A tile without a row has no labels; its id is its path. All headers are read here, pixels
    when they are asked for. Raises InputError for whatever does not fit, and warns of classes without a tile.
    """
    files = find_tiles(images_dir)
    table = read_csv(labels, separator) if isinstance(labels, Path) else labels
    rows = match_rows(table, files, images_dir) if table else {}
    form = common_form(files)
    stats = [path.stat() for path in files]
    total = sum(stat.st_size for stat in stats)
    names = [str(path) for path in files]
    images = EncodedImages(lambda index: read_file(files[index]), names, size, form, stamp_files(stats, total))
    digest = digest_tiles(images.read, len(files), total)
    ids = [_relative(path, images_dir) for path in files]
    labelled = np.isin(np.arange(len(files)), list(rows))
    matrix = np.zeros((len(files), len(table.class_names) if table else 0), np.uint8)
    split = None
    if table:
        order = [rows[index] for index in sorted(rows)]
        matrix[labelled] = table.labels[order]
        ids = [table.ids[rows[index]] if index in rows else ids[index] for index in range(len(files))]
        split = _split(table, rows, len(files))
        _warn_of_empty_classes(table)
    class_names = table.class_names if table else ()
    known = None if labelled.all() else labelled
    return Archive(images_dir.resolve().name, images, matrix, tuple(ids), class_names, digest, split, known)


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
    for parts, path in sorted((_relative(path, folder).split("/"), path) for path in _walk(folder)):
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


def _walk(folder: Path) -> Iterator[Path]:
    def stop(error: OSError) -> None:
        raise InputError(f"{error.filename} is not readable ({error.strerror}): check its permissions") from error

    for parent, folders, names in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in (*names, *linked))


def _hides_pixels(path: Path) -> bool:
    """Whether a file beside a tile is its mask, or has its nodata value."""
    name = path.name.lower()
    if name.endswith(".msk"):
        return True
    if not name.endswith((".tif.aux.xml", ".tiff.aux.xml")):
        return False
    try:
        return b"<NoDataValue" in path.read_bytes()
    except OSError:
        return False


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the name of {path} is not UTF-8: rename the file") from error


def common_form(files: Sequence[Path]) -> TileForm:
    """Bands and type of all tiles, from their headers. Raises InputError naming two files that differ."""
    with closing(read_each(read_form, files, "reading headers")) as forms:
        for path, form in zip(files, forms, strict=True):
            if path is files[0]:
                first = form
            elif form != first:
                raise InputError(f"{files[0]} has {first}, but {path} has {form}: an archive has tiles of one kind")
    return first


def match_rows(table: CsvLabels, files: Sequence[Path], folder: Path) -> dict[int, int]:
    """Row of the label file for each tile (index of its file) that has one. Raises InputError."""
    ids = table.ids
    named: list[dict[str, list[int]]] = [defaultdict(list) for _ in range(4)]
    for index, path in enumerate(files):
        relative = _relative(path, folder)
        name = relative.rpartition("/")[2]
        for names, key in zip(named, (relative, _stem(relative), name, _stem(name)), strict=True):
            names[key].append(index)
    rows: dict[int, int] = {}
    missing = []
    for row, tile in enumerate(ids):
        keys = dict.fromkeys((normal(tile), normal(tile).strip()))
        found = next((names[key] for key in keys for names in named if key in names), None)
        if found is None:
            missing.append(row)
            continue
        if len(found) > 1:
            both = " or ".join(str(files[index]) for index in found[:2])
            raise InputError(f"the id {tile} may be {both}: write its path below {folder}")
        if found[0] in rows:
            raise InputError(f"the ids {ids[rows[found[0]]]} and {tile} both name {files[found[0]]}: remove one row")
        rows[found[0]] = row
    if missing:
        few = ", ".join(ids[row] for row in missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise InputError(
            f"{table.places[missing[0]]}: {len(missing)} ids have no tile in {folder} ({few}): mend the ids or add the "
            "tiles"
        )
    return rows


def _relative(path: Path, folder: Path) -> str:
    return normal(path.relative_to(folder).as_posix())


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _split(table: CsvLabels, rows: dict[int, int], num_tiles: int) -> Split | None:
    if table.parts is None:
        return None
    parts: UInt8[np.ndarray, " n"] = np.full(num_tiles, 255, np.uint8)
    for index, row in rows.items():
        parts[index] = table.parts[row]
    return Split(*(np.flatnonzero(parts == part) for part in range(3)))


def _warn_of_empty_classes(table: CsvLabels) -> None:
    for name, count in zip(table.class_names, table.labels.sum(0, dtype=np.int64), strict=True):
        if count == 0:
            warnings.warn(InputWarning(f"no tile has the class {name}: it cannot be learnt"), stacklevel=3)
