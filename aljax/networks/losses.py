"""The losses of the paper: eq. 1 (classification) and eq. 2 (loss ordering)."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Num

from aljax.arrays import UNKNOWN, AnyArray, as_key, at_least_float32


def bce_loss(logits: Float[AnyArray, "b c"], labels: Num[AnyArray, "b c"]) -> Float[Array, " b"]:
    """Binary cross-entropy of each tile, summed over its classes (eq. 1), of which only the known ones count.

    `logits` (B, C) before the sigmoid, `labels` (B, C) of 0, 1 and UNKNOWN; returns (B,), in float32 or better. The
    mean over a batch stays one over its tiles: a tile with few known classes weighs less. No gradient, and nothing that
    is not finite, comes from an unknown cell. Raises ValueError for other shapes.
    """
    logits, labels = at_least_float32(logits), at_least_float32(labels)
    if logits.ndim != 2 or logits.shape != labels.shape:
        raise ValueError(f"logits have the shape {logits.shape} and labels {labels.shape}: give (B, C) for both")
    known = labels != UNKNOWN
    # The logit is replaced too: its derivative times zero would be NaN where it is not finite.
    logits, labels = jnp.where(known, logits, 0.0), jnp.where(known, labels, 0.0)
    return jnp.where(known, optax.sigmoid_binary_cross_entropy(logits, labels), 0.0).sum(-1)


def ranking_loss(
    predicted: Float[AnyArray, "p 2"], true: Float[AnyArray, "p 2"], margin: float = 1.0
) -> Float[Array, " p"]:
    """Hinge loss on the order of two predicted losses, one row per pair of tiles (eq. 2).

    `predicted` and `true` (P, 2) hold the losses of the two tiles of each pair; `margin` is xi. The true
    losses are targets: no gradient flows through them. Returns (P,), in float32 or better. Raises ValueError for other
    shapes.
    """
    predicted, true = at_least_float32(predicted), at_least_float32(true)
    true = jax.lax.stop_gradient(true)
    if predicted.shape != true.shape or predicted.shape[1:] != (2,):
        raise ValueError(f"predicted has the shape {predicted.shape} and true {true.shape}: give (P, 2) for both")
    order = jnp.sign(true[:, 0] - true[:, 1])
    return jnp.maximum(0.0, margin - order * (predicted[:, 0] - predicted[:, 1]))


def random_pairs(key: Array | int, batch_size: int) -> Int[Array, "p 2"]:
    """Disjoint random pairs of positions in a mini-batch: (batch_size // 2, 2)."""
    pairs = batch_size // 2
    return jax.random.permutation(as_key(key), batch_size)[: 2 * pairs].reshape(pairs, 2)
