"""Reads features from `.npy`, `.npz` with `ids` and `embeddings`, Parquet or GeoParquet."""

import hashlib
import warnings
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from aljax.data.archive import Archive, Split
from aljax.data.archives.copies import find_equal_rows, warn_of_copies
from aljax.data.features.numpy_files import ids_beside, read_npy, read_npz
from aljax.data.features.parquet import find_files, is_parquet, read_parquet
from aljax.data.label_rows import normal
from aljax.data.labels import CsvLabels, read_csv
from aljax.data.tiles.files import HASHED_BYTES
from aljax.data.tiles.made import Made
from aljax.errors import InputError, InputWarning

BYTES_TO_CHECK = 2**24  # at a time


class Features(NamedTuple):
    """A vector for each tile."""

    ids: tuple[str, ...] | None
    """None: the file has none, and its rows are in the order of the label file."""
    vectors: Shaped[np.ndarray, "n d"]
    """float16, float32 or float64, finite in float32 too; memory-mapped where the file allows it."""
    digest: str
    """SHA-256 of the content: of all rows up to a GiB, of evenly spaced rows in larger files."""


def read_features(path: Path) -> Features:
    """Reads a file, or a folder of Parquet files. Raises InputError for anything that is no table of finite vectors."""
    if not path.exists():
        raise InputError(f"{path} is not there: give a file of features, or a folder of them")
    ids: Sequence[str] | None
    files, starts = [path], [0]
    if is_parquet(path):
        files = find_files(path)
        ids, vectors, starts = read_parquet(files)
    elif path.suffix.lower() == ".npz":
        ids, vectors = read_npz(path)
    elif path.suffix.lower() == ".npy":
        ids, vectors = read_npy(path)
    else:
        raise InputError(f"{path} holds no features: give a .npy, .npz or .parquet file, or a folder of the latter")

    def place(row: int) -> str:
        """The file and row number, from 1, of a row, for messages."""
        part = bisect_right(starts, row) - 1
        return f"{files[part]}, row {row - starts[part] + 1}"

    vectors = _check_form(path, vectors)
    if ids is not None:
        _check_ids(path, ids, len(vectors), place)
        ids = tuple(ids)
    return Features(ids, vectors, _check_rows(vectors, place))


def _check_form(path: Path, vectors: object) -> Shaped[np.ndarray, "n d"]:
    """The array, in native byte order. Raises InputError unless it is a table of floats."""
    shape, kind = getattr(vectors, "shape", "none"), getattr(vectors, "dtype", "none")
    if isinstance(vectors, np.ndarray) and vectors.ndim == 2 and not len(vectors):
        raise InputError(f"{path} has no rows: it is to have one for each tile")
    if (
        not isinstance(vectors, np.ndarray)
        or vectors.ndim != 2
        or not vectors.size
        or vectors.dtype.kind != "f"
        or vectors.dtype.itemsize > 8
    ):
        raise InputError(
            f"{path} has features of shape {shape} and type {kind}: give (tiles, features), float16, float32 or float64"
        )
    # JAX would silently read the bytes in the wrong order.
    return vectors if vectors.dtype.isnative else vectors.astype(vectors.dtype.newbyteorder("="))


def _check_ids(path: Path, ids: Sequence[str], count: int, place: Callable[[int], str]) -> None:
    if len(ids) != count:
        source = ids_beside(path) if path.suffix.lower() == ".npy" else path
        raise InputError(f"{source} has {len(ids)} ids and {path} {count} rows of features: give one id for each row")
    first: dict[str, int] = {}
    for row, tile in enumerate(ids):
        if not tile:
            raise InputError(f"{place(row)}: the id is empty: name the tile")
        if (other := first.setdefault(normal(tile), row)) != row:
            raise InputError(f"{place(row)}: the id {tile} is there already ({place(other)}): remove one")


