"""Random flips and quarter turns, and standardisation, on the device."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from aljax.arrays import AnyArray

Normalisation = Literal["standardise", "scale"]


class BandStatistics(NamedTuple):
    """Offset and scale of each band, in the units of the pixels: `standardise` gives (pixel - mean) / deviation.

    They are mean and standard deviation, or, for scaling to [0, 1], zero and the largest value of the type.
    """

    mean: Float[AnyArray, " bands"]
    deviation: Float[AnyArray, " bands"]


def augment(key: Array, images: Shaped[AnyArray, "b s s bands"]) -> Shaped[Array, "b s s bands"]:
    """Flips each square tile horizontally at random and turns it by 0, 90, 180 or 270 degrees at random.

    The eight outcomes are the symmetries of the square, all equally likely. Three independent coin flips, for a
    transposition and a flip of each axis, give the same eight without a gather operation.
    """
    transpose, flip_rows, flip_columns = jax.random.bernoulli(key, 0.5, (3, images.shape[0], 1, 1, 1))
    images = jnp.where(transpose, images.swapaxes(1, 2), images)
    images = jnp.where(flip_rows, images[:, ::-1], images)
    return jnp.where(flip_columns, images[:, :, ::-1], images)


def standardise(images: Shaped[AnyArray, "b h w bands"], statistics: BandStatistics) -> Float[Array, "b h w bands"]:
    """The pixels in float32 with zero mean and unit deviation per band, or scaled to [0, 1], by `statistics`."""
    return (jnp.asarray(images, jnp.float32) - statistics.mean) / statistics.deviation
