"""The auxiliary network F_L, which predicts the loss of each tile from the dense blocks (LL strategy)."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aljax.arrays import AnyArray
from aljax.networks.pooling import mean_of_pixels


class LossHead(nn.Module):
    """Global average pooling, `Dense(width)` and ReLU per block; concatenated; `Dense(1)`.

    For DenseNet121 it has 361,473 parameters, the difference between the two counts of Table I.
    `blocks` are feature maps (B, h, w, k); the result is (B,), a predicted loss per tile. `gradient_scale`
    multiplies the gradient that flows back into the blocks: 1 trains jointly, 0 cuts (a traced value, so
    that cutting after an epoch compiles nothing new).
    """

    width: int = 128

    @nn.compact
    def __call__(
        self, blocks: Sequence[Float[Array, "b _h _w _k"]], gradient_scale: float | Float[AnyArray, ""] = 1.0
    ) -> Float[Array, " b"]:
        hidden = [
            nn.relu(nn.Dense(self.width, name=f"block{index + 1}")(_pool(maps, gradient_scale)))
            for index, maps in enumerate(blocks)
        ]
        return nn.Dense(1, name="loss")(jnp.concatenate(hidden, axis=-1))[:, 0]


def _pool(maps: Float[Array, "b h w k"], gradient_scale: float | Float[AnyArray, ""]) -> Float[Array, "b k"]:
    pooled = mean_of_pixels(maps)
    fixed = jax.lax.stop_gradient(pooled)
    # Equal to `pooled` in value, scaled in gradient.
    return fixed + gradient_scale * (pooled - fixed)
