"""DenseNet with bottlenecks (Huang et al., CVPR 2017) for multi-label tiles of any number of bands.

The network is the plain DenseNet-BC, arranged for speed without changing a result:

* 1x1 convolutions are matrix products, with a row for each pixel of the batch.
* The batch moments of a feature map serve every later layer of its dense block, so each map is reduced once.
* At inference a dense block appends its maps to one array; in training it concatenates them for each layer.
* On GPUs each layer can read that whole array, with zero weights for maps still to come (`densenet_inference`).
* At inference the stem convolves blocks of 2x2 pixels, so that GPUs pad fewer bands.
* A transition pools before its 1x1 convolution: both are linear, so they commute.
* Pooling, and the gradient of max-pooling, are written out over strided slices (`pooling`).
* At inference batch normalisation can be folded into one multiply-add per element beforehand; on GPUs XLA fuses it into
  the product before it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from aljax.networks import densenet_inference
from aljax.networks.batch_norm import BatchNorm, Moments, batch_moments, join_moments
from aljax.networks.convolutions import Conv3x3, Stem, conv1x1
from aljax.networks.pooling import average_pool_2x2, max_pool_3x3_stride_2, mean_of_pixels


class Outputs(NamedTuple):
    """What a forward pass returns."""

    logits: Float[Array, "b c"]
    """float32, one per class, before the sigmoid."""
    embedding: Float[Array, "b d"]
    """float32, input of the last layer (d = 1024 for DenseNet121)."""
    blocks: tuple[Float[Array, "b h w k"], ...]
    """Outputs of the dense blocks, before the transition's normalisation."""


class DenseLayer(nn.Module):
    """BN, ReLU, 1x1 convolution to four times the growth, BN, ReLU, 3x3 convolution to the growth."""

    growth: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, maps: Float[Array, "b h w n"], moments: Moments | None, channels: int | None = None
    ) -> Float[Array, "b h w g"]:
        """Reads the first `channels` maps (None: all), as `BatchNorm` does."""
        inference = moments is None
        # XLA fuses a normalisation into a product only in the type of the product's sums, float32. In training that
        # would double the memory of what the gradient needs.
        norm1 = BatchNorm(jnp.float32 if inference else self.dtype, name="norm1")
        narrow = nn.relu(norm1(maps, moments, channels))
        narrow = conv1x1(4 * self.growth, self.dtype, name="conv1", in_float32=inference)(narrow)
        narrow_moments = None if moments is None else batch_moments(narrow)
        narrow = nn.relu(BatchNorm(self.dtype, name="norm2")(narrow, narrow_moments))
        return Conv3x3(self.growth, self.dtype, name="conv2")(narrow)


class DenseBlock(nn.Module):
    """Layers that each read all maps before them and append `growth` new ones."""

    depth: int
    growth: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, maps: Float[Array, "b h w k"], train: bool) -> tuple[Float[Array, "b h w n"], Moments | None]:
        layers = [DenseLayer(self.growth, self.dtype, name=f"layer{index + 1}") for index in range(self.depth)]
        if not train:
            return _append_in_place(maps, layers, self.growth), None
        moments = batch_moments(maps)
        for layer in layers:
            new = layer(maps, moments)
            maps = jnp.concatenate([maps, new], axis=-1)
            moments = join_moments(moments, batch_moments(new))
        return maps, moments


def _append_in_place(maps: Array, layers: Sequence[DenseLayer], growth: int) -> Array:
    """The output of a block at inference, where no gradient needs each layer's input: all maps in one array.

    Concatenation would read and write each map once for every later layer, a sixth of the time on an H200. XLA would do
    the same without the barriers, because it turns the updates into a sum of padded arrays.
    """
    channels = maps.shape[-1]
    block = jnp.pad(maps, [(0, 0)] * 3 + [(0, growth * len(layers))])
    for layer in layers:
        new = layer(block, None, channels)
        block = jax.lax.optimization_barrier(jax.lax.dynamic_update_slice(block, new, (0, 0, 0, channels)))
        channels += growth
    return block


