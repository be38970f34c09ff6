"""Images of an archive by index: in memory, memory-mapped, or decoded whenever they are asked for."""

import hashlib
import mmap
import os
import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Shaped
from tqdm import tqdm

from aljax.arrays import AnyArray, in_native_order
from aljax.data.tiles.decoding import MAX_BYTES, TileForm, decode, resize
from aljax.data.tiles.nodata import find_lone_value
from aljax.errors import InputError, InputWarning
from aljax.system.machine import usable_cores

Found = TypeVar("Found")

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
# Tiles are hashed whole up to this many bytes, and a sample of about this size in larger archives.
HASHED_BYTES = 2**30
# Of a mapped file: bytes that stay with the process, rows that are copied before they are counted, and bytes that come
# with a single row.
MAPPED_BYTES, MAPPED_ROWS, READ_AROUND = 2**27, 256, 2**19
MOST_NAMED = 50  # broken tiles in one message
SECONDS_WITHOUT_A_WORD = 10.0

Unreadable = Mapping[int, InputError]
"""Why tiles cannot be read, by their index, in its order."""


@runtime_checkable
class Images(Protocol):
    """Tiles of one shape and type by index; a NumPy array is one, in memory or memory-mapped."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w, bands)."""

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, index: int, /) -> np.ndarray: ...


@dataclass(frozen=True)
class EncodedImages:
    """Encoded tiles, each decoded and resized when it is asked for. Safe to use from several threads."""

    read: Callable[[int], bytes]
    names: Sequence[str]
    """What to call each tile in a message: its file, or where it stands in one."""
    size: int
    form: TileForm
    stamp: str = ""
    """Of files that are hashed by a sample alone: another if any of them changes. Tells caches of them apart."""
    told: set[float] = field(default_factory=set, compare=False, repr=False)
    """Values that look like no data and were warned of, each once."""

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.names), self.size, self.size, self.form.bands

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.form.dtype)

    def __getitem__(self, index: int, /) -> Shaped[np.ndarray, "size size bands"]:
        """Tile `index`. Raises InputError if its file is broken or not of the archive's form.

        Warns, before resizing mixes pixels, of a value that looks like no data and is not declared as such.
        """
        pixels = decode(self.read(index), self.names[index], self.form)
        self._warn_of_lone_value(pixels, self.names[index])
        return resize(pixels, self.size)

    def _warn_of_lone_value(self, pixels: Shaped[np.ndarray, "h w bands"], name: str) -> None:
        found = find_lone_value(pixels)
        if found is None or found.value in self.told:
            return
        self.told.add(found.value)
        where = f"in {found.filled} of {pixels[..., 0].size} pixels of band {found.band}"
        message = (
            f"{name} has the value {found.value:g} {where}, far from all others ({found.lowest:g} to "
            f"{found.highest:g}): if it means no data, declare it as nodata in this file and in others that have it"
        )
        warnings.warn(InputWarning(message), stacklevel=3)


@dataclass(frozen=True)
class Tolerant:
    """Images of which those that cannot be read are noted, and look like a pixel of `fill` all over."""

    images: Images
    fill: Float[AnyArray, " bands"] | float = 0.0
    _noted: dict[int, InputError] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.images.shape

    @property
    def dtype(self) -> np.dtype:
        return self.images.dtype

    @property
    def unreadable(self) -> Unreadable:
        """Of the tiles that were asked for."""
        return dict(sorted(self._noted.items()))

    def __getitem__(self, index: int, /) -> Shaped[np.ndarray, "h w bands"]:
        try:
            return np.asarray(self.images[index])
        except InputError as error:
            self._noted[int(index)] = error
            return np.full(self.shape[1:], self.fill).astype(self.dtype)


def name_unreadable(unreadable: Iterable[InputError], num_tiles: int) -> str:
    """A message that names all tiles that cannot be read, with the reasons; of very many the first."""
    reasons = [str(error) for error in unreadable]
    if len(reasons) == 1:
        return reasons[0]
    more = [f"and {len(reasons) - MOST_NAMED} more"] if len(reasons) > MOST_NAMED else []
    return f"{len(reasons)} of {num_tiles} tiles cannot be read: {'; '.join([*reasons[:MOST_NAMED], *more])}"


def read_file(path: Path) -> bytes:
    """The bytes of a tile's file. Raises InputError."""
    try:
        if (size := path.stat().st_size) <= MAX_BYTES:
            return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} is not readable ({error.strerror}): check that it is still there") from error
    raise InputError(f"{path} has {size} bytes, too many for a tile (at most {MAX_BYTES}): cut it into tiles")


def read_each(read: Callable[[Path], Found], files: Sequence[Path], purpose: str) -> Generator[Found, None, None]:
    """What `read` finds in each file, in order, several at a time, with a progress bar named after the purpose."""
    with ThreadPoolExecutor() as pool:
        try:
            yield from tqdm(pool.map(read, files), purpose, len(files), unit="tile", disable=None, leave=False)
        finally:
            pool.shutdown(cancel_futures=True)


