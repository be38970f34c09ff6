"""The network's convolutions, each in its fastest form: matrix product, transposed filters, blocks of pixels."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from aljax.xla.compiling import fuses_into_products


def _product(maps: Array, kernel: Array, axes: Any, **options: Any) -> Array:
    """A 1x1 convolution as a product of matrices; it takes the place, and the arguments, of `jax.lax.dot_general`.

    With one row per pixel, the gradient of the kernel is a product of two matrices as they lie in memory. With axes for
    height and width XLA on CPUs first transposes one of them, which took a fifth of a training step. A batch that the
    devices cannot divide evenly keeps its axes: its rows would be sharded differently, and pixels sent between devices.
    """
    if maps.shape[0] % jax.device_count():
        return jax.lax.dot_general(maps, kernel, axes, **options)
    pixels = maps.reshape(-1, maps.shape[-1])
    products: Array = jax.lax.dot_general(pixels, kernel, (((1,), (0,)), ((), ())), **options)
    return products.reshape(*maps.shape[:-1], kernel.shape[-1])


def conv1x1(features: int, dtype: DTypeLike, name: str, in_float32: bool = False) -> nn.Dense:
    """1x1 convolution as a product; with `in_float32` the result stays in the float32 of its sums."""
    product: Any = _product
    precision: Any = None
    if in_float32:
        product = functools.partial(_product, preferred_element_type=jnp.float32)
        if dtype == jnp.bfloat16 and fuses_into_products():
            # So XLA rounds to bfloat16 inside the product and can fuse the operations before it.
            dtype, precision = jnp.float32, jax.lax.DotAlgorithmPreset.BF16_BF16_F32
    return nn.Dense(
        features,
        use_bias=False,
        dtype=dtype,
        precision=precision,
        dot_general=product,
        kernel_init=nn.initializers.he_normal(),
        name=name,
    )


def _convolve(maps: Array, kernel: Array, stride: int, padding: tuple[int, int], order: str = "HWIO") -> Array:
    return jax.lax.conv_general_dilated(
        maps, kernel, (stride, stride), (padding, padding), dimension_numbers=("NHWC", order, "NHWC")
    )


class Conv3x3(nn.Module):
    """3x3 convolution with a `kernel` (3, 3, k, n), or with the `filters` (n, 3, 3, k) of `densenet_inference`."""

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, maps: Float[Array, "b h w k"]) -> Float[Array, "b h w n"]:
        if self.has_variable("params", "filters"):
            return _convolve(maps, self.get_variable("params", "filters").astype(self.dtype), 1, (1, 1), "OHWI")
        shape = (3, 3, maps.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        return _convolve(maps, kernel.astype(self.dtype), 1, (1, 1))


class Stem(nn.Module):
    """7x7 convolution with stride 2.

    At inference it is computed as a 4x4 convolution with stride 1 over blocks of 2x2 pixels, each with four times the
    bands: GPUs pad three bands to eight, but twelve only to sixteen.
    """

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, images: Float[Array, "b h w bands"], train: bool) -> Float[Array, "b p q k"]:
        shape = (7, 7, images.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32).astype(self.dtype)
        if train:
            return _convolve(images, kernel, 2, (3, 3))
        odd = [(0, size % 2) for size in images.shape[1:3]]
        images = jnp.pad(images, [(0, 0), *odd, (0, 0)])
        kernel = jnp.pad(kernel, [(1, 0), (1, 0), (0, 0), (0, 0)])
        return _convolve(_blocks(images), _blocks(kernel[None])[0], 1, (2, 1))


def _blocks(images: Array) -> Array:
    """Makes each block of 2x2 pixels one pixel: (b, 2p, 2q, k, ...) becomes (b, p, q, 4k, ...)."""
    batch, height, width, bands, *rest = images.shape
    blocks = images.reshape(batch, height // 2, 2, width // 2, 2, bands, *rest)
    return jnp.moveaxis(blocks, 2, 3).reshape(batch, height // 2, width // 2, 4 * bands, *rest)
