"""A head on frozen features: what is left to train where a network trained elsewhere has seen the tiles already."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from aljax.arrays import AnyArray
from aljax.networks.densenet import Outputs


def unit_features(features: Float[AnyArray, "n *one d"]) -> Float[Array, "n *one d"]:
    """Features of the same length for every tile, the root of D, so that their squares are 1 on average.

    What networks say of a tile is in the direction of its features; their length tells how bright or busy it is.
    """
    features = jnp.asarray(features, jnp.float32)
    squares = jnp.square(features).sum(-1, keepdims=True)
    return features * jnp.sqrt(features.shape[-1] / jnp.maximum(squares, 1e-12))


class Head(nn.Module):
    """Logistic regression of each class on the features of a tile, or one hidden layer of `width` before it.

    Takes features as tiles of one pixel, (B, 1, 1, D), less their mean over the pool. `embedding` is what the last
    layer reads: `unit_features`, or the hidden layer; the only block, which `LossHead` reads, are the features.
    """

    num_classes: int
    width: int = 0
    """Of the hidden layer; 0: linear."""

    @nn.compact
    def __call__(self, images: Float[Array, "b h w d"], train: bool = False) -> Outputs:
        images = unit_features(images)
        embedding = images.reshape(len(images), -1)
        if self.width:
            embedding = nn.relu(nn.Dense(self.width, name="hidden")(embedding))
        logits = nn.Dense(self.num_classes, name="head", kernel_init=nn.initializers.zeros)(embedding)
        return Outputs(logits, embedding, (images,))
