"""One compiled pass over a set of tiles: probabilities, embeddings and predicted losses, batch by batch."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from aljax.arrays import AnyArray
from aljax.data.archive import Tiles
from aljax.data.augmentation import BandStatistics, standardise
from aljax.networks.model import Model, Variables, forward, prepare_inference
from aljax.system.machine import usable_cores
from aljax.xla.devices import agree, divide, gather
from aljax.xla.jitted import program

# Tiles at once. Two of 256 x 256 for each core: with more, what a layer hands to the next leaves the caches, and a tile
# of 64 takes 1.35 times as long.
PIXELS_PER_CORE = 2 * 256 * 256
LARGEST_ON_CPU = 64
# 256 of 256 x 256 for each accelerator: handing a batch over took the host of an H200 as long as the card took for 80.
PIXELS_PER_ACCELERATOR = 256 * 256 * 256
LARGEST_ON_ACCELERATOR = 256


class Predictions(NamedTuple):
    """A row for each tile of a batch, on the device."""

    probabilities: Float[Array, "b c"]
    embeddings: Float[Array, "b d"]
    predicted_losses: Float[Array, " b"] | None
    """None without a loss head."""


@program(static=("model",), results=(Predictions,))
def predict_batch(
    model: Model, variables: Variables, images: Shaped[AnyArray, "b h w bands"], statistics: BandStatistics
) -> Predictions:
    """What is predicted for stored tiles, with variables as they are or as `prepare_inference` gives them."""
    outputs, predicted_losses, _ = forward(model, variables, divide(standardise(images, statistics)), train=False)
    return gather(Predictions(jax.nn.sigmoid(outputs.logits), outputs.embedding, predicted_losses))


def suitable_batch_size(tiles: Tiles) -> int:
    """How many tiles to predict at once, by their size and the cores or accelerators: a share for every device."""
    devices = jax.device_count()
    if jax.default_backend() == "cpu":
        cores = int(agree(np.asarray(usable_cores(), np.int32)))
        pixels, largest = PIXELS_PER_CORE * cores * jax.process_count(), LARGEST_ON_CPU
    else:
        pixels, largest = PIXELS_PER_ACCELERATOR * devices, LARGEST_ON_ACCELERATOR * devices
    _, height, width, _ = tiles.images.shape
    batch_size = min(max(pixels // (height * width), 1), largest)
    return math.ceil(batch_size / devices) * devices


def predict_batches(
    model: Model, variables: Variables, tiles: Tiles, rows: Int[np.ndarray, " m"], batch_size: int | None = None
) -> Iterator[tuple[Int[np.ndarray, " b"], Predictions]]:
    """Predicts the set's tiles `rows`, and yields the rows of each batch with its predictions.

    Every batch has `batch_size` rows (None: as many as suit the tiles and the devices): the last is filled up by
    repeating its tiles, so nothing recompiles while a pool shrinks. The next batch is under way when one is yielded,
    so the device does not wait for its reader.
    """
    if not len(rows):
        return
    if batch_size is None:
        batch_size = suitable_batch_size(tiles)
    padded = np.concatenate([rows, np.resize(rows[len(rows) // batch_size * batch_size :], -len(rows) % batch_size)])
    chunks = padded.reshape(-1, batch_size)
    prepared = prepare_inference(model, variables)
    under_way: tuple[np.ndarray, Predictions] | None = None
    for chunk, images in zip(chunks, tiles.batches(padded, batch_size), strict=True):
        batch = chunk, predict_batch(model, prepared, images, tiles.statistics)
        if under_way is not None:
            yield under_way
        under_way = batch
    assert under_way is not None
    yield under_way


def predict_probabilities(
    model: Model,
    variables: Variables,
    tiles: Tiles,
    batch_size: int | None = None,
    on_batch: Callable[[], object] = lambda: None,
) -> Float[np.ndarray, "n c"]:
    """Class probabilities of all tiles of a set; `on_batch` is called after every batch."""
    probabilities = np.empty(tiles.labels.shape, np.float32)
    for rows, batch in predict_batches(model, variables, tiles, np.arange(tiles.num_tiles), batch_size):
        probabilities[rows] = batch.probabilities
        on_batch()
    return probabilities
