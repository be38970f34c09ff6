"""Pixels without data: those that a file declares get the mean of their band; a value that looks like them is found."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from aljax.errors import InputError


def fill(pixels: Shaped[np.ndarray, "bands h w"], source: Any, name: str) -> None:
    """Gives pixels without data the mean of the others. A band that is tagged as alpha is a band like any other."""
    valid = np.ones(pixels.shape, bool)
    for band, (nodata, flags) in enumerate(zip(source.nodatavals, source.mask_flag_enums, strict=True)):
        names = {flag.name for flag in flags}
        if nodata is not None:
            valid[band] = ~is_nodata(pixels[band], nodata)
        if "per_dataset" in names and "alpha" not in names:
            valid[band] &= source.read_masks(band + 1) > 0
    if not valid.any():
        raise InputError(f"{name} has no pixel with data (all are nodata): remove the tile")
    for number, (values, known) in enumerate(zip(pixels, valid, strict=True), start=1):
        if not known.any():
            raise InputError(f"{name} has no pixel with data in band {number} (all are nodata): remove the tile")
        if not known.all():
            mean = values[known].mean(dtype=np.float64)
            values[~known] = np.rint(mean) if values.dtype.kind == "u" else mean


def is_nodata(band: Shaped[np.ndarray, "h w"], nodata: float) -> Bool[np.ndarray, "h w"]:
    """Where a band has its nodata value, as in GDAL's mask; that one passes over it where the file has a mask too."""
    if np.isnan(nodata):
        return np.isnan(band)
    if band.dtype.kind != "f":
        return band == nodata
    limits = np.finfo(band.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        value = np.asarray(nodata, band.dtype)
        # GDAL's tolerance, in float32 as there: near the type's limit it overflows, and -3.4e38 is -3.4028235e38.
        near = np.abs(band - value) < 2 * limits.eps * np.abs(band + value)
    # The value may be declared in float64, beyond the pixels' type, which then hold its largest or smallest.
    return near | (band == value) | (band == np.clip(nodata, limits.min, limits.max))


class LoneValue(NamedTuple):
    """A value that fills many pixels of a band and lies far from all others, as one that stands for no data."""

    value: float
    band: int
    """Counted from 1."""
    filled: int
    """Pixels that have it."""
    lowest: float
    """Of the other pixels."""
    highest: float


def find_lone_value(pixels: Shaped[np.ndarray, "h w bands"]) -> LoneValue | None:
    """The first lowest or highest value that fills a side's pixels, farther from all others than they are apart.

    Zero is none: it is a height, a count or black. In 8 bits no value is far enough to outweigh the others.
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
