"""The content of an archive before any tile is decoded, for downloaded and prepared archives alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from aljax.data.archive import Archive, Split
from aljax.data.archives.entries import on_disk, read_entry, size_of
from aljax.data.tiles.decoding import TileForm
from aljax.data.tiles.images import EncodedImages, digest_tiles, stamp_files


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
        stamp=stamp_files((on_disk(file).stat() for file in files), total),
    )


def to_archive(listing: Listing, size: int, split: Split | None = None) -> Archive:
    """The listed tiles as an archive; they are decoded and resized to `size` x `size` at each access."""
    images = EncodedImages(listing.read, listing.names, size, listing.form, listing.stamp)
    digest = digest_tiles(listing.read, len(listing.ids), listing.total_bytes)
    return Archive(listing.name, images, listing.labels, listing.ids, listing.class_names, digest, split)
