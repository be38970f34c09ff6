"""Uncertainty of unlabelled tiles for several labels each: the paper's LL, TPD and MGE, and others of the field.

Pure functions of arrays, so they serve any training code. They take NumPy's or JAX's arrays, or lists. A higher score
is a more uncertain tile.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from aljax.arrays import AnyArray, as_array, at_least_float32
from aljax.networks.losses import bce_loss

LastLayer = Mapping[str, Float[AnyArray, "..."]]
"""Parameters of the last layer: {"kernel": (D, C), "bias": (C,)}; a layer without bias may leave it out."""


def ll_scores(predicted_losses: Float[AnyArray, " n"]) -> Float[Array, " n"]:
    """LL: the predicted loss itself (eq. 4). (N,) -> (N,). Raises ValueError for another shape."""
    scores = at_least_float32(predicted_losses)
    if scores.ndim != 1:
        raise ValueError(f"predicted losses have the shape {scores.shape}: give (N,), one for each tile")
    return scores


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
    return _change(probabilities, previous)


@jax.jit
def _change(probabilities: Array, previous: Array) -> Array:
    return jnp.linalg.norm(probabilities - previous, axis=-1)


def entropy_scores(probabilities: Float[AnyArray, "n c"]) -> Float[Array, " n"]:
    """Entropy of each class's presence in nats, summed over the classes (Settles, 2009). (N, C) -> (N,).

    Raises ValueError for another shape.
    """
    return _entropies(_probabilities(probabilities)).sum(-1)


def margin_scores(probabilities: Float[AnyArray, "n c"]) -> Float[Array, " n"]:
    """Minus the margin |2 p - 1| between a class's presence and absence, summed over the classes. (N, C) -> (N,).

    Raises ValueError for another shape.
    """
    return -jnp.abs(2.0 * _probabilities(probabilities) - 1.0).sum(-1)


def least_confidence_scores(probabilities: Float[AnyArray, "n c"]) -> Float[Array, " n"]:
    """1 - max(p, 1 - p) of the class that is least sure on the tile. (N, C) -> (N,). ValueError for another shape."""
    probabilities = _probabilities(probabilities)
    return jnp.minimum(probabilities, 1.0 - probabilities).max(-1)


def rarity_scores(
    probabilities: Float[AnyArray, "n c"], positives: Num[AnyArray, " c"], num_labelled: int, threshold: float = 0.5
) -> Float[Array, " n"]:
    """Entropy of each class divided by the square root of its share among the labelled tiles, summed over the classes.

    A class is as uncertain as its entropy, and an answer about it is worth more the fewer examples there are: the
    deviation of an estimate from n examples falls with the square root of n. `probabilities` (N, C); `positives` (C,)
    is the number of labelled tiles with each class, of `num_labelled`; the share is smoothed by two tiles, (positives +
    2) / num_labelled, so a class that nobody has seen counts as one that was seen twice.

    Where a class counts as present above another `threshold` than one half, it is most uncertain there: its odds are
    divided by those of the threshold before the entropy is taken. Returns (N,). Raises ValueError for other shapes, or
    a threshold that is not between 0 and 1.
    """
    probabilities = _probabilities(probabilities)
    if not 0.0 < threshold < 1.0:
        raise ValueError(f"threshold is {threshold}: it must be above 0 and below 1")
    if threshold != 0.5:
        present, absent = probabilities * (1.0 - threshold), (1.0 - probabilities) * threshold
        probabilities = present / (present + absent)
    positives = at_least_float32(positives)
    if positives.shape != probabilities.shape[1:]:
        raise ValueError(f"positives have the shape {positives.shape}: give ({probabilities.shape[1]},), one a class")
    share = (positives + 2.0) / max(num_labelled, 1)
    return (_entropies(probabilities) / jnp.sqrt(share)).sum(-1)


def bald_scores(draws: Float[AnyArray, "k n c"]) -> Float[Array, " n"]:
    """BALD: entropy of the mean prediction less the mean entropy, summed over the classes (Houlsby et al., 2011).

    `draws` (K, N, C) are probabilities of K passes that differ by dropout (Gal et al., ICML 2017) or members of an
    ensemble. Returns (N,), what the passes disagree about. Raises ValueError for another shape.
    """
    draws = at_least_float32(draws)
    if draws.ndim != 3:
        raise ValueError(f"draws have the shape {draws.shape}: give (K, N, C)")
    return _entropies(draws.mean(0)).sum(-1) - _entropies(draws).mean(0).sum(-1)


def _probabilities(values: Any) -> Float[Array, "n c"]:
    probabilities = at_least_float32(values)
    if probabilities.ndim != 2:
        raise ValueError(f"probabilities have the shape {probabilities.shape}: give (N, C)")
    return probabilities


@jax.jit
def _entropies(probabilities: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
    """Of each cell, in nats; 0 at 0 and 1."""
    return jax.scipy.special.entr(probabilities) + jax.scipy.special.entr(1.0 - probabilities)


def last_logits(last_layer: LastLayer, embeddings: Float[AnyArray, "n d"]) -> Float[Array, "n c"]:
    """What the last layer {"kernel": (D, C), "bias": (C,)} gives for its inputs (N, D)."""
    # Full precision even where the accelerator would round float32 products: pseudo-labels hang on it.
    product = jnp.matmul(embeddings, last_layer["kernel"], precision=jax.lax.Precision.HIGHEST)
    return product + last_layer["bias"]


def _layer_and_inputs(
    last_layer: Mapping[str, Any], embeddings: Any, half: bool = True
) -> tuple[dict[str, Array], Array]:
    """The arguments as arrays; not `half`: all in float32. Raises ValueError for shapes that do not fit together."""
    kernel, embeddings = jnp.asarray(as_array(last_layer["kernel"])), jnp.asarray(as_array(embeddings))
    bias = last_layer.get("bias")
    bias = jnp.zeros(kernel.shape[1:], kernel.dtype) if bias is None else jnp.asarray(as_array(bias))
    kernel, bias, embeddings = (
        part if half and jnp.issubdtype(part.dtype, jnp.inexact) else part.astype(jnp.float32)
        for part in (kernel, bias, embeddings)
    )
    fitting = kernel.ndim == embeddings.ndim == 2 and embeddings.shape[1] == len(kernel)
    if not fitting or bias.shape != kernel.shape[1:]:
        matrices = kernel.ndim == embeddings.ndim == 2
        transposed = matrices and not fitting and embeddings.shape[1] == kernel.shape[1]
        raise ValueError(
            f"embeddings have the shape {embeddings.shape}, kernel {kernel.shape} and bias {bias.shape}: give (N, D), "
            f"(D, C) and (C,){'; the kernel is transposed, as PyTorch keeps it: give kernel.T' if transposed else ''}"
        )
    return {"kernel": kernel, "bias": bias}, embeddings


def _pseudo_labels(logits: Float[Array, "n c"]) -> Float[Array, "n c"]:
    # A probability above 0.5 is a positive logit.
    return (logits > 0.0).astype(jnp.float32)


def pseudo_residuals(logits: Float[AnyArray, "n c"]) -> Float[Array, "n c"]:
    """p - y under pseudo-labels, from logits (N, C): the gradient of eq. 1 for the logits, in eq. 6."""
    logits = at_least_float32(logits)
    # The pseudo-label is the nearer of 0 and 1. Subtracting would lose what is left where p is close to 1.
    return jnp.where(logits > 0.0, -1.0, 1.0) * jax.nn.sigmoid(-jnp.abs(logits))


def gradient_embeddings(last_layer: LastLayer, embeddings: Float[AnyArray, "n d"]) -> dict[str, Array]:
    """Gradient of eq. 1 for the last layer's parameters under pseudo-labels, for each tile (eq. 6).

    `last_layer` is {"kernel": (D, C), "bias": (C,)}, `embeddings` (N, D) its inputs. Returns
    {"kernel": (N, D, C), "bias": (N, C)}; use `mge_scores` where only the norms are wanted. Raises ValueError for other
    shapes.
    """
    return _gradient_embeddings(*_layer_and_inputs(last_layer, embeddings))


@jax.jit
def _gradient_embeddings(layer: dict[str, Array], embeddings: Array) -> dict[str, Array]:
    def tile_loss(parameters: LastLayer, embedding: Array) -> Array:
        logits = last_logits(parameters, embedding[None])
        return bce_loss(logits, jax.lax.stop_gradient(_pseudo_labels(logits)))[0]

    return jax.vmap(jax.grad(tile_loss), in_axes=(None, 0))(layer, embeddings)


def mge_scores(last_layer: LastLayer, embeddings: Float[AnyArray, "n d"]) -> Float[Array, " n"]:
    """MGE: L2 norm of each tile's gradient embedding (eq. 7), in O(N (D + C)) memory.

    With residual r = p - y the gradient is the outer product of (embedding, 1) and r, so its norm is the
    product of their norms and the N x D x C gradients never exist. Arguments as `gradient_embeddings`;
    returns (N,), float32 whatever they are. Raises ValueError for other shapes.
    """
    # Half precision has no room for the squares of an embedding.
    return _mge_scores(*_layer_and_inputs(last_layer, embeddings, half=False))


@jax.jit
def _mge_scores(layer: dict[str, Array], embeddings: Array) -> Array:
    residual = jax.nn.sigmoid(-jnp.abs(last_logits(layer, embeddings)))
    squared_input = jnp.square(embeddings).sum(-1) + 1.0
    # Nor would the squares of what is left there be numbers: by a power of two, which rounds nothing, it is made large.
    scale = _power_of_two(residual.max(-1, keepdims=True, initial=0.0))
    return jnp.sqrt(squared_input) * jnp.linalg.norm(residual / scale, axis=-1) * scale[:, 0]


def _power_of_two(array: Float[Array, "n 1"]) -> Float[Array, "n 1"]:
    """The largest one that is not above, of positive numbers; 1 for 0."""
    exponent = jax.lax.bitcast_convert_type(array, jnp.uint32) & jnp.uint32(0x7F800000)
    return jnp.where(exponent > 0, jax.lax.bitcast_convert_type(exponent, jnp.float32), 1.0)