def digest_tiles(read: Callable[[int], bytes], num_tiles: int, total_bytes: int) -> str:
    """SHA-256 of encoded tiles: of all where they have less than a GiB, of evenly spaced ones in larger archives."""
    digest = hashlib.sha256(f"{num_tiles} {total_bytes}".encode())
    for index in range(0, num_tiles, 1 + total_bytes // HASHED_BYTES):
        digest.update(hashlib.sha256(read(index)).digest())
    return digest.hexdigest()


def stamp_files(stats: Iterable[os.stat_result], total_bytes: int) -> str:
    """What tells whether files are those of before, without reading them; empty where `digest_tiles` hashes all."""
    if total_bytes < HASHED_BYTES:
        return ""
    digest = hashlib.sha256()
    for stat in stats:
        digest.update(f"{stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def stream(images: Images, rows: Int[np.ndarray, " n"], batch_size: int) -> Iterator[np.ndarray]:
    """Batches (batch_size, h, w, bands) of the tiles `rows`, in that order; n is a multiple of the batch size.

    An array in memory is sliced at once. Anything else is read and decoded ahead by threads, a few batches at
    a time, so memory does not grow with n.
    """
    # Of a file of features, rows are what is read; of tiles in a cache, threads ahead of the device do better.
    if isinstance(images, np.memmap) and images.shape[1:3] == (1, 1):
        return map(in_native_order, _read_mapped(images, rows, batch_size))
    if isinstance(images, np.ndarray) and not isinstance(images, np.memmap):
        return (in_native_order(images[chunk]) for chunk in rows.reshape(-1, batch_size))
    return _read_ahead(images, rows, batch_size)


def _read_mapped(images: np.memmap, rows: Int[np.ndarray, " n"], batch_size: int) -> Iterator[np.ndarray]:
    """Copies of rows of a file.

    What was read of a mapped file counts as this process's memory, with what the system read around it, until it is let
    go: that costs nothing, because the file's pages stay where they are.
    """
    mapped, row_bytes, held = images._mmap, images[0].nbytes, 0  # type: ignore[attr-defined]
    for chunk in rows.reshape(-1, batch_size):
        batch = np.empty((batch_size, *images.shape[1:]), images.dtype)
        for start in range(0, batch_size, MAPPED_ROWS):
            some = chunk[start : start + MAPPED_ROWS]
            batch[start : start + MAPPED_ROWS] = images[some]
            held += max((int(some.max()) - int(some.min()) + 1) * row_bytes, READ_AROUND)
            if held > MAPPED_BYTES:
                mapped.madvise(mmap.MADV_DONTNEED)
                held = 0
        yield batch


def _read_ahead(images: Images, rows: Int[np.ndarray, " n"], batch_size: int) -> Iterator[np.ndarray]:
    import grain

    threads = min(usable_cores(), 16)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 1)
    tiles = grain.MapDataset.source(rows).map(lambda row: np.asarray(images[int(row)]))
    return map(in_native_order, tiles.batch(batch_size).to_iter_dataset(options))


def in_order(images: Images, purpose: str, batch_size: int = 16) -> Iterator[np.ndarray]:
    """All tiles once, in batches of at most `batch_size`, with a progress bar named after the purpose.

    Raises InputError at the end, naming all tiles that cannot be read.
    """
    tolerant = Tolerant(images)
    yield from _read_all(tolerant, purpose, batch_size)
    if tolerant.unreadable:
        raise InputError(name_unreadable(tolerant.unreadable.values(), images.shape[0]))


def find_unreadable(images: Images, purpose: str) -> Unreadable:
    """Which tiles cannot be read: all that are decoded as they are needed are read once, with a progress bar."""
    tolerant = Tolerant(images)
    if not isinstance(images, np.ndarray):
        for _ in _read_all(tolerant, purpose):
            pass
    return tolerant.unreadable


def _read_all(images: Images, purpose: str, batch_size: int = 16) -> Iterator[np.ndarray]:
    count, done, started = images.shape[0], 0, time.monotonic()
    with tqdm(desc=purpose, total=count, unit="tile", disable=None, leave=False) as bar:
        for batch in _read_ahead(images, np.arange(count), batch_size):
            yield batch
            bar.update(len(batch))
            done += len(batch)
            if bar.disable and started and time.monotonic() - started > SECONDS_WITHOUT_A_WORD:  # into a log, once
                print(f"{purpose}: {done} of {count} so far", file=sys.stderr, flush=True)
                started = 0.0


def load(images: Images) -> Shaped[np.ndarray, "n h w bands"]:
    """All tiles decoded into memory. Raises InputError that names all that cannot be read."""
    loaded = np.empty(images.shape, images.dtype)
    start = 0
    for batch in in_order(images, "reading tiles"):
        loaded[start : start + len(batch)] = batch
        start += len(batch)
    return loaded
