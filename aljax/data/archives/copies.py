"""Tiles that are copies of others: in two parts of a split, the same tile would be in training and in the test."""

import hashlib
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Shaped

from aljax.arrays import repeated
from aljax.data.archive import Split
from aljax.data.archives.index import TileIndex
from aljax.errors import InputWarning

ROW_BYTES_AT_ONCE = 2**24


def find_copies(index: TileIndex) -> Int[np.ndarray, " n"]:
    """For each file (n,) the index of the first one with the same bytes, which may be its own. Raises InputError.

    Only files of the same size are sampled, and only those with equal samples are read completely.
    """
    rows = np.flatnonzero(repeated(index.facts["size"]))
    rows = rows[repeated(index.samples(rows))]
    _, place, group = np.unique(index.digests(rows), return_index=True, return_inverse=True)
    first = np.arange(len(index.facts))
    first[rows] = rows[place[group]]
    return first


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
