"""Pooling by strided slices, which XLA fuses with the operations before and after.

The gradient of max-pooling is a gather for each pixel, far cheaper than XLA's scatter from each window.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Up to so many pixels of a map their sum is written out. Maps of the last block reach it for tiles of 1,471 x 1,471.
WRITTEN_OUT = 2048


@jax.custom_vjp
def max_pool_3x3_stride_2(maps: Float[Array, "b h w k"]) -> Float[Array, "b p q k"]:
    """Maximum over 3x3 windows with stride 2, padded by one pixel on each side.

    The gradient of a window is shared by all pixels that hold its maximum.
    """
    return functools.reduce(jnp.maximum, _windows(maps))


def _windows(maps: Float[Array, "b h w k"]) -> list[Float[Array, "b p q k"]]:
    """The nine pixels of every window."""
    padded = jnp.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    height, width = (maps.shape[1] + 1) // 2, (maps.shape[2] + 1) // 2
    return [
        padded[:, row : row + 2 * height - 1 : 2, column : column + 2 * width - 1 : 2]
        for row in range(3)
        for column in range(3)
    ]


def _max_pool_forward(maps: Array) -> tuple[Array, tuple[Array, Array]]:
    maxima = max_pool_3x3_stride_2(maps)
    return maxima, (maps, maxima)


def _max_pool_backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array]:
    """Gathers for each pixel; the gradient that JAX derives from the nine slices would scatter from each window.

    A pixel in an even row lies in the middle of one window, one in an odd row at the end of one window and at the start
    of the next; likewise for columns. So the pixels form four grids, each of the shape of the windows.
    """
    maps, maxima = residuals
    batch, height, width, channels = maps.shape
    rows, columns = maxima.shape[1:3]
    share = gradient / sum((pixels == maxima).astype(gradient.dtype) for pixels in _windows(maps))
    # Windows beyond the edge get the maximum infinity, which no pixel equals.
    end = ((0, 0), (0, 1), (0, 1), (0, 0))
    maxima, share = jnp.pad(maxima, end, constant_values=jnp.inf), jnp.pad(share, end)
    even = jnp.pad(maps, ((0, 0), (0, 2 * rows - height), (0, 2 * columns - width), (0, 0)))
    grids = even.reshape(batch, rows, 2, columns, 2, channels)

    def of_grid(row: int, column: int) -> Array:
        windows = (
            (slice(None), slice(down, down + rows), slice(right, right + columns))
            for down in range(row + 1)
            for right in range(column + 1)
        )
        pixels = grids[:, :, row, :, column]
        return sum(
            (jnp.where(pixels == maxima[window], share[window], 0.0) for window in windows), jnp.zeros_like(pixels)
        )

    pairs = [jnp.stack([of_grid(row, 0), of_grid(row, 1)], axis=3) for row in (0, 1)]
    found = jnp.stack(pairs, axis=2).reshape(batch, 2 * rows, 2 * columns, channels)
    return (found[:, :height, :width],)


max_pool_3x3_stride_2.defvjp(_max_pool_forward, _max_pool_backward)


def average_pool_2x2(maps: Float[Array, "b h w k"]) -> Float[Array, "b p q k"]:
    """Mean over 2x2 windows with stride 2; an odd last row or column is dropped."""
    batch, height, width, channels = maps.shape
    height, width = height // 2, width // 2
    windows = maps[:, : 2 * height, : 2 * width].reshape(batch, height, 2, width, 2, channels)
    return functools.reduce(jnp.add, (windows[:, :, row, :, column] for row in (0, 1) for column in (0, 1))) / 4


@jax.custom_vjp
def mean_of_pixels(maps: Float[Array, "b h w k"]) -> Float[Array, "b k"]:
    """Global average pooling in float32.

    A sum of few pixels is written out, row by row. For a reduction over axes XLA on GPUs lays out the maps with pixels
    last; it then transposes the input of each layer in the last block, or (18 x 18 pixels) has no kernel for a product.
    """
    height, width = maps.shape[1:3]
    if height * width > WRITTEN_OUT:
        return maps.astype(jnp.float32).mean((1, 2))
    row = functools.reduce(jnp.add, (maps[:, index].astype(jnp.float32) for index in range(height)))
    return functools.reduce(jnp.add, (row[:, index] for index in range(width))) / (height * width)


def _mean_of_pixels_forward(maps: Array) -> tuple[Array, Array]:
    return mean_of_pixels(maps), maps


def _mean_of_pixels_backward(maps: Array, gradient: Array) -> tuple[Array]:
    """The gradient of a mean; that of the slices would be a sum of as many padded arrays."""
    height, width = maps.shape[1:3]
    share = (gradient / (height * width)).astype(maps.dtype)
    return (jnp.broadcast_to(share[:, None, None], maps.shape),)


mean_of_pixels.defvjp(_mean_of_pixels_forward, _mean_of_pixels_backward)
