"""Tiles that are copies of others: on both sides of a split they would be learnt and then measured with."""

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from aljax.data.archive import Split
from aljax.data.tiles.images import read_each, read_file
from aljax.errors import InputError, InputWarning

SAMPLE_BYTES = 4096
ROW_BYTES_AT_ONCE = 2**24

Groups = list[list[int]]


def find_copies(files: Sequence[Path]) -> Int[np.ndarray, " n"]:
    """For each file the index of the first one with the same bytes, which may be its own. Raises InputError.

    Sizes tell most files apart, and a few thousand bytes most of the others; what is alike in both is read whole.
    """
    groups = _alike([[*range(len(files))]], {row: file.stat().st_size for row, file in enumerate(files)})
    for read in (_sample, _digest):
        rows = [row for group in groups for row in group]
        found = read_each(read, [files[row] for row in rows], "looking for copies")
        groups = _alike(groups, dict(zip(rows, found, strict=True)))
    return _first_of_each(groups, len(files))


def find_equal_rows(vectors: Shaped[np.ndarray, "n d"]) -> Int[np.ndarray, " n"]:
    """For each row the index of the first one that equals it, which may be its own; memory is that of some rows."""
    at_once = max(1, ROW_BYTES_AT_ONCE // (vectors.shape[1] * vectors.itemsize))
    blocks = (vectors[start : start + at_once] for start in range(0, len(vectors), at_once))
    sums = np.concatenate([block.sum(1, dtype=np.float64) for block in blocks])  # tell most rows apart
    order = np.argsort(sums, kind="stable")
    follows = np.diff(sums[order], prepend=np.nan) == 0.0
    rows = np.sort(order[follows | np.append(follows[1:], False)])  # whose sum is another's too
    by_content: dict[bytes, int] = {}
    first = np.arange(len(vectors))
    for row in rows.tolist():
        first[row] = by_content.setdefault(hashlib.sha256(vectors[row].tobytes()).digest(), row)
    return first


def warn_of_copies(
    copy_of: Int[np.ndarray, " n"],
    names: Sequence[object],
    split: Split | None,
    are_alike: str = "are copies of others, byte for byte",
) -> None:
    """Tells which tiles are copies, and whether the user's split has some of them in another part than the first."""
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
    message = f"{len(copies)} tiles {are_alike}, as {names[shown]} of {names[copy_of[shown]]}: {remedy}"
    warnings.warn(InputWarning(message), stacklevel=3)


def _first_of_each(groups: Groups, count: int) -> Int[np.ndarray, " n"]:
    first = np.arange(count)
    for group in groups:
        first[group] = group[0]
    return first


def _alike(groups: Groups, keys: Mapping[int, Hashable]) -> Groups:
    """The rows of each group that have a key in common with another one of it."""
    parts: Groups = []
    for group in groups:
        by_key = defaultdict(list)
        for row in group:
            by_key[keys[row]].append(row)
        parts += [part for part in by_key.values() if len(part) > 1]
    return parts


def _sample(path: Path) -> bytes:
    """Stands for what a file has at its start, in its middle and at its end."""
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