def _check_rows(vectors: Shaped[np.ndarray, "n d"], place: Callable[[int], str]) -> str:
    """SHA-256 of the vectors, as in `Features.digest`. Raises InputError for numbers that are not finite."""
    digest = hashlib.sha256(str((vectors.shape, vectors.dtype.str)).encode())
    step = 1 + vectors.nbytes // HASHED_BYTES
    at_once = max(1, BYTES_TO_CHECK // (vectors.shape[1] * vectors.itemsize))
    for start in range(0, len(vectors), at_once):
        block = np.asarray(vectors[start : start + at_once])
        with np.errstate(over="ignore"):  # the network computes in float32
            finite = np.isfinite(block.astype(np.float32, copy=False)).all(1)
        if not finite.all():
            hints = {2: "; half precision overflows at 65,504", 8: " in float32"}
            raise InputError(
                f"{place(start + int(np.flatnonzero(~finite)[0]))}: a feature is not a finite number"
                f"{hints.get(vectors.itemsize, '')}: mend or remove the row"
            )
        digest.update(np.ascontiguousarray(block[-start % step :: step]).data)
    return digest.hexdigest()


def open_features(path: Path, labels: Path | CsvLabels | None, separator: str = ";") -> Archive:
    """Features with their labels, as an archive of tiles of one pixel whose bands are the features.

    Rows of the label file are matched by id or by the file name in it, as for a folder of tiles; without ids the
    features must have the same rows in the same order. Tiles without a row are unlabelled. Raises InputError if labels
    and features do not match; warns of classes without a tile and of equal features.
    """
    features = read_features(path)
    table = read_csv(labels, separator) if isinstance(labels, Path) else labels
    count, name = len(features.vectors), path.stem or str(path)
    images = features.vectors[:, None, None, :]
    if table is None:
        ids = features.ids or Made(count, str)
        nothing = np.zeros((count, 0), np.uint8)
        return Archive(name, images, nothing, ids, (), features.digest, None, np.zeros(count, bool))
    if features.ids is None and len(table.ids) != count:
        raise InputError(
            f"{path} has {count} rows and the labels are of {len(table.ids)} tiles: give one for each, in the same "
            "order, or features with ids"
        )
    rows = np.arange(count) if features.ids is None else _match(path, features.ids, table)
    is_labelled = rows >= 0
    rows = np.where(is_labelled, rows, 0)
    matrix = np.where(is_labelled[:, None], table.labels[rows], 0).astype(np.uint8)
    for number, class_name in zip((table.labels == 1).sum(0), table.class_names, strict=True):
        if number == 0:
            warnings.warn(InputWarning(f"no tile has the class {class_name}: it cannot be learnt"), stacklevel=2)
    split = None
    if table.parts is not None:
        parts = np.where(is_labelled, table.parts[rows], 255)
        split = Split(*(np.flatnonzero(parts == part) for part in range(3)))
    ids = features.ids or table.ids
    copy_of = find_equal_rows(features.vectors)
    warn_of_copies(copy_of, ids, split, "have the very features of others")
    labelled = None if is_labelled.all() else is_labelled
    return Archive(name, images, matrix, ids, table.class_names, features.digest, split, labelled, copy_of)


def _match(path: Path, ids: Sequence[str], table: CsvLabels) -> Int[np.ndarray, " n"]:
    """Row of the label table for each tile (n,), -1 for none. Raises InputError for labels without features."""
    exact = {normal(tile): row for row, tile in enumerate(ids)}
    found = [exact.get(normal(tile), -1) for tile in table.ids]
    rows = np.full(len(ids), -1)
    names: dict[str, list[int]] | None = None
    missing = []
    for row, (tile, place) in enumerate(zip(table.ids, found, strict=True)):
        if place < 0:
            names = names or _names(ids)
            tiles = names.get(normal(tile).strip(), [])
            if len(tiles) > 1:
                both = " or ".join(ids[index] for index in tiles[:2])
                raise InputError(f"{table.places[row]}: the id {tile} may be {both} in {path}: write it in full")
            if not tiles:
                missing.append(row)
                continue
            (place,) = tiles
        if rows[place] >= 0:
            other = table.ids[rows[place]]
            raise InputError(f"{table.places[row]}: {other} and {tile} both name {ids[place]} in {path}: remove one")
        rows[place] = row
    if missing:
        few = ", ".join(table.ids[row] for row in missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise InputError(
            f"{table.places[missing[0]]}: {len(missing)} ids have no features in {path} ({few}): mend or add them"
        )
    return rows


def _names(ids: Sequence[str]) -> dict[str, list[int]]:
    """Indices of the tiles by each form of their id: whole or file name alone, with or without suffix."""
    tiles: dict[str, list[int]] = defaultdict(list)
    for index, tile in enumerate(map(normal, ids)):
        file = tile.rpartition("/")[2]
        for short in {tile, _stem(tile), file, _stem(file)}:
            tiles[short].append(index)
    return dict(tiles)


def _stem(name: str) -> str:
    """The path without its suffix, if it has one."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.rpartition('.')[0] or file}"
