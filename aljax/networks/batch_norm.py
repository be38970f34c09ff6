"""Batch normalisation with moments that layers can share; at inference it is one multiply-add per element."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

BN_MOMENTUM = 0.9
BN_EPSILON = 1e-5
UNSPLIT_PIXELS = 4096  # XLA on GPUs does not split a sum over at most so many pixels of a batch (B * H * W)


class Moments(NamedTuple):
    """Per-channel mean and (biased) variance over batch, height and width, in float32."""

    mean: Float[Array, " k"]
    variance: Float[Array, " k"]


def batch_moments(maps: Float[Array, "b h w k"]) -> Moments:
    """Moments of a batch in one pass, in float32 whatever the type of the maps."""
    maps = maps.astype(jnp.float32)
    mean = maps.mean((0, 1, 2))
    variance = jnp.square(maps).mean((0, 1, 2)) - jnp.square(mean)
    return Moments(mean, jnp.maximum(variance, 0.0))


def join_moments(first: Moments, second: Moments) -> Moments:
    """Moments of two maps that are concatenated along their channels."""
    return Moments(*(jnp.concatenate(pair) for pair in zip(first, second, strict=True)))


class BatchNorm(nn.Module):
    """Batch normalisation that takes the batch moments as an argument, so that layers can share them.

    With `moments=None` (inference) it uses the running statistics or, with parameters from `densenet_inference`, their
    folded `multiplier` and `shift`. Parameters and statistics are float32.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, maps: Float[Array, "b h w n"], moments: Moments | None, channels: int | None = None
    ) -> Float[Array, "b h w k"]:
        """Normalises the first `channels` channels (None: all); folded parameters decide by their own length."""
        if self.has_variable("params", "multiplier"):
            multiplier: Array = self.get_variable("params", "multiplier")
            shift: Array = self.get_variable("params", "shift")
            return _multiply_and_add(maps[..., : len(multiplier)], multiplier, shift).astype(self.dtype)
        maps = maps[..., :channels]
        channels = maps.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_variance = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        if moments is None:
            moments = Moments(running_mean.value, running_variance.value)
        elif not self.is_initializing():
            count = maps.size // channels
            unbiased = moments.variance * (count / max(count - 1, 1))
            running_mean.value = _moving_average(running_mean.value, moments.mean)
            running_variance.value = _moving_average(running_variance.value, unbiased)
        return _multiply_and_add(maps, *_fold(scale, bias, moments)).astype(self.dtype)


@jax.custom_vjp
def _multiply_and_add(
    maps: Float[Array, "b h w k"], multiplier: Float[Array, " k"], shift: Float[Array, " k"]
) -> Float[Array, "b h w k"]:
    """`maps * multiplier + shift` in float32, with a gradient whose sums are float32, too."""
    return maps.astype(jnp.float32) * multiplier + shift


def _multiply_and_add_forward(maps: Array, multiplier: Array, shift: Array) -> tuple[Array, tuple[Array, Array]]:
    return _multiply_and_add(maps, multiplier, shift), (maps, multiplier)


def _multiply_and_add_backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array, Array]:
    """The gradient that JAX would derive, except for how its sums are split (`_sums_over_pixels`)."""
    maps, multiplier = residuals
    of_multiplier, of_shift = _sums_over_pixels(gradient * maps.astype(jnp.float32), gradient)
    return (gradient * multiplier).astype(maps.dtype), of_multiplier, of_shift


_multiply_and_add.defvjp(_multiply_and_add_forward, _multiply_and_add_backward)


def _sums_over_pixels(*maps: Float[Array, "b h w k"]) -> tuple[Float[Array, " k"], ...]:
    """The sum of each argument over batch, height and width.

    On a GPU XLA splits a sum over many pixels, but not one over few, whose summands it first writes to memory: on an
    H200 such kernels took 2.9 of the 10 ms of a step on ten tiles. So this function splits those sums by tile.
    """
    batch, height, width, _ = maps[0].shape
    if jax.default_backend() != "gpu" or batch * height * width > UNSPLIT_PIXELS:
        return tuple(one.sum((0, 1, 2)) for one in maps)
    # Without the barrier XLA would merge the sums over pixels and over tiles into one again.
    of_tiles = jax.lax.optimization_barrier(tuple(one.sum((1, 2)) for one in maps))
    return tuple(one.sum(0) for one in of_tiles)


def _fold(scale: Array, bias: Array, moments: Moments) -> tuple[Array, Array]:
    """Multiplier and shift of each channel that make the normalisation one multiply-add per element."""
    multiplier = scale * jax.lax.rsqrt(moments.variance + BN_EPSILON)
    return multiplier, bias - moments.mean * multiplier


def _moving_average(old: Float[Array, " k"], new: Float[Array, " k"]) -> Float[Array, " k"]:
    return BN_MOMENTUM * old + (1.0 - BN_MOMENTUM) * jax.lax.stop_gradient(new)
