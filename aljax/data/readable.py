"""Tiles that cannot be read: found before any computation, and refused or left out."""

import hashlib
import warnings
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from aljax.data.archive import Archive, Split
from aljax.data.tiles.images import EncodedImages, Unreadable, find_unreadable, name_unreadable
from aljax.errors import InputError, InputWarning


def require_readable(archive: Archive) -> None:
    """Reads all encoded tiles once, with a progress bar. Raises an InputError that names all unreadable ones."""
    if isinstance(archive.images, EncodedImages):
        unreadable = find_unreadable(archive.images, "reading all tiles once, before the first step")
        if unreadable:
            raise InputError(name_unreadable(unreadable.values(), len(archive.ids)))


def drop_unreadable(archive: Archive, unreadable: Unreadable) -> Archive:
    """The archive without its unreadable tiles, which a warning names. Raises InputError if none is left."""
    if not unreadable:
        return archive
    count, message = len(archive.ids), name_unreadable(unreadable.values(), len(archive.ids))
    if len(unreadable) == count:
        raise InputError(message)
    what = "it is left out" if len(unreadable) == 1 else "they are left out"
    warnings.warn(InputWarning(f"{message} ({what})"), stacklevel=2)
    return _subset(archive, np.setdiff1d(np.arange(count), list(unreadable)))


def _subset(archive: Archive, rows: Int[np.ndarray, " k"]) -> Archive:
    """The tiles `rows`, in ascending order, of an archive of encoded tiles."""
    assert isinstance(archive.images, EncodedImages)
    places = rows.tolist()
    split = archive.split and Split(*(np.flatnonzero(np.isin(rows, part)) for part in archive.split))
    return replace(
        archive,
        images=archive.images.subset(rows),
        labels=archive.labels[rows],
        ids=tuple(archive.ids[row] for row in places),
        digest=hashlib.sha256(f"{archive.digest} {places}".encode()).hexdigest(),  # so that it has its own cache
        split=split,
        labelled=None if archive.labelled is None else archive.labelled[rows],
        copy_of=None if archive.copy_of is None else _first_copies(archive.copy_of[rows]),
        footprints=archive.footprints and archive.footprints.take(rows),
    )


def _first_copies(copy_of: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
    """`Archive.copy_of` of a subset: the groups of copies by the new index of their first tile."""
    _, first, group = np.unique(copy_of, return_index=True, return_inverse=True)
    return first[group]
