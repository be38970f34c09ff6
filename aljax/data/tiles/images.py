"""Images of an archive by index: in memory, memory-mapped, or decoded at each access."""

import mmap
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from tqdm import tqdm

from aljax.arrays import AnyArray, in_native_order
from aljax.data.tiles.decoding import TileForm, decode
from aljax.data.tiles.georeferences import Georeferences
from aljax.data.tiles.made import Made
from aljax.data.tiles.nodata import find_lone_value
from aljax.data.tiles.resizing import resize
from aljax.errors import InputError, InputWarning
from aljax.system.machine import usable_cores

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
# For a memory-mapped file: bytes that may stay resident, rows that are copied between two checks of that, and bytes
# that the system reads for a single row.
MAPPED_BYTES, MAPPED_ROWS, READ_AROUND = 2**27, 256, 2**19
MOST_NAMED = 50  # broken tiles in one message
SECONDS_TO_MESSAGE = 10.0  # of reading without a progress bar, until a line says how far it is

Unreadable = Mapping[int, InputError]
"""The error of each unreadable tile by its index, in ascending order."""


@runtime_checkable
class Images(Protocol):
    """Tiles of one shape and type by index. NumPy arrays, memory-mapped or not, satisfy this protocol."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w, bands)."""

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, index: int, /) -> np.ndarray: ...


@dataclass(frozen=True)
class EncodedImages:
    """Encoded tiles, decoded and resized at each access. Thread-safe."""

    read: Callable[[int], bytes]
    names: Sequence[str]
    """The name of each tile in messages: its file, or its location in one."""
    size: int
    form: TileForm
    stamp: str = ""
    """`stamp_files` of files that are hashed only by a sample; it identifies their cache."""
    georeferences: Callable[[Int[np.ndarray, " k"]], Georeferences] | None = None
    """Those of the tiles with these indices, from an index. None: they are read from the files `names`."""
    readable: Bool[np.ndarray, " n"] | None = field(default=None, compare=False, repr=False)
    """Tiles that were read once and have not changed since, from an index. None: not known."""
    note_readable: Callable[[Int[np.ndarray, " k"]], None] | None = None
    """Has the index keep that the tiles with these indices were read."""
    warned: set[float] = field(default_factory=set, compare=False, repr=False)
    """Undeclared nodata values that were warned of, each once."""

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.names), self.size, self.size, self.form.bands

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.form.dtype)

    def __getitem__(self, index: int, /) -> Shaped[np.ndarray, "size size bands"]:
        """Tile `index`. Raises InputError if its file is broken or not of the archive's form.

        Warns of a value that seems to be an undeclared nodata value.
        """
        pixels = decode(self.read(index), self.names[index], self.form)
        self._warn_of_lone_value(pixels, self.names[index])  # before resizing mixes it with others
        return resize(pixels, self.size)

    def subset(self, rows: Int[np.ndarray, " k"]) -> "EncodedImages":
        """The tiles `rows`."""
        read, names, located, note = self.read, self.names, self.georeferences, self.note_readable
        return replace(
            self,
            read=lambda index: read(int(rows[index])),
            names=Made(len(rows), lambda index: names[int(rows[index])]),
            georeferences=None if located is None else lambda some: located(rows[some]),
            readable=None if self.readable is None else self.readable[rows],
            note_readable=None if note is None else lambda some: note(rows[some]),
        )

    def _warn_of_lone_value(self, pixels: Shaped[np.ndarray, "h w bands"], name: str) -> None:
        found = find_lone_value(pixels)
        if found is None or found.value in self.warned:
            return
        self.warned.add(found.value)
        where = f"in {found.filled} of {pixels[..., 0].size} pixels of band {found.band}"
        message = (
            f"{name} has the value {found.value:g} {where}, far from all others ({found.lowest:g} to "
            f"{found.highest:g}): if it means no data, declare it as nodata in this file and in others that have it"
        )
        warnings.warn(InputWarning(message), stacklevel=3)


@dataclass(frozen=True)
class Tolerant:
    """Images with unreadable tiles: their errors are recorded, and all their pixels are `fill`."""

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
        """Unreadable tiles among those accessed so far."""
        return dict(sorted(self._noted.items()))

    def is_unreadable(self, index: int) -> bool:
        """Whether this tile was accessed and could not be read; threads may be reading others."""
        return index in self._noted

    def __getitem__(self, index: int, /) -> Shaped[np.ndarray, "h w bands"]:
        try:
            return np.asarray(self.images[index])
        except InputError as error:
            self._noted[int(index)] = error
            return np.full(self.shape[1:], self.fill).astype(self.dtype)


