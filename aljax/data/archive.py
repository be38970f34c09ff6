"""An archive as the loop uses it: tiles, labels, ids and class names, and its split into pool, validation and test."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Int, Shaped, UInt8

from aljax.arrays import UNKNOWN, AnyArray, are_labels, as_array, in_native_order
from aljax.data.augmentation import BandStatistics, Normalisation
from aljax.data.space.distances import Footprints
from aljax.data.tiles.images import Images, stream
from aljax.errors import InputError
from aljax.keys import Purpose, derive_key
from aljax.xla.devices import replicate, rows_of_process, shard_batch, tiles_at_once, true_in_all
from aljax.xla.heap import return_freed_memory

MAX_TILES_FOR_STATISTICS = 1000
CONSTANT = 1e-7  # deviation / mean of a band up to which float32 cannot tell it from a constant
# Fraction of the accelerator's free memory; the rest is for the model and its activations.
MEMORY_SHARE_FOR_TILES = 0.5
IDS_AT_ONCE = 65_536  # joined into one string for the fingerprint
FEATURES_AT_ONCE = 8192  # tiles; 32 MiB in float32 with 1024 features each


class Split(NamedTuple):
    """Indices into an archive; queries choose tiles of the pool."""

    pool: Int[np.ndarray, " p"]
    validation: Int[np.ndarray, " v"]
    test: Int[np.ndarray, " t"]


@dataclass(frozen=True)
class Archive:
    """Tiles of one size with their multi-labels."""

    name: str
    images: Images
    labels: UInt8[np.ndarray, "n c"]
    """0, 1 or UNKNOWN. A tile all of whose cells are unknown is not labelled, and not in the pool of the split."""
    ids: Sequence[str]
    class_names: tuple[str, ...]
    digest: str = ""
    """Identifies the tiles in the fingerprint, however they are read; if empty, their pixels are hashed."""
    split: Split | None = None
    """The split that comes with the archive, if any."""
    labelled: Bool[np.ndarray, " n"] | None = None
    """Which tiles have labels; the rows of the others are 0 or UNKNOWN. None: all have."""
    copy_of: Int[np.ndarray, " n"] | None = None
    """Index of the first tile with the same bytes (its own index if it is no copy). None: not determined."""
    footprints: Footprints | None = None
    """Where the tiles are. None: not determined."""

    def __post_init__(self) -> None:
        """Raises InputError for parts of different lengths, or labels other than 0, 1 and (in uint8) UNKNOWN."""
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
        if not (are_sound := are_labels(self.labels)).all():
            row, column = np.argwhere(~are_sound)[0]
            raise InputError(
                f"archive {self.name}: tile {self.ids[row]} has the label {self.labels[row, column]} for class "
                f"{self.class_names[column]}: labels are 0 or 1"
            )
        if self.class_names and (self.labels == UNKNOWN).all(1).any():
            self._leave_unlabelled((self.labels == UNKNOWN).all(1))

    def _leave_unlabelled(self, rows: Bool[np.ndarray, " n"]) -> None:
        """Counts tiles as not labelled. Those for validation and test stay there: no score counts an unknown cell."""
        object.__setattr__(self, "labelled", ~rows if self.labelled is None else self.labelled & ~rows)
        if self.split is not None:
            object.__setattr__(self, "split", self.split._replace(pool=self.split.pool[~rows[self.split.pool]]))

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
    """Images of the whole archive."""
    indices: Int[np.ndarray, " n"]
    """Indices of this set's tiles in the archive."""
    labels: UInt8[np.ndarray, "n c"]
    statistics: BandStatistics
    on_device: Shaped[Array, "n h w bands"] | None = None
    """This set's pixels on the accelerator, if they fit; None: batches are read from `images`."""
    footprints: Footprints | None = None
    """Where this set's tiles are. None: not determined."""

    @property
    def num_tiles(self) -> int:
        return len(self.indices)

    @property
    def are_features(self) -> bool:
        """Whether the tiles are feature vectors, which are stored as tiles of one pixel."""
        return self.images.shape[1:3] == (1, 1)

    @property
    def at_once(self) -> int:
        """Number of tiles to predict at once."""
        if self.are_features:
            return min(FEATURES_AT_ONCE, -(-self.num_tiles // 1024) * 1024)
        return tiles_at_once(*self.images.shape[1:3])

    def read(self, rows: Int[np.ndarray, " m"]) -> Shaped[np.ndarray, "m h w bands"]:
        """Pixels of the set's tiles `rows`, on the host."""
        return next(iter(stream(self.images, self.indices[rows], len(rows))))

    def batches(self, rows: Int[np.ndarray, " m"], batch_size: int) -> Iterator[Shaped[AnyArray, "b h w bands"]]:
        """Batches of pixels of the set's tiles `rows`, in that order, on the devices.

        m must be a multiple of the batch size.
        """
        if self.on_device is not None:
            return (_take(self.on_device, chunk) for chunk in rows.reshape(-1, batch_size))
        own, part = rows_of_process(rows, batch_size)
        return (shard_batch(pixels, batch_size) for pixels in stream(self.images, self.indices[own], part))

    def labels_of(self, rows: Int[np.ndarray, " b"]) -> UInt8[AnyArray, "b c"]:
        """Labels of a batch of the set's tiles `rows`, distributed over the devices like their pixels."""
        return shard_batch(self.labels[rows_of_process(rows, len(rows))[0]], len(rows))


@jax.jit
def _take(images: Shaped[Array, "n h w bands"], rows: Int[AnyArray, " b"]) -> Shaped[Array, "b h w bands"]:
    return images[rows]


def random_split(
    seed: int,
    num_tiles: int,
    validation: int,
    test: int,
    copy_of: Int[np.ndarray, " n"] | None = None,
    arrange: Callable[[Int[np.ndarray, " n"]], Int[np.ndarray, " n"]] = lambda order: order,
) -> Split:
    """A random split by `seed`, the same for every trial; all tiles but `validation` and `test` are the pool.

    Copies, as in `Archive.copy_of`, are all in one part, which may thus have more tiles than asked for. `arrange` may
    change the random order, of which the first tiles are for validation, the next for the test. Raises InputError if a
    part would be empty.
    """
    if validation < 1 or test < 1 or num_tiles - validation - test < 1:
        raise InputError(
            f"{num_tiles} tiles cannot give {validation} for validation and {test} for the test and leave a pool: "
            "use smaller sets or more tiles"
        )
    order = arrange(np.asarray(jax.random.permutation(derive_key(seed, Purpose.SPLIT), num_tiles)))
    ends = np.array([validation, validation + test])
    if copy_of is not None:
        _, start, group, count = np.unique(copy_of[order], return_index=True, return_inverse=True, return_counts=True)
        # Copies move to the first of their group in the random order, and parts end only between groups.
        order = order[np.argsort(start[group], kind="stable")]
        group_ends = np.cumsum(count[np.argsort(start)])
        ends = group_ends[np.searchsorted(group_ends, ends)]
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
    """Ids of the whole archive."""

    def pool_ids(self, rows: Int[np.ndarray, " b"]) -> tuple[str, ...]:
        """Ids of the pool's tiles `rows`."""
        return tuple(self.ids[index] for index in self.pool.indices[rows])


def split_tiles(
    archive: Archive,
    split: Split,
    seed: int,
    on_device: bool | None = None,
    normalisation: Normalisation = "standardise",
) -> SplitTiles:
    """The three sets, with the statistics that standardise each band or scale it to [0, 1].

    The statistics come from a fixed sample of at most 1,000 pool tiles, never from validation or test. If an
    accelerator has room for them, all pixels are copied to it at once, otherwise batch by batch; `on_device` overrides
    that choice. Raises InputError if `normalisation` is "scale" and the pixels are not unsigned integers.
    """
    if normalisation == "scale":
        statistics = whole_range(archive.images)
    else:
        sample = jax.random.permutation(derive_key(seed, Purpose.NORMALISATION), len(split.pool))
        sample = split.pool[np.asarray(sample[:MAX_TILES_FOR_STATISTICS])]
        statistics = band_statistics(archive.images, np.sort(sample))
        if archive.images.shape[1:3] == (1, 1):  # features are only centred here; the head normalises their length
            statistics = statistics._replace(deviation=np.ones_like(statistics.deviation))
    resident = _fits_on_device(archive.images) if on_device is None else on_device

    def tiles(indices: np.ndarray) -> Tiles:
        pixels: Any = in_native_order(np.asarray(archive.images)[indices]) if resident else None
        footprints = archive.footprints and archive.footprints.take(indices)
        return Tiles(archive.images, indices, archive.labels[indices], statistics, replicate(pixels), footprints)

    sets = SplitTiles(tiles(split.pool), tiles(split.validation), tiles(split.test), archive.ids)
    return_freed_memory()
    return sets


def _fits_on_device(images: Images) -> bool:
    """Whether the tiles are decoded in memory and an accelerator has room for them."""
    if jax.default_backend() == "cpu":
        return False
    memory = jax.local_devices()[0].memory_stats()
    room = math.inf if memory is None else MEMORY_SHARE_FOR_TILES * (memory["bytes_limit"] - memory["bytes_in_use"])
    return true_in_all(isinstance(images, np.ndarray) and images.nbytes <= room)


def whole_range(images: Images) -> BandStatistics:
    """Statistics that scale pixels to [0, 1] by the largest value of their type.

    Raises InputError unless the type is an unsigned integer.
    """
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
        # Sums along contiguous pixels take a tenth of the time.
        pixels = np.ascontiguousarray(tile.reshape(-1, tile.shape[-1]).T)
        moments.append((pixels.mean(1, dtype=np.float64), pixels.var(1, dtype=np.float64)))
    means, variances = np.array(moments).swapaxes(0, 1)
    # All tiles have the same size, so the moments over all pixels follow from those of each tile.
    deviation = np.sqrt(variances.mean(0) + means.var(0))
    mean = means.mean(0)
    # A constant band has no information. Dividing by its tiny deviation would make a single different pixel, such as a
    # transparent one at the edge of a mosaic in an alpha band, larger than everything the network was trained on.
    width = np.iinfo(images.dtype).max if images.dtype.kind == "u" else np.where(mean == 0, 1.0, np.abs(mean))
    varies = deviation > CONSTANT * np.abs(mean)
    return BandStatistics(mean.astype(np.float32), np.where(varies, deviation, width).astype(np.float32))
