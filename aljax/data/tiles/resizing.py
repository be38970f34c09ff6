"""Resizing of tiles to the size that the network takes."""

import numpy as np
from jaxtyping import Float, Shaped
from PIL import Image

# Pillow's modes that resize so many bands of bytes at once, each independently; RGBA would weight colours by alpha.
MODES = {4: "RGBX", 3: "RGB", 1: "L"}


def resize(pixels: Shaped[np.ndarray, "h w bands"], size: int) -> Shaped[np.ndarray, "size size bands"]:
    """Resizes bilinearly, with antialiasing when shrinking, each band independently; the type is kept."""
    if pixels.shape[:2] == (size, size):
        return pixels
    bands = pixels.shape[-1]
    if pixels.dtype == np.uint8:
        fours = range(0, bands - bands % 4, 4)
        rest = [bands - 3] if bands % 4 == 3 else range(bands - bands % 4, bands)
        groups = np.split(pixels, [*fours, *rest][1:], axis=-1)
        return np.concatenate([_resized(group, MODES[group.shape[-1]], size) for group in groups], axis=-1)
    # Pillow has no mode for several bands of any other type.
    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0), np.float32)
    resized = np.stack([_resized(plane, "F", size) for plane in planes], axis=-1)
    return (np.rint(resized) if pixels.dtype.kind in "ui" else resized).astype(pixels.dtype, copy=False)


def _resized(pixels: np.ndarray, mode: str, size: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    image = Image.frombuffer(mode, (width, height), np.ascontiguousarray(pixels), "raw", mode, 0, 1)
    resized = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    return resized.reshape(size, size, *pixels.shape[2:])


def shrink(pixels: Shaped[np.ndarray, "h w bands"], side: int) -> Float[np.ndarray, "s s bands"]:
    """A thumbnail: means over `side` x `side` blocks, in a smaller tile over its single pixels."""
    means = pixels.astype(np.float64)
    for axis, size in enumerate(pixels.shape[:2]):
        starts = np.arange(min(side, size)) * size // min(side, size)
        lengths = np.diff(starts, append=size)
        means = np.add.reduceat(means, starts, axis) / np.expand_dims(lengths, (1 - axis, 2))
    return means
