"""Pixels without data: declared ones are filled with the mean of their band, undeclared nodata values are detected."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from aljax.errors import InputError

Masks = Mapping[int, Bool[np.ndarray, "h w"]]
"""Where bands, counted from 0, have data."""


def fill(pixels: Shaped[np.ndarray, "h w bands"], nodata: Sequence[float | None], masks: Masks, name: str) -> None:
    """Fills pixels without data, in place, with the mean of their band.

    `nodata` holds the declared value of each band, None for a band without one, and `masks` where a band has data, for
    bands with a mask. Raises InputError if a band has no pixel with data.
    """
    values = dict(enumerate(np.moveaxis(pixels, -1, 0)))
    valid = {band: ~is_nodata(values[band], value) for band, value in enumerate(nodata) if value is not None}
    for band, mask in masks.items():
        valid[band] = valid.get(band, True) & mask
    empty = [band for band, known in sorted(valid.items()) if not known.any()]
    if len(empty) == len(values):
        raise InputError(f"{name} has no pixel with data (all are nodata): remove the tile")
    if empty:
        raise InputError(f"{name} has no pixel with data in band {empty[0] + 1} (all are nodata): remove the tile")
    for band, known in valid.items():
        if not known.all():
            mean = values[band][known].mean(dtype=np.float64)
            values[band][~known] = np.rint(mean) if pixels.dtype.kind == "u" else mean


def is_nodata(band: Shaped[np.ndarray, "h w"], nodata: float) -> Bool[np.ndarray, "h w"]:
    """Where a band has its nodata value, as in GDAL's mask, which ignores the value if the file has a mask as well."""
    if np.isnan(nodata):
        return np.isnan(band)
    if band.dtype.kind != "f":
        return band == nodata
    limits = np.finfo(band.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        value = np.asarray(nodata, band.dtype)
        # GDAL's tolerance, in float32 as in GDAL: it overflows near the type's limit, so -3.4e38 equals -3.4028235e38.
        near = np.abs(band - value) < 2 * limits.eps * np.abs(band + value)
    # A value declared in float64 may be beyond the range of the pixels' type, which then have the limit of the range.
    return near | (band == value) | (band == np.clip(nodata, limits.min, limits.max))


class LoneValue(NamedTuple):
    """A value of many pixels of a band that is far from all others: probably an undeclared nodata value."""

    value: float
    band: int
    """Counted from 1."""
    filled: int
    """Number of pixels with the value."""
    lowest: float
    """Lowest and highest value of the other pixels."""
    highest: float


def find_lone_value(pixels: Shaped[np.ndarray, "h w bands"]) -> LoneValue | None:
    """The first band's minimum or maximum that seems to be an undeclared nodata value; None if there is none.

    As many pixels as along a side have it, and its distance to the other values is larger than their range. Zero never
    counts, because it is a valid height, count or black; nor do 8-bit values, which cannot be far from the others.
    """
    if pixels.dtype.itemsize == 1:
        return None
    for number, band in enumerate(np.moveaxis(pixels, -1, 0), start=1):
        for value in map(float, (band.min(), band.max())):
            alike = band == value
            count = int(np.count_nonzero(alike))
            if value == 0.0 or not min(band.shape) <= count < band.size:
                continue
            others = band[~alike]
            lowest, highest = float(others.min()), float(others.max())
            if max(lowest - value, value - highest) > highest - lowest > 0.0:
                return LoneValue(value, number, count, lowest, highest)
    return None
