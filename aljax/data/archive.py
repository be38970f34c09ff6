"""What the loop knows of an archive: tiles, labels, ids, class names, and how they are split."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from aljax.errors import InputError
from aljax.keys import Purpose, derive_key

MAX_TILES_FOR_STATISTICS = 1000


@dataclass(frozen=True)
class Archive:
    """Tiles of one size with their multi-labels, in memory."""

    name: str
    images: UInt8[np.ndarray, "n h w bands"]
    labels: UInt8[np.ndarray, "n c"]
    ids: tuple[str, ...]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        counts = {len(self.images), len(self.labels), len(self.ids)}
        if len(counts) != 1 or self.labels.shape[1] != len(self.class_names):
            raise InputError(
                f"archive {self.name}: {len(self.images)} images, {len(self.labels)} rows of {self.labels.shape[1]} "
                f"labels, {len(self.ids)} ids and {len(self.class_names)} class names do not fit together"
            )

    def fingerprint(self) -> str:
        """SHA-256 of pixels, labels, ids and class names: the same only for the same data."""
        digest = hashlib.sha256()
        for part in (self.images, self.labels):
            digest.update(str(part.shape).encode())
            digest.update(np.ascontiguousarray(part).data)
        digest.update("\n".join((*self.ids, "", *self.class_names)).encode())
        return digest.hexdigest()


class Tiles(NamedTuple):
    """A set of tiles on the device: uint8 pixels, labels, and the statistics that standardise them."""

    images: UInt8[Array, "n h w bands"]
    labels: UInt8[Array, "n c"]
    mean: Float[Array, " bands"]
    deviation: Float[Array, " bands"]

    @property
    def num_tiles(self) -> int:
        return self.images.shape[0]


class Split(NamedTuple):
    """Indices into an archive; the pool is what the queries choose from."""

    pool: Int[np.ndarray, " p"]
    validation: Int[np.ndarray, " v"]
    test: Int[np.ndarray, " t"]


def random_split(seed: int, num_tiles: int, validation: int, test: int) -> Split:
    """A random split that is the same for every trial; the pool is what validation and test leave."""
    if validation < 1 or test < 1 or num_tiles - validation - test < 1:
        raise InputError(
            f"{num_tiles} tiles cannot give {validation} for validation and {test} for the test and leave a pool: "
            "use smaller sets or more tiles"
        )
    order = np.asarray(jax.random.permutation(derive_key(seed, Purpose.SPLIT), num_tiles))
    parts = np.split(order, [validation, validation + test])
    return Split(pool=np.sort(parts[2]), validation=np.sort(parts[0]), test=np.sort(parts[1]))


class SplitTiles(NamedTuple):
    """The three sets of an experiment on the device, and the ids of the pool's tiles."""

    pool: Tiles
    validation: Tiles
    test: Tiles
    pool_ids: tuple[str, ...]


def place(archive: Archive, split: Split, seed: int) -> SplitTiles:
    """Puts the three sets on the device, standardised by the pool's mean and deviation per band.

    The statistics come from a fixed sample of at most 1,000 pool tiles, never from validation or test.
    """
    sample = jax.random.permutation(derive_key(seed, Purpose.NORMALISATION), len(split.pool))
    sample = split.pool[np.asarray(sample[:MAX_TILES_FOR_STATISTICS])]
    mean, deviation = band_statistics(archive.images[np.sort(sample)])

    def tiles(indices: np.ndarray) -> Tiles:
        return Tiles(*map(jnp.asarray, (archive.images[indices], archive.labels[indices], mean, deviation)))

    ids = tuple(archive.ids[index] for index in split.pool)
    return SplitTiles(tiles(split.pool), tiles(split.validation), tiles(split.test), ids)


def band_statistics(
    images: UInt8[np.ndarray, "n h w bands"],
) -> tuple[Float[np.ndarray, " bands"], Float[np.ndarray, " bands"]]:
    """Mean and standard deviation of each band, in grey levels."""
    mean = images.mean((0, 1, 2), dtype=np.float64)
    deviation = images.std((0, 1, 2), dtype=np.float64)
    # A constant band carries nothing; dividing by its deviation would make it NaN.
    return mean.astype(np.float32), np.maximum(deviation, 1e-6).astype(np.float32)
