"""Random flips and quarter turns, and standardisation, on the device."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from aljax.arrays import AnyArray

Normalisation = Literal["standardise", "scale"]


class BandStatistics(NamedTuple):
    """What is taken off each band and what it is then divided by, in the units of the pixels.

    Mean and standard deviation where tiles are standardised; zero and the largest value where they are scaled.
    """

    mean: Float[AnyArray, " bands"]
    deviation: Float[AnyArray, " bands"]


def augment(key: Array, images: Shaped[AnyArray, "b s s bands"]) -> Shaped[Array, "b s s bands"]:
    """Flips each square tile horizontally at random and turns it by 0, 90, 180 or 270 degrees at random.

    The eight outcomes are the symmetries of the square, each equally likely; three independent coins for
    transposing and for mirroring either axis give the same eight without a gather.
    """
    transpose, flip_rows, flip_columns = jax.random.bernoulli(key, 0.5, (3, images.shape[0], 1, 1, 1))
    images = jnp.where(transpose, images.swapaxes(1, 2), images)
    images = jnp.where(flip_rows, images[:, ::-1], images)
    return jnp.where(flip_columns, images[:, :, ::-1], images)


def standardise(images: Shaped[AnyArray, "b h w bands"], statistics: BandStatistics) -> Float[Array, "b h w bands"]:
    """Zero mean and unit deviation per band, in float32."""
    return (jnp.asarray(images, jnp.float32) - statistics.mean) / statistics.deviation