def name_unreadable(unreadable: Iterable[InputError], num_tiles: int) -> str:
    """A message with the errors of all unreadable tiles, or of the first `MOST_NAMED`."""
    reasons = [str(error) for error in unreadable]
    if len(reasons) == 1:
        return reasons[0]
    more = [f"and {len(reasons) - MOST_NAMED} more"] if len(reasons) > MOST_NAMED else []
    return f"{len(reasons)} of {num_tiles} tiles cannot be read: {'; '.join([*reasons[:MOST_NAMED], *more])}"


def stream(images: Images, rows: Int[np.ndarray, " n"], batch_size: int) -> Iterator[np.ndarray]:
    """Batches (batch_size, h, w, bands) of the tiles `rows`, in that order; n must be a multiple of the batch size.

    An array in memory is sliced. All other images are read and decoded ahead of use by threads, a few batches at a
    time, so memory does not grow with n.
    """
    # Features are read in the calling thread; for a cache of tiles, threads that read ahead are faster.
    if isinstance(images, np.memmap) and images.shape[1:3] == (1, 1):
        return map(in_native_order, _read_mapped(images, rows, batch_size))
    if isinstance(images, np.ndarray) and not isinstance(images, np.memmap):
        return (in_native_order(images[chunk]) for chunk in rows.reshape(-1, batch_size))
    return _read_ahead(images, rows, batch_size)


def _read_mapped(images: np.memmap, rows: Int[np.ndarray, " n"], batch_size: int) -> Iterator[np.ndarray]:
    """Copies of the rows of a memory-mapped file.

    Pages that were read count as memory of this process until they are released with `madvise`. That is cheap, because
    the pages stay in the system's cache.
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
    """All tiles in order, in batches of at most `batch_size`, with a progress bar called `purpose`.

    Raises InputError at the end, with the names of all unreadable tiles.
    """
    tolerant = Tolerant(images)
    yield from _read_all(tolerant, purpose, batch_size)
    if tolerant.unreadable:
        raise InputError(name_unreadable(tolerant.unreadable.values(), images.shape[0]))


def find_unreadable(images: Images, purpose: str) -> Unreadable:
    """The unreadable tiles, after reading all once with a progress bar; none, without reading, for a NumPy array.

    Tiles that an index says have been read before are not read again.
    """
    tolerant, done = Tolerant(images), 0
    if isinstance(images, np.ndarray):
        return {}
    known = images.readable if isinstance(images, EncodedImages) else None
    rows = np.arange(images.shape[0]) if known is None else np.flatnonzero(~known)
    try:
        for batch in _read_all(tolerant, purpose, rows=rows):
            done += len(batch)
    finally:  # also of what was read before a Ctrl-C
        if isinstance(images, EncodedImages) and images.note_readable is not None:
            images.note_readable(np.setdiff1d(rows[:done], list(tolerant.unreadable)))
    return tolerant.unreadable


def _read_all(
    images: Images, purpose: str, batch_size: int = 16, rows: Int[np.ndarray, " k"] | None = None
) -> Iterator[np.ndarray]:
    """The tiles `rows`, or all."""
    rows = np.arange(images.shape[0]) if rows is None else rows
    count, done, started = len(rows), 0, time.monotonic()
    with tqdm(desc=purpose, total=count, unit="tile", disable=None, leave=False) as bar:
        for batch in _read_ahead(images, rows, batch_size):
            yield batch
            bar.update(len(batch))
            done += len(batch)
            if bar.disable and started and time.monotonic() - started > SECONDS_TO_MESSAGE:  # once, into a log
                print(f"{purpose}: {done} of {count} so far", file=sys.stderr, flush=True)
                started = 0.0


def load(images: Images) -> Shaped[np.ndarray, "n h w bands"]:
    """All tiles decoded into memory. Raises InputError, with the names of all unreadable tiles."""
    loaded = np.empty(images.shape, images.dtype)
    start = 0
    for batch in in_order(images, "reading tiles"):
        loaded[start : start + len(batch)] = batch
        start += len(batch)
    return loaded
