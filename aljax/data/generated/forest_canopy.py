"""Tree crowns as a surface seen from above: the highest crown at each pixel, and the light on it.

A canvas is an int32 array with height * 4096 + index of the object that is visible at each pixel, so drawing a crown
is one maximum. All later steps are integer arithmetic, with the same result on every machine.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Int, Int16, Int32, UInt16

NUMBER_BITS = 12
MAX_OBJECTS = 1 << NUMBER_BITS
HEIGHTS_PER_METRE = 64
VARIANTS = 6  # random shapes of a crown of each size
LIT = 128  # light of a level, sunlit pixel
NOWHERE = -(1 << 30)  # outside of a crown


def put_crowns(canvas: Int32[np.ndarray, "side side"], trees: Int[np.ndarray, "n 6"], first: int) -> None:
    """Draws trees (row, column, radius in pixels; pointed; height in 1/64 m; variant), numbered from `first`.

    Every crown must lie within the canvas.
    """
    for number, (row, column, radius, pointed, height, variant) in enumerate(trees.tolist(), first):
        stamp = crown(radius, bool(pointed), height, variant)
        part = canvas[row - radius : row + radius + 1, column - radius : column + radius + 1]
        np.maximum(part, stamp + number, out=part)


@lru_cache(maxsize=4096)
def crown(radius: int, pointed: bool, height: int, variant: int) -> Int32[np.ndarray, "width width"]:
    """Surface of one crown of `height` (1/64 m), ready for the canvas; `NOWHERE` outside."""
    rng = np.random.default_rng([radius, int(pointed), variant])
    axis = np.arange(-radius, radius + 1) / (radius + 0.5)
    relief = _star(axis, rng) if pointed else _lumps(axis, rng)
    surface = np.floor(height * relief).astype(np.int32) << NUMBER_BITS
    return np.where(relief > 0.0, surface, NOWHERE).astype(np.int32)


def _star(axis: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A cone whose branches reach further in some directions; height from 0.74 at the rim to 1."""
    y, x = axis[:, None], axis[None, :]
    distance = np.sqrt(x * x + y * y)
    along = np.zeros_like(distance)
    for arm_x, arm_y in rng.uniform(-1.0, 1.0, (7, 2)):
        length = np.sqrt(arm_x * arm_x + arm_y * arm_y) + 1e-9
        along = np.maximum(along, (x * arm_x + y * arm_y) / (length * (distance + 1e-9)))
    reach = 0.62 + 0.38 * along * along * along * along
    return np.where(distance < reach, 1.0 - 0.26 * distance / reach, 0.0)


def _lumps(axis: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A dome made of smaller domes, as boughs make it; height from about 0.5 at the rim to 1."""
    y, x = axis[:, None], axis[None, :]
    relief = np.zeros((len(axis), len(axis)))
    for lump_x, lump_y, lump_radius in rng.uniform((-0.62, -0.62, 0.30), (0.62, 0.62, 0.48), (14, 3)):
        off_centre = lump_x * lump_x + lump_y * lump_y
        if off_centre < 0.5:
            dx, dy = x - lump_x, y - lump_y
            bulge = 1.0 - (dx * dx + dy * dy) / (lump_radius * lump_radius)
            top = 0.78 - 0.45 * off_centre + 0.22 * np.sqrt(np.maximum(bulge, 0.0))
            relief = np.maximum(relief, np.where(bulge > 0.0, top, 0.0))
    middle = 1.0 - (x * x + y * y) / 0.36
    return np.maximum(relief, np.where(middle > 0.0, 0.74 + 0.22 * np.sqrt(np.maximum(middle, 0.0)), 0.0))


def numbers(canvas: Int32[np.ndarray, "side side"]) -> Int32[np.ndarray, "side side"]:
    """Index of the object that is visible at each pixel."""
    return canvas & (MAX_OBJECTS - 1)


def light(
    canvas: Int32[np.ndarray, "side side"], sun: tuple[float, float], rise: float, pixels_per_metre: float
) -> UInt16[np.ndarray, "side side"]:
    """Light at each pixel, from 0 to 255 with `LIT` on level ground.

    `sun` is the unit vector (rows, columns) that points away from the sun, `rise` the tangent of its elevation.
    """
    height = (canvas >> NUMBER_BITS).astype(np.int16)
    shaded = _shadow_surface(height, sun, rise * HEIGHTS_PER_METRE / pixels_per_metre, int(20 * pixels_per_metre))
    # A shadow is fully dark where the surface is a metre or more below the ray over the edge of the object before it.
    dark = np.minimum(shaded - height, HEIGHTS_PER_METRE)
    return (_slope_light(height, sun, pixels_per_metre) * (160 - dark)).astype(np.uint16) // 160


def _slope_light(height: np.ndarray, sun: tuple[float, float], pixels_per_metre: float) -> np.ndarray:
    """Light without shadows: slopes towards the sun are bright, slopes away from it dark."""
    by_row, by_column = (np.int32(round(14 * part * pixels_per_metre * 256 / HEIGHTS_PER_METRE)) for part in sun)
    result = np.full(height.shape, LIT, np.int16)
    towards = by_row * (height[2:, 1:-1] - height[:-2, 1:-1]) + by_column * (height[1:-1, 2:] - height[1:-1, :-2])
    result[1:-1, 1:-1] += np.clip(towards >> 8, -70, 74).astype(np.int16)
    return result


def _shadow_surface(height: np.ndarray, sun: tuple[float, float], fall: float, reach: int) -> np.ndarray:
    """Height below which each pixel is in shadow, from rays that fall by `fall` per pixel over up to `reach` pixels.

    The distance is doubled in each step.
    """
    surface, step = height.copy(), 1
    while step <= reach:
        down, across = round(step * sun[0]), round(step * sun[1])
        to, start = zip(*(_overlap(shift, height.shape[0]) for shift in (down, across)), strict=True)
        np.maximum(surface[to], surface[start] - np.int16(round(step * fall)), out=surface[to])
        step *= 2
    return surface


def _overlap(shift: int, length: int) -> tuple[slice, slice]:
    """Slices (to, from) of an axis moved by `shift`."""
    return slice(max(shift, 0), length + min(shift, 0)), slice(max(-shift, 0), length + min(-shift, 0))


def soften(pixels: UInt16[np.ndarray, "bands rows columns"]) -> UInt16[np.ndarray, "bands rows-2 columns-2"]:
    """The blur of a lens: a binomial filter of 3 x 3 pixels, which removes one pixel at each side."""
    for _ in range(2):
        pixels = (pixels[:, 1:] + pixels[:, :-1]) >> 1
        pixels = (pixels[:, :, 1:] + pixels[:, :, :-1]) >> 1
    return pixels


def grain(rng: np.random.Generator, shape: tuple[int, int, int]) -> Int16[np.ndarray, "bands rows columns"]:
    """Sensor noise from -7 to 8 with a triangular distribution."""
    random_bytes = rng.integers(0, 256, shape, np.uint8)
    return (((random_bytes >> 4) + (random_bytes & 15)).astype(np.int16) - 14) >> 1
