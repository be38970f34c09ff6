"""Where decoded tiles are kept: in memory, in a memory-mapped cache on disk, or nowhere."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.lib import format as npy

from aljax.data.archive import Archive
from aljax.data.tiles.images import EncodedImages, Images, in_order, load
from aljax.errors import InputError
from aljax.system.files import one_at_a_time, remove_leftovers, replacing
from aljax.system.machine import caches_dir, usable_memory

TilesIn = Literal["auto", "memory", "cache", "disk"]
MARGIN_BYTES = 2**26
# Of the machine's memory: an archive up to this size is kept decoded.
MEMORY_SHARE = 0.25


def keep_tiles(archive: Archive, tiles_in: TilesIn, cache_dir: Path | None = None) -> Archive:
    """The archive with its tiles decoded into memory or a cache, or, for `disk`, decoded whenever they are read.

    `auto` is memory for an archive that takes up to a quarter of it, and disk for a larger one. All give the
    same pixels. Raises InputError for a tile that cannot be read or a cache that cannot be written.
    """
    if isinstance(archive.images, np.ndarray):
        return archive
    if tiles_in == "auto":
        tiles_in = "memory" if decoded_bytes(archive.images) <= MEMORY_SHARE * usable_memory() else "disk"
    if tiles_in == "memory":
        return replace(archive, images=load(archive.images))
    if tiles_in == "cache":
        return replace(archive, images=cached(archive.images, archive.digest, cache_dir or default_cache_dir()))
    return archive


def decoded_bytes(images: Images) -> int:
    """What all tiles take when they are decoded."""
    return int(np.prod(images.shape)) * images.dtype.itemsize


def default_cache_dir() -> Path:
    """`~/.cache/aljax/tiles`, or where XDG_CACHE_HOME says."""
    return caches_dir() / "tiles"


def cached(images: Images, digest: str, folder: Path) -> np.memmap:
    """The tiles as a memory-mapped array, decoded into `folder` if they are not there yet.

    `digest` names the tiles; with their shape and type it is the name of the file, a plain `.npy` that is
    complete or not there. Raises InputError if the folder cannot be written or has no room.
    """
    stamp = f"-{images.stamp[:8]}" if isinstance(images, EncodedImages) and images.stamp else ""
    name = f"{digest[:32]}{stamp}-{'x'.join(map(str, images.shape))}-{images.dtype.name}.npy"
    path = folder / name
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with one_at_a_time(folder):
                remove_leftovers(folder)
                if not path.exists():  # another process may have written it meanwhile
                    _check_room(images, folder)
                    _write(images, path)
        except OSError as error:
            raise InputError(f"cannot write the cache {path} ({error.strerror}): choose another --cache-dir") from error
    return _open(path, images)


def _open(path: Path, images: Images) -> np.memmap:
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a sound cache of tiles ({error}): delete it") from error
    if mapped.shape != images.shape or mapped.dtype != images.dtype:
        raise InputError(f"{path} holds other tiles than its name says: delete it")
    return mapped


def _check_room(images: Images, folder: Path) -> None:
    needed = decoded_bytes(images) + MARGIN_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"the cache of decoded tiles needs {needed / 2**30:.1f} GiB and {folder} has {free / 2**30:.1f} GiB free: "
            "choose another --cache-dir, or --tiles-in disk"
        )


def _write(images: Images, path: Path) -> None:
    # Written, not mapped: a disk that fills up is then an error and not a bus error.
    with replacing(path) as file:
        header = {"descr": npy.dtype_to_descr(images.dtype), "fortran_order": False, "shape": images.shape}
        npy.write_array_header_1_0(file, header)
        for batch in in_order(images, "decoding tiles into the cache"):
            file.write(np.ascontiguousarray(batch).data)
