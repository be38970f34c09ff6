"""Multi-label uncertainty of unlabelled tiles: LL (eq. 4), TPD (eq. 5) and MGE (eq. 6 and 7).

Pure functions of arrays, so they serve any training code. A higher score is a more uncertain tile.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from aljax.arrays import AnyArray, at_least_float32
from aljax.networks.losses import bce_loss

LastLayer = Mapping[str, Float[AnyArray, "..."]]
"""Parameters of the last layer: {"kernel": (D, C), "bias": (C,)}."""


@jax.jit
def ll_scores(predicted_losses: Float[AnyArray, " n"]) -> Float[Array, " n"]:
    """LL: the predicted loss itself (eq. 4). (N,) -> (N,). Raises ValueError for another shape."""
    scores = jnp.asarray(predicted_losses)
    if scores.ndim != 1:
        raise ValueError(f"predicted losses have the shape {scores.shape}: give (N,), one for each tile")
    return scores


@jax.jit
def tpd_scores(probabilities: Float[AnyArray, "n c"], previous: Float[AnyArray, "n c"]) -> Float[Array, " n"]:
    """TPD: L2 norm of the change of the class probabilities since the last iteration (eq. 5).

    Both (N, C), rows of the same tiles, probabilities after the sigmoid; returns (N,), in float32 or better. Raises
    ValueError for other shapes.
    """
    probabilities, previous = at_least_float32(probabilities), at_least_float32(previous)
    if probabilities.ndim != 2 or probabilities.shape != previous.shape:
        raise ValueError(
            f"probabilities have the shapes {probabilities.shape} and {previous.shape}: give (N, C) for both"
        )
    return jnp.linalg.norm(probabilities - previous, axis=-1)


def _logits(last_layer: LastLayer, embeddings: Float[AnyArray, "n d"]) -> Float[Array, "n c"]:
    # Full precision even where the accelerator would round float32 products: pseudo-labels hang on it.
    product = jnp.matmul(embeddings, last_layer["kernel"], precision=jax.lax.Precision.HIGHEST)
    return product + last_layer["bias"]


def _arrays(
    last_layer: LastLayer, embeddings: Float[AnyArray, "n d"], dtype: DTypeLike | None = None
) -> tuple[dict[str, Array], Array]:
    """The arguments as arrays. Raises ValueError for shapes that do not fit together."""
    kernel, bias = (jnp.asarray(last_layer[name], dtype) for name in ("kernel", "bias"))
    embeddings = jnp.asarray(embeddings, dtype)
    fitting = kernel.ndim == embeddings.ndim == 2 and embeddings.shape[1] == len(kernel)
    if not fitting or bias.shape != kernel.shape[1:]:
        raise ValueError(
            f"embeddings have the shape {embeddings.shape}, kernel {kernel.shape} and bias {bias.shape}: give (N, D), "
            "(D, C) and (C,)"
        )
    return {"kernel": kernel, "bias": bias}, embeddings


def _pseudo_labels(logits: Float[Array, "n c"]) -> Float[Array, "n c"]:
    # A probability above 0.5 is a positive logit.
    return (logits > 0.0).astype(jnp.float32)


@jax.jit
def gradient_embeddings(last_layer: LastLayer, embeddings: Float[AnyArray, "n d"]) -> dict[str, Array]:
    """Gradient of eq. 1 for the last layer's parameters under pseudo-labels, for each tile (eq. 6).

    `last_layer` is {"kernel": (D, C), "bias": (C,)}, `embeddings` (N, D) its inputs. Returns
    {"kernel": (N, D, C), "bias": (N, C)}; use `mge_scores` where only the norms are wanted. Raises ValueError for other
    shapes.
    """
    layer, embeddings = _arrays(last_layer, embeddings)

    def tile_loss(parameters: LastLayer, embedding: Array) -> Array:
        logits = _logits(parameters, embedding[None])
        return bce_loss(logits, jax.lax.stop_gradient(_pseudo_labels(logits)))[0]

    return jax.vmap(jax.grad(tile_loss), in_axes=(None, 0))(layer, embeddings)


@jax.jit
def mge_scores(last_layer: LastLayer, embeddings: Float[AnyArray, "n d"]) -> Float[Array, " n"]:
    """MGE: L2 norm of each tile's gradient embedding (eq. 7), in O(N (D + C)) memory.

    With residual r = p - y the gradient is the outer product of (embedding, 1) and r, so its norm is the
    product of their norms and the N x D x C gradients never exist. Arguments as `gradient_embeddings`;
    returns (N,), float32 whatever they are. Raises ValueError for other shapes.
    """
    # Half precision has no room for the squares of an embedding.
    last_layer, embeddings = _arrays(last_layer, embeddings, jnp.float32)
    # |p - y|: the pseudo-label is the nearer of 0 and 1. Subtracting would lose what is left where p is close to 1.
    residual = jax.nn.sigmoid(-jnp.abs(_logits(last_layer, embeddings)))
    squared_input = jnp.square(embeddings).sum(-1) + 1.0
    # Nor would the squares of what is left there be numbers: by a power of two, which rounds nothing, it is made large.
    scale = _power_of_two(residual.max(-1, keepdims=True, initial=0.0))
    return jnp.sqrt(squared_input) * jnp.linalg.norm(residual / scale, axis=-1) * scale[:, 0]


def _power_of_two(array: Float[Array, "n 1"]) -> Float[Array, "n 1"]:
    """The largest one that is not above, of positive numbers; 1 for 0."""
    exponent = jax.lax.bitcast_convert_type(array, jnp.uint32) & jnp.uint32(0x7F800000)
    return jnp.where(exponent > 0, jax.lax.bitcast_convert_type(exponent, jnp.float32), 1.0)
