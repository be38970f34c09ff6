"""One compiled pass over a set of tiles: probabilities, embeddings and predicted losses."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from aljax.data.archive import Tiles
from aljax.data.augmentation import standardise
from aljax.model import Model, Variables, forward


class Predictions(NamedTuple):
    """A row for each tile of the set; NaN where no prediction was asked for."""

    probabilities: Float[np.ndarray, "n c"]
    embeddings: Float[np.ndarray, "n d"]
    predicted_losses: Float[np.ndarray, " n"] | None
    """None without a loss head."""


@partial(jax.jit, static_argnames="model")
def _predict_batch(
    model: Model, variables: Variables, tiles: Tiles, rows: Int[Array, " b"]
) -> tuple[Array, Array, Array | None]:
    images = standardise(tiles.images[rows], tiles.mean, tiles.deviation)
    outputs, predicted_losses, _ = forward(model, variables, images, train=False)
    return jax.nn.sigmoid(outputs.logits), outputs.embedding, predicted_losses


def predict(
    model: Model,
    variables: Variables,
    tiles: Tiles,
    rows: Int[np.ndarray, " m"] | None = None,
    batch_size: int = 64,
) -> Predictions:
    """Predicts the tiles `rows` (default: all) and returns arrays with a row for every tile of the set.

    The arrays have the same shape however many tiles are asked for, and the last batch is filled up by
    repeating a tile, so nothing recompiles while a pool shrinks.
    """
    rows = np.arange(tiles.num_tiles) if rows is None else rows
    results: tuple[np.ndarray, ...] | None = None
    for start in range(0, len(rows), batch_size):
        chunk = rows[start : start + batch_size]
        filled = jnp.asarray(np.resize(chunk, batch_size))
        batch = [part for part in _predict_batch(model, variables, tiles, filled) if part is not None]
        if results is None:
            results = tuple(np.full((tiles.num_tiles, *part.shape[1:]), np.nan, np.float32) for part in batch)
        for result, part in zip(results, batch, strict=True):
            result[chunk] = np.asarray(part)[: len(chunk)]
    if results is None:
        raise ValueError("no tiles to predict: `rows` is empty")
    return Predictions(*results, *(() if model.loss_head is not None else (None,)))
