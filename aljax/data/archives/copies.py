"""Tiles that are copies of others: in two parts of a split, the same tile would be in training and in the test."""

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from aljax.data.archive import Split
from aljax.data.archives.index import TileIndex
from aljax.data.tiles.images import read_each, read_file
from aljax.errors import InputError, InputWarning

SAMPLE_BYTES = 4096  # read at each of three places of a file
ROW_BYTES_AT_ONCE = 2**24

Groups = list[list[int]]


def find_copies(index: TileIndex) -> Int[np.ndarray, " n"]:
    """For each file (n,) the index of the first one with the same bytes, which may be its own. Raises InputError.

    Only files of the same size are sampled, and only those with equal samples are read completely.
    """
    groups = _equal([[*range(len(index.files))]], dict(enumerate(index.facts["size"].tolist())))
    rows = [row for group in groups for row in group]
    groups = _equal(groups, dict(zip(rows, index.samples(_sample, rows), strict=True)))
    rows = [row for group in groups for row in group]
    found = read_each(_digest, [index.files[row] for row in rows], "looking for copies")
    groups = _equal(groups, dict(zip(rows, found, strict=True)))
    return _first_of_each(groups, len(index.files))


def find_equal_rows(vectors: Shaped[np.ndarray, "n d"]) -> Int[np.ndarray, " n"]:
    """For each row (n,) the index of the first row that equals it, which may be its own.

    Rows are read in blocks, so a memory-mapped array is never in memory as a whole.
    """
    at_once = max(1, ROW_BYTES_AT_ONCE // (vectors.shape[1] * vectors.itemsize))
    blocks = (vectors[start : start + at_once] for start in range(0, len(vectors), at_once))
    sums = np.concatenate([block.sum(1, dtype=np.float64) for block in blocks])  # differ for most different rows
    order = np.argsort(sums, kind="stable")
    follows = np.diff(sums[order], prepend=np.nan) == 0.0
    rows = np.sort(order[follows | np.append(follows[1:], False)])  # rows that share their sum with another row
    by_content: dict[bytes, int] = {}
    first = np.arange(len(vectors))
    for row in rows.tolist():
        first[row] = by_content.setdefault(hashlib.sha256(vectors[row].tobytes()).digest(), row)
    return first


def warn_of_copies(
    copy_of: Int[np.ndarray, " n"] | None,
    names: Sequence[object],
    split: Split | None,
    description: str = "are copies of others, byte for byte",
) -> None:
    """Warns of copies, and of those that the user's split has in another part than their first tile."""
    if copy_of is None:
        return
    part = np.full(len(names), -1)
    for number, rows in enumerate(split or ()):
        part[rows] = number
    copies = np.flatnonzero(copy_of != np.arange(len(names)))
    apart = copies[(part[copies] != part[copy_of[copies]]) & (part[copies] >= 0) & (part[copy_of[copies]] >= 0)]
    if not len(copies):
        return
    shown = (apart if len(apart) else copies)[0]
    if len(apart):
        remedy = f"{len(apart)} are in another part of the split than the first: give both the same, or move one away"
    else:
        remedy = "a split keeps them together; move them away unless they are meant"
    message = f"{len(copies)} tiles {description}, as {names[shown]} of {names[copy_of[shown]]}: {remedy}"
    warnings.warn(InputWarning(message), stacklevel=3)


def _first_of_each(groups: Groups, count: int) -> Int[np.ndarray, " n"]:
    first = np.arange(count)
    for group in groups:
        first[group] = group[0]
    return first


def _equal(groups: Groups, keys: Mapping[int, Hashable]) -> Groups:
    """Splits each group into groups of rows with the same key; rows with a key of their own are dropped."""
    parts: Groups = []
    for group in groups:
        by_key = defaultdict(list)
        for row in group:
            by_key[keys[row]].append(row)
        parts += [part for part in by_key.values() if len(part) > 1]
    return parts


def _sample(path: Path) -> bytes:
    """SHA-256 of some bytes at the start, in the middle and at the end of a file."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            for start in (0, size // 2, max(size - SAMPLE_BYTES, 0)):
                file.seek(start)
                digest.update(file.read(SAMPLE_BYTES))
    except OSError as error:
        raise InputError(f"{path} is not readable ({error.strerror}): check that it is still there") from error
    return digest.digest()


def _digest(path: Path) -> bytes:
    return hashlib.sha256(read_file(path)).digest()
