"""What the loop knows of an archive: tiles, labels, ids, class names, and how they are split."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Int, Shaped, UInt8

from aljax.arrays import AnyArray, as_array, in_native_order
from aljax.data.augmentation import BandStatistics, Normalisation
from aljax.data.tiles.images import Images, stream
from aljax.errors import InputError
from aljax.keys import Purpose, derive_key
from aljax.system.machine import return_freed_memory
from aljax.xla.devices import replicate, rows_of_process, shard_batch, tiles_at_once, true_in_all

MAX_TILES_FOR_STATISTICS = 1000
CONSTANT = 1e-7  # deviation of a band by its mean that float32 does not tell from none
# Of the accelerator's free memory; the rest is for the model and its activations.
MEMORY_SHARE_FOR_TILES = 0.5
IDS_AT_ONCE = 65_536  # in one text
FEATURES_AT_ONCE = 8192  # of 1024 features each 32 MiB, in float32


class Split(NamedTuple):
    """Indices into an archive; the pool is what the queries choose from."""

    pool: Int[np.ndarray, " p"]
    validation: Int[np.ndarray, " v"]
    test: Int[np.ndarray, " t"]


@dataclass(frozen=True)
class Archive:
    """Tiles of one size with their multi-labels."""

    name: str
    images: Images
    labels: UInt8[np.ndarray, "n c"]
    ids: Sequence[str]
    class_names: tuple[str, ...]
    digest: str = ""
    """Stands for the tiles in the fingerprint, whichever way they are read; if empty, their pixels do."""
    split: Split | None = None
    """The split that comes with the archive, where there is one."""
    labelled: Bool[np.ndarray, " n"] | None = None
    """Which tiles have labels; the rows of the others are 0. None: all have."""
    copy_of: Int[np.ndarray, " n"] | None = None
    """The first tile with the same bytes, its own index for one that is no copy. None: nobody has looked."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", as_array(self.labels))
        if self.labels.ndim != 2:
            raise InputError(f"archive {self.name}: labels have the shape {self.labels.shape}: give (tiles, classes)")
        counts = {self.images.shape[0], len(self.labels), len(self.ids)}
        if len(counts) != 1 or self.labels.shape[1] != len(self.class_names):
            raise InputError(
                f"archive {self.name}: {self.images.shape[0]} images, {len(self.labels)} rows of "
                f"{self.labels.shape[1]} labels, {len(self.ids)} ids and {len(self.class_names)} class names do not "
                "fit together"
            )
        if not (known := (self.labels == 0) | (self.labels == 1)).all():
            row, column = np.argwhere(~known)[0]
            raise InputError(
                f"archive {self.name}: tile {self.ids[row]} has the label {self.labels[row, column]} for class "
                f"{self.class_names[column]}: labels are 0 or 1"
            )

    def fingerprint(self) -> str:
        """SHA-256 of tiles, labels, ids and class names: the same only for the same data."""
        digest = hashlib.sha256(self.digest.encode())
        parts = [self.labels] if self.digest else [np.asarray(self.images), self.labels]
        for part in parts:
            digest.update(str(part.shape).encode())
            digest.update(np.ascontiguousarray(part).data)
        for start in range(0, len(self.ids), IDS_AT_ONCE):
            digest.update("".join(f"{tile}\n" for tile in self.ids[start : start + IDS_AT_ONCE]).encode())
        digest.update("\n".join(("", *self.class_names)).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Tiles:
    """A set of an archive's tiles with their labels and the statistics that standardise them."""

    images: Images
    """Of the whole archive."""
    indices: Int[np.ndarray, " n"]
    """Where this set's tiles are in the archive."""
    labels: UInt8[np.ndarray, "n c"]
    statistics: BandStatistics
    on_device: Shaped[Array, "n h w bands"] | None = None
    """This set's pixels on the accelerator, where they fit; None: read from `images` batch by batch."""

    @property
    def num_tiles(self) -> int:
        return len(self.indices)

    @property
    def are_features(self) -> bool:
        """Whether tiles are vectors of features, kept as those of one pixel."""
        return self.images.shape[1:3] == (1, 1)

    @property
    def at_once(self) -> int:
        """Tiles to predict at once."""
        if self.are_features:
            return min(FEATURES_AT_ONCE, -(-self.num_tiles // 1024) * 1024)
        return tiles_at_once(*self.images.shape[1:3])

    def read(self, rows: Int[np.ndarray, " m"]) -> Shaped[np.ndarray, "m h w bands"]:
        """Pixels of the set's tiles `rows`, on the host."""
        return next(iter(stream(self.images, self.indices[rows], len(rows))))

    def batches(self, rows: Int[np.ndarray, " m"], batch_size: int) -> Iterator[Shaped[AnyArray, "b h w bands"]]:
        """Pixels of the set's tiles `rows`, in that order, on the devices; m is a multiple of the batch size."""
        if self.on_device is not None:
            return (_take(self.on_device, chunk) for chunk in rows.reshape(-1, batch_size))
        own, part = rows_of_process(rows, batch_size)
        return (shard_batch(pixels, batch_size) for pixels in stream(self.images, self.indices[own], part))

    def labels_of(self, rows: Int[np.ndarray, " b"]) -> UInt8[AnyArray, "b c"]:
        """Labels of a batch of the set's tiles, on the devices as their pixels are."""
        return shard_batch(self.labels[rows_of_process(rows, len(rows))[0]], len(rows))


@jax.jit
def _take(images: Shaped[Array, "n h w bands"], rows: Int[AnyArray, " b"]) -> Shaped[Array, "b h w bands"]:
    return images[rows]


def random_split(
    seed: int, num_tiles: int, validation: int, test: int, copy_of: Int[np.ndarray, " n"] | None = None
) -> Split:
    """A random split that is the same for every trial; the pool is what validation and test leave.

    Tiles that are copies of one another, by `Archive.copy_of`, are in one part, which may have more tiles for them.
    Raises InputError if a part has none.
    """
    if validation < 1 or test < 1 or num_tiles - validation - test < 1:
        raise InputError(
            f"{num_tiles} tiles cannot give {validation} for validation and {test} for the test and leave a pool: "
            "use smaller sets or more tiles"
        )
    order = np.asarray(jax.random.permutation(derive_key(seed, Purpose.SPLIT), num_tiles))
    ends = np.array([validation, validation + test])
    if copy_of is not None:
        _, start, group, count = np.unique(copy_of[order], return_index=True, return_inverse=True, return_counts=True)
        # Copies stand where the first of them was drawn, and a part ends where no copies would follow.
        order = order[np.argsort(start[group], kind="stable")]
        whole = np.cumsum(count[np.argsort(start)])
        ends = whole[np.searchsorted(whole, ends)]
    parts = np.split(order, ends)
    if not all(map(len, parts)):
        raise InputError(f"copies of {num_tiles} tiles belong together, and leave a part without any: add other tiles")
    return Split(pool=np.sort(parts[2]), validation=np.sort(parts[0]), test=np.sort(parts[1]))


class SplitTiles(NamedTuple):
    """The three sets of an experiment."""

    pool: Tiles
    validation: Tiles
    test: Tiles
    ids: Sequence[str]
    """Of the whole archive."""

    def pool_ids(self, rows: Int[np.ndarray, " b"]) -> tuple[str, ...]:
        """Ids of the pool's tiles `rows`."""
        return tuple(self.ids[index] for index in self.pool.indices[rows])


def place(
    archive: Archive,
    split: Split,
    seed: int,
    on_device: bool | None = None,
    normalisation: Normalisation = "standardise",
) -> SplitTiles:
    """The three sets, standardised by the pool's mean and deviation per band or scaled from 0 to 1.

    The statistics come from a fixed sample of at most 1,000 pool tiles, never from validation or test. Pixels
    go to the accelerator once if there is one with room for them (or as `on_device` says); otherwise batches do.
    Raises InputError where tiles cannot be scaled.
    """
    if normalisation == "scale":
        statistics = whole_range(archive.images)
    else:
        sample = jax.random.permutation(derive_key(seed, Purpose.NORMALISATION), len(split.pool))
        sample = split.pool[np.asarray(sample[:MAX_TILES_FOR_STATISTICS])]
        statistics = band_statistics(archive.images, np.sort(sample))
        if archive.images.shape[1:3] == (1, 1):  # of features each tile's own length is taken off, by the head
            statistics = statistics._replace(deviation=np.ones_like(statistics.deviation))
    resident = _fits_on_device(archive.images) if on_device is None else on_device

    def tiles(indices: np.ndarray) -> Tiles:
        pixels: Any = in_native_order(np.asarray(archive.images)[indices]) if resident else None
        return Tiles(archive.images, indices, archive.labels[indices], statistics, replicate(pixels))

    sets = SplitTiles(tiles(split.pool), tiles(split.validation), tiles(split.test), archive.ids)
    return_freed_memory()
    return sets


def _fits_on_device(images: Images) -> bool:
    """Whether the decoded tiles are at hand and an accelerator has room for them."""
    if jax.default_backend() == "cpu":
        return False
    memory = jax.local_devices()[0].memory_stats()
    room = math.inf if memory is None else MEMORY_SHARE_FOR_TILES * (memory["bytes_limit"] - memory["bytes_in_use"])
    return true_in_all(isinstance(images, np.ndarray) and images.nbytes <= room)


def whole_range(images: Images) -> BandStatistics:
    """What scales whole-number pixels from 0 to 1. Raises InputError for others: their type has no largest value."""
    if images.dtype.kind != "u":
        raise InputError(
            f"--normalisation scale divides by the largest value of a whole-number type, and the tiles are of type "
            f"{images.dtype.name}: use --normalisation standardise"
        )
    bands = images.shape[-1]
    return BandStatistics(np.zeros(bands, np.float32), np.full(bands, np.iinfo(images.dtype).max, np.float32))


def band_statistics(images: Images, indices: Int[np.ndarray, " n"]) -> BandStatistics:
    """Mean and standard deviation of each band over the tiles `indices`."""
    moments = []
    for (tile,) in stream(images, indices, 1):
        # Along pixels that lie beside each other sums take a tenth of the time.
        pixels = np.ascontiguousarray(tile.reshape(-1, tile.shape[-1]).T)
        moments.append((pixels.mean(1, dtype=np.float64), pixels.var(1, dtype=np.float64)))
    means, variances = np.array(moments).swapaxes(0, 1)
    # Tiles have one size, so the moments of all follow from those of each.
    deviation = np.sqrt(variances.mean(0) + means.var(0))
    mean = means.mean(0)
    # A constant band carries nothing. Divided by next to nothing, a single other pixel, as at the edge of a mosaic in
    # a band that is opaque elsewhere, would outweigh whatever the network has seen.
    width = np.iinfo(images.dtype).max if images.dtype.kind == "u" else np.where(mean == 0, 1.0, np.abs(mean))
    varies = deviation > CONSTANT * np.abs(mean)
    return BandStatistics(mean.astype(np.float32), np.where(varies, deviation, width).astype(np.float32))
