"""One compiled pass over a set of tiles: probabilities, embeddings and predicted losses, batch by batch."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Shaped
from tqdm import tqdm

from aljax.arrays import AnyArray
from aljax.data.archive import Tiles
from aljax.data.augmentation import BandStatistics, standardise
from aljax.data.features.unfinished import Unfinished
from aljax.networks.model import Model, Variables, forward, prepare_inference
from aljax.system.stopping import StoppedError, StopRequest
from aljax.xla.compiling import jit


class Predictions(NamedTuple):
    """One row for each tile of a batch, on the device."""

    probabilities: Float[Array, "b c"]
    embeddings: Float[Array, "b d"]
    predicted_losses: Float[Array, " b"] | None
    """None without a loss head."""


Compute = Callable[[Shaped[np.ndarray, "b h w bands"]], Predictions]
"""Another engine than XLA: the predictions of a batch of tiles as they are stored, on the host."""


@jit(static=("model",))
def predict_batch(
    model: Model, variables: Variables, images: Shaped[AnyArray, "b h w bands"], statistics: BandStatistics
) -> Predictions:
    """Predictions for tiles as they are stored; `variables` of a training or from `prepare_inference`."""
    outputs, predicted_losses, _ = forward(model, variables, standardise(images, statistics), train=False)
    return Predictions(jax.nn.sigmoid(outputs.logits), outputs.embedding, predicted_losses)


def predict_batches(
    model: Model,
    variables: Variables,
    tiles: Tiles,
    rows: Int[np.ndarray, " m"],
    batch_size: int | None = None,
    compute: Compute | None = None,
) -> Iterator[tuple[Int[np.ndarray, " b"], Predictions]]:
    """Yields the rows (B,) of each batch and its predictions, for the tiles `rows` (M,) of a set.

    Every batch has `batch_size` rows (None: `tiles.at_once`); the last one is padded by repeating its tiles, so that
    nothing recompiles while a pool shrinks. When a batch is yielded the next one is already running, so that the
    device does not wait for the consumer. With `compute` another engine predicts.
    """
    if not len(rows):
        return
    if batch_size is None:
        batch_size = tiles.at_once
    padded = np.concatenate([rows, np.resize(rows[len(rows) // batch_size * batch_size :], -len(rows) % batch_size)])
    chunks = padded.reshape(-1, batch_size)
    prepared = prepare_inference(model, variables) if compute is None else None
    under_way: tuple[np.ndarray, Predictions] | None = None
    for chunk, images in zip(chunks, tiles.batches(padded, batch_size), strict=True):
        if prepared is None:
            assert compute is not None
            batch = chunk, compute(np.asarray(images))
        else:
            batch = chunk, predict_batch(model, prepared, images, tiles.statistics)
        if under_way is not None:
            yield under_way
        under_way = batch
    assert under_way is not None
    yield under_way


def predict_rest(
    model: Model, variables: Variables, tiles: Tiles, unfinished: Unfinished, compute: Compute | None = None
) -> Iterator[Predictions]:
    """Yields the predictions of each batch whose rows are not finished, with a progress bar; the last one is padded.

    Raises StoppedError at a signal, when the batch before it is finished.
    """
    first, size = unfinished.done, unfinished.batch_size
    total, before = math.ceil(tiles.num_tiles / size), math.ceil(first / size)
    with (
        StopRequest() as stop,
        tqdm(total=total, initial=before, unit="batch", disable=None, leave=False) as bar,
    ):
        for _, batch in predict_batches(model, variables, tiles, np.arange(first, tiles.num_tiles), size, compute):
            yield batch
            bar.update()
            if number := stop.check():
                raise StoppedError(number)


def predict_all(
    model: Model,
    variables: Variables,
    tiles: Tiles,
    batch_size: int | None = None,
    on_batch: Callable[[], object] = lambda: None,
    compute: Compute | None = None,
) -> tuple[Float[np.ndarray, "n c"], Float[np.ndarray, " n"] | None]:
    """Class probabilities (N, C) and predicted losses (N,) of all tiles of a set; None without a loss head.

    `on_batch` is called after every batch.
    """
    probabilities, losses = np.empty(tiles.labels.shape, np.float32), None
    for rows, batch in predict_batches(model, variables, tiles, np.arange(tiles.num_tiles), batch_size, compute):
        probabilities[rows] = batch.probabilities
        if batch.predicted_losses is not None:
            losses = np.empty(tiles.num_tiles, np.float32) if losses is None else losses
            losses[rows] = batch.predicted_losses
        on_batch()
    return probabilities, losses


def predict_probabilities(
    model: Model,
    variables: Variables,
    tiles: Tiles,
    batch_size: int | None = None,
    on_batch: Callable[[], object] = lambda: None,
    compute: Compute | None = None,
) -> Float[np.ndarray, "n c"]:
    """Class probabilities (N, C) of all tiles of a set; `on_batch` is called after every batch."""
    return predict_all(model, variables, tiles, batch_size, on_batch, compute)[0]
