"""Uncertainty of unlabelled multi-label tiles: the paper's LL, TPD and MGE, and other published scores.

Pure functions of NumPy or JAX arrays, or of lists, for use with any training code. A higher score means a more
uncertain tile.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from aljax.arrays import AnyArray, as_array, at_least_float32
from aljax.networks.losses import bce_loss

LastLayer = Mapping[str, Float[AnyArray, "..."]]
"""Parameters of the last layer: {"kernel": (D, C), "bias": (C,)}; "bias" may be missing."""


def ll_scores(predicted_losses: Float[AnyArray, " n"]) -> Float[Array, " n"]:
    """LL: the predicted loss itself, (N,) -> (N,) (eq. 4). Raises ValueError for another shape."""
    scores = at_least_float32(predicted_losses)
    if scores.ndim != 1:
        raise ValueError(f"predicted losses have the shape {scores.shape}: give (N,), one for each tile")
    return scores


def tpd_scores(probabilities: Float[AnyArray, "n c"], previous: Float[AnyArray, "n c"]) -> Float[Array, " n"]:
    """TPD: L2 norm of the change of the class probabilities since the last iteration (eq. 5).

    Both arguments are probabilities (N, C), after the sigmoid, of the same tiles in the same order. Returns (N,), in
    float32 or float64. Raises ValueError for other shapes.
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
    """Binary entropy of each class in nats, summed over the classes, (N, C) -> (N,) (Settles, 2009).

    Raises ValueError for another shape.
    """
    return _entropies(_probabilities(probabilities)).sum(-1)


def margin_scores(probabilities: Float[AnyArray, "n c"]) -> Float[Array, " n"]:
    """Minus the margin |p - (1 - p)| of each class, summed over the classes, (N, C) -> (N,) (Settles, 2009).

    Raises ValueError for another shape.
    """
    return -jnp.abs(2.0 * _probabilities(probabilities) - 1.0).sum(-1)


def least_confidence_scores(probabilities: Float[AnyArray, "n c"]) -> Float[Array, " n"]:
    """1 - max(p, 1 - p) of the tile's least confident class, (N, C) -> (N,) (Settles, 2009).

    Raises ValueError for another shape.
    """
    probabilities = _probabilities(probabilities)
    return jnp.minimum(probabilities, 1.0 - probabilities).max(-1)


def rarity_scores(
    probabilities: Float[AnyArray, "n c"], positives: Num[AnyArray, " c"], num_labelled: int, threshold: float = 0.5
) -> Float[Array, " n"]:
    """Binary entropy of each class, divided by the square root of the class's frequency, summed over the classes.

    A label of a rare class is worth more, because the standard deviation of an estimate from n examples falls with the
    square root of n. `probabilities` are (N, C); `positives` (C,) counts the labelled tiles that are known to have
    each class, out of `num_labelled`: a class that is unknown on most of them has few examples, too. The frequency is
    smoothed: (positives + 2) / num_labelled, so a class without examples counts as one with two. The score is of this
    project, not from a paper.

    `threshold` is the probability above which a class is predicted as present, and where its entropy is to be highest:
    for other values than 0.5 the odds of p are divided by the odds of the threshold first. Returns (N,). Raises
    ValueError for other shapes, or a threshold outside (0, 1).
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
    frequency = (positives + 2.0) / max(num_labelled, 1)
    return (_entropies(probabilities) / jnp.sqrt(frequency)).sum(-1)


def bald_scores(draws: Float[AnyArray, "k n c"]) -> Float[Array, " n"]:
    """BALD: entropy of the mean prediction minus the mean entropy, summed over the classes (Houlsby et al., 2011).

    `draws` (K, N, C) are the probabilities of K forward passes with dropout (Gal et al., ICML 2017) or of K members of
    an ensemble. Returns the mutual information (N,) in nats. Raises ValueError for another shape.
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
    """Binary entropy of each probability in nats; 0 at 0 and 1."""
    return jax.scipy.special.entr(probabilities) + jax.scipy.special.entr(1.0 - probabilities)


def last_logits(last_layer: LastLayer, embeddings: Float[AnyArray, "n d"]) -> Float[Array, "n c"]:
    """Logits (N, C) of the last layer {"kernel": (D, C), "bias": (C,)} for its inputs (N, D)."""
    # Full precision even where the accelerator would round float32 products: it decides pseudo-labels near 0.5.
    product = jnp.matmul(embeddings, last_layer["kernel"], precision=jax.lax.Precision.HIGHEST)
    return product + last_layer["bias"]


def _layer_and_inputs(
    last_layer: Mapping[str, Any], embeddings: Any, half: bool = True
) -> tuple[dict[str, Array], Array]:
    """The arguments as arrays, with a bias; in float32 unless `half` precision is allowed.

    Raises ValueError for shapes that do not fit together.
    """
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
    """Residuals p - y (N, C) under pseudo-labels y, from logits (N, C): the gradient of eq. 1 by the logits (eq. 6)."""
    logits = at_least_float32(logits)
    # The pseudo-label y is p rounded to 0 or 1. The sigmoid of -|logit| is |p - y| without cancellation for p near 1.
    return jnp.where(logits > 0.0, -1.0, 1.0) * jax.nn.sigmoid(-jnp.abs(logits))


def gradient_embeddings(last_layer: LastLayer, embeddings: Float[AnyArray, "n d"]) -> dict[str, Array]:
    """Gradient of eq. 1 by the last layer's parameters under pseudo-labels, for each tile (eq. 6).

    `last_layer` is {"kernel": (D, C), "bias": (C,)}, `embeddings` (N, D) are its inputs. Returns
    {"kernel": (N, D, C), "bias": (N, C)}; `mge_scores` gives the norms alone in less memory. Raises ValueError for
    other shapes.
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

    The gradient is the outer product of (embedding, 1) and the residual p - y, so its norm is the product of their
    norms and no N x D x C array is needed. Arguments as for `gradient_embeddings`; returns (N,) in float32. Raises
    ValueError for other shapes.
    """
    # In half precision the squares of an embedding overflow.
    return _mge_scores(*_layer_and_inputs(last_layer, embeddings, half=False))


@jax.jit
def _mge_scores(layer: dict[str, Array], embeddings: Array) -> Array:
    residual = jax.nn.sigmoid(-jnp.abs(last_logits(layer, embeddings)))
    squared_input = jnp.square(embeddings).sum(-1) + 1.0
    # The squares of small residuals underflow: they are scaled up first, by a power of two, which is exact.
    scale = _power_of_two(residual.max(-1, keepdims=True, initial=0.0))
    return jnp.sqrt(squared_input) * jnp.linalg.norm(residual / scale, axis=-1) * scale[:, 0]


def _power_of_two(array: Float[Array, "n 1"]) -> Float[Array, "n 1"]:
    """The largest power of two that is at most each number, of float32 numbers >= 0; 1 for 0 and subnormal ones."""
    exponent = jax.lax.bitcast_convert_type(array, jnp.uint32) & jnp.uint32(0x7F800000)
    return jnp.where(exponent > 0, jax.lax.bitcast_convert_type(exponent, jnp.float32), 1.0)
