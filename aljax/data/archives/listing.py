"""The content of an archive before any tile is decoded, for downloaded and prepared archives alike."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from aljax.data.archive import Archive, Split
from aljax.data.archives.entries import on_disk, read_entry, size_and_time, size_of
from aljax.data.tiles.decoding import TileForm
from aljax.data.tiles.files import digest_tiles, hashed_rows, stamp_files
from aljax.data.tiles.images import EncodedImages


@dataclass(frozen=True)
class LabelTable:
    """Ids and labels of the tiles, without their files."""

    name: str
    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    labels: UInt8[np.ndarray, "n c"]
    parts: Mapping[str, int]
    """Number of tiles in each published part; the tiles are sorted by part, in this order."""


@dataclass(frozen=True)
class Listing(LabelTable):
    """Tiles with their labels and a function that reads them."""

    form: TileForm
    names: Sequence[str]
    """The file of each tile, for messages."""
    read: Callable[[int], bytes]
    total_bytes: int
    """Size of all encoded tiles."""
    stamp: str = ""
    """As in `EncodedImages`."""


def list_files(
    table: LabelTable, form: TileForm, files: Sequence[Any], read: Callable[[Any], bytes] = read_entry
) -> Listing:
    """A listing of tiles in `files`, one for each id of the table; `read` gives the bytes of a file."""
    total = sum(map(size_of, files))
    return Listing(
        **vars(table),
        form=form,
        names=[str(file) for file in files],
        read=lambda index: read(files[index]),
        total_bytes=total,
        stamp=stamp_files(map(size_and_time, map(on_disk, files)), total),
    )


def to_archive(listing: Listing, size: int, split: Split | None = None) -> Archive:
    """The listed tiles as an archive; they are decoded and resized to `size` x `size` at each access."""
    images = EncodedImages(listing.read, listing.names, size, listing.form, listing.stamp)
    extent = len(listing.ids), listing.total_bytes
    digest = digest_tiles((hashlib.sha256(listing.read(row)).digest() for row in hashed_rows(*extent)), *extent)
    return Archive(listing.name, images, listing.labels, listing.ids, listing.class_names, digest, split)
