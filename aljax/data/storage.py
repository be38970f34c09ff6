"""Where decoded tiles are kept: in memory, in a memory-mapped cache on disk, or not at all."""

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
MEMORY_SHARE = 0.25  # of the usable memory: with `auto`, an archive up to this size is kept decoded


def keep_tiles(archive: Archive, tiles_in: TilesIn, cache_dir: Path | None = None) -> Archive:
    """The archive with its tiles decoded into memory or a cache; with `disk` they are decoded at each access.

    `auto` means `memory` if the decoded tiles fit into a quarter of the usable memory, else `disk`. The pixels are the
    same in all cases. Raises InputError for a tile that cannot be read or a cache that cannot be written.
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
    """Size of all tiles when decoded."""
    return int(np.prod(images.shape)) * images.dtype.itemsize


def default_cache_dir() -> Path:
    """`~/.cache/aljax/tiles`, or below XDG_CACHE_HOME."""
    return caches_dir() / "tiles"


def cached(images: Images, digest: str, folder: Path) -> np.memmap:
    """The tiles as a memory-mapped array, decoded into `folder` unless they are cached there already.

    The file is a plain `.npy`, written atomically and named by `digest`, which identifies the tiles, with their shape
    and type. Raises InputError if the folder cannot be written or has no room, or if the cached file is damaged.
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
    # Written, not memory-mapped: a full disk then raises OSError instead of a bus error.
    with replacing(path) as file:
        header = {"descr": npy.dtype_to_descr(images.dtype), "fortran_order": False, "shape": images.shape}
        npy.write_array_header_1_0(file, header)
        for batch in in_order(images, "decoding tiles into the cache"):
            file.write(np.ascontiguousarray(batch).data)