class Transition(nn.Module):
    """BN, ReLU, 2x2 average pooling and a 1x1 convolution that halves the channels."""

    dtype: DTypeLike

    @nn.compact
    def __call__(self, maps: Float[Array, "b h w k"], moments: Moments | None) -> Float[Array, "b p q n"]:
        pooled = average_pool_2x2(nn.relu(BatchNorm(self.dtype, name="norm")(maps, moments)))
        return conv1x1(maps.shape[-1] // 2, self.dtype, name="conv")(pooled)


class DenseNet(nn.Module):
    """DenseNet-BC; the defaults are DenseNet121.

    Apply with `network.apply(variables, images, train=False)`, images (B, H, W, bands) already standardised;
    with `train=True` pass `mutable=["batch_stats"]`. Gives `logits` (B, C), the `embedding` (B, D) before the last
    layer and the `blocks`' maps, which `LossHead` reads. Raises ValueError for images of fewer than 32
    pixels, of which nothing would be left.

    >>> import jax, jax.numpy as jnp
    >>> network = DenseNet(num_classes=17)
    >>> images = jnp.zeros((2, 64, 64, 3))
    >>> variables = jax.jit(network.init)(jax.random.key(0), images)
    >>> network.apply(variables, images).logits.shape
    (2, 17)
    """

    num_classes: int
    depths: tuple[int, ...] = (6, 12, 24, 16)
    growth: int = 32
    stem_channels: int = 64
    dtype: DTypeLike = jnp.float32
    """Type of the computation and of the `blocks`; parameters, batch statistics and other outputs stay float32."""

    @nn.compact
    def __call__(self, images: Float[Array, "b h w bands"], train: bool = False) -> Outputs:
        least = 4 * 2 ** (len(self.depths) - 1)
        if min(images.shape[1:3]) < least:
            raise ValueError(
                f"images of {images.shape[1]} x {images.shape[2]} pixels: at least {least} x {least} needed"
            )
        maps = self._stem(images.astype(self.dtype), train)
        blocks = []
        for index, depth in enumerate(self.depths):
            maps, moments = DenseBlock(depth, self.growth, self.dtype, name=f"block{index + 1}")(maps, train)
            blocks.append(maps)
            if index < len(self.depths) - 1:
                maps = Transition(self.dtype, name=f"transition{index + 1}")(maps, moments)
        maps = BatchNorm(self.dtype, name="norm")(maps, moments)
        # XLA's CPU kernel for sums fuses the ReLU and turns NaN into 0, which would hide a diverged network or a broken
        # pixel. Adding 0 * NaN, which is NaN, keeps it visible.
        maps = nn.relu(maps) + 0.0 * maps
        embedding = mean_of_pixels(maps)
        # The last layer is float32 in every precision: eq. 7 differentiates through it.
        logits = nn.Dense(self.num_classes, precision=jax.lax.Precision.HIGHEST, name="head")(embedding)
        return Outputs(logits, embedding, tuple(blocks))

    @nn.nowrap
    def prepare(self, params: Mapping[str, Any], batch_stats: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters for inference: the same predictions without batch statistics, and less work for each batch."""
        return densenet_inference.prepare(self.dtype, params, batch_stats)

    def _stem(self, images: Float[Array, "b h w bands"], train: bool) -> Float[Array, "b p q k"]:
        maps = Stem(self.stem_channels, self.dtype, name="stem")(images, train)
        moments = batch_moments(maps) if train else None
        return max_pool_3x3_stride_2(nn.relu(BatchNorm(self.dtype, name="stem_norm")(maps, moments)))


def DenseNet121(num_classes: int, dtype: DTypeLike = jnp.float32) -> DenseNet:  # noqa: N802 (the field's name)
    """DenseNet121, the default `DenseNet`: 6,971,281 parameters for 3 bands and 17 classes (Table I: 6.97 M)."""
    return DenseNet(num_classes=num_classes, dtype=dtype)
