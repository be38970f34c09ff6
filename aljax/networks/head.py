"""A head on frozen features: the part that is trained where the features come from a network trained elsewhere."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from aljax.arrays import AnyArray
from aljax.networks.densenet import Outputs


def unit_features(features: Float[AnyArray, "n *one d"]) -> Float[Array, "n *one d"]:
    """Scales each tile's features to the norm sqrt(D), so that their squares are 1 on average.

    The direction of the features describes the tile; their norm says how bright or busy it is.
    """
    features = jnp.asarray(features, jnp.float32)
    squares = jnp.square(features).sum(-1, keepdims=True)
    return features * jnp.sqrt(features.shape[-1] / jnp.maximum(squares, 1e-12))


class Head(nn.Module):
    """Logistic regression of each class on the features of a tile, or one hidden layer of `width` before it.

    Takes features as tiles of one pixel, (B, 1, 1, D), less their mean over the pool. `embedding` is the input of the
    last layer: `unit_features`, or the hidden layer. The only block, for `LossHead`, is `unit_features`.
    """

    num_classes: int
    width: int = 0
    """Units of the hidden layer; 0: none, a linear head."""

    @nn.compact
    def __call__(self, images: Float[Array, "b h w d"], train: bool = False) -> Outputs:
        images = unit_features(images)
        embedding = images.reshape(len(images), -1)
        if self.width:
            embedding = nn.relu(nn.Dense(self.width, name="hidden")(embedding))
        logits = nn.Dense(self.num_classes, name="head", kernel_init=nn.initializers.zeros)(embedding)
        return Outputs(logits, embedding, (images,))
