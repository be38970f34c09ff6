"""Tiles that cannot be read, among thousands that can: found before anything is computed, refused or left out."""

import hashlib
import warnings
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from aljax.data.archive import Archive, Split
from aljax.data.tiles.images import EncodedImages, Unreadable, find_unreadable, name_unreadable
from aljax.errors import InputError, InputWarning


def require_readable(archive: Archive) -> None:
    """Reads all tiles of files once, with a progress bar. Raises InputError that names all that cannot be read."""
    if isinstance(archive.images, EncodedImages):
        unreadable = find_unreadable(archive.images, "reading all tiles once, before the first step")
        if unreadable:
            raise InputError(name_unreadable(unreadable.values(), len(archive.ids)))


def leave_out(archive: Archive, unreadable: Unreadable) -> Archive:
    """The archive without the tiles that cannot be read, which a warning names. Raises InputError if none is left."""
    if not unreadable:
        return archive
    count, message = len(archive.ids), name_unreadable(unreadable.values(), len(archive.ids))
    if len(unreadable) == count:
        raise InputError(message)
    what = "it is left out" if len(unreadable) == 1 else "they are left out"
    warnings.warn(InputWarning(f"{message} ({what})"), stacklevel=2)
    return _subset(archive, np.setdiff1d(np.arange(count), list(unreadable)))


def _subset(archive: Archive, rows: Int[np.ndarray, " k"]) -> Archive:
    """The tiles `rows`, ascending, of an archive that is read from files."""
    images = archive.images
    assert isinstance(images, EncodedImages)
    places = rows.tolist()
    split = archive.split and Split(*(np.flatnonzero(np.isin(rows, part)) for part in archive.split))
    return replace(
        archive,
        images=replace(images, read=lambda index: images.read(places[index]), names=[images.names[i] for i in places]),
        labels=archive.labels[rows],
        ids=tuple(archive.ids[row] for row in places),
        digest=hashlib.sha256(f"{archive.digest} {places}".encode()).hexdigest(),  # names a cache of its own
        split=split,
        labelled=None if archive.labelled is None else archive.labelled[rows],
        copy_of=None if archive.copy_of is None else _first_copies(archive.copy_of[rows]),
    )


def _first_copies(copy_of: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
    """The same groups of copies, each named by the place of its first tile here."""
    _, first, group = np.unique(copy_of, return_index=True, return_inverse=True)
    return first[group]
