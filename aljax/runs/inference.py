"""The newest fitted model of a run, and its predictions on new tiles."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from aljax.data.archive import Tiles
from aljax.data.augmentation import BandStatistics
from aljax.data.tiles.decoding import resize
from aljax.data.tiles.images import Images
from aljax.errors import InputError
from aljax.loop.settings import LATER
from aljax.networks.densenet import DenseNet
from aljax.networks.head import Head
from aljax.networks.loss_head import LossHead
from aljax.networks.model import Model, Variables
from aljax.training.prediction import predict_probabilities
from aljax.training.recipe import Recipe

TILES_TO_CHECK = 16
SCALED = 4.0  # training pixels whose mean + deviation is above this were not scaled to [0, 1]


@dataclass(frozen=True)
class Classifier:
    """The newest fitted model of a run, with all that its predictions depend on."""

    model: Model
    variables: Variables
    """{"params": {"network": ..., "loss_head": ...}, "batch_stats": ...}; `loss_head` only for the query LL."""
    class_names: tuple[str, ...]
    statistics: BandStatistics
    """Mean and deviation of each band over the pool of the run; they standardise new tiles too."""
    image_size: int
    """Height and width in pixels to which tiles are resized, in training and in prediction."""
    trial: int
    """Counts from 1, as in history.jsonl."""
    iteration: int
    """Of the trial, from 1."""
    num_labeled: int
    """Tiles that the model was trained on."""

    def predict(
        self, images: Shaped[np.ndarray, "n h w bands"], batch_size: int | None = None
    ) -> Float[np.ndarray, "n c"]:
        """Probability of each class, in the order of `class_names`, on each tile.

        `images` (N, h, w, bands) are pixels as files store them, with the bands, order and units of the training tiles.
        Tiles of another size are resized to `image_size`, as in the run. `batch_size` tiles are predicted at once; None
        chooses (`Tiles.at_once`). Raises InputError for other shapes, bands or types, and for scaled pixels.
        """
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size is {batch_size}: it must be at least 1")
        return predict_probabilities(self.model, self.variables, self.tiles(np.asarray(images)), batch_size)

    def tiles(self, images: Images) -> Tiles:
        """The images as a set of tiles in the model's size, the input of `aljax.training.prediction`.

        Raises InputError for other bands, and for pixels that have been scaled.
        """
        bands = len(self.statistics.mean)
        if len(images.shape) != 4 or 0 in images.shape[1:3]:
            raise InputError(f"the tiles have the shape {images.shape}: give an array (n, h, w, bands), n = 1 for one")
        if images.shape[-1] != bands:
            raise InputError(f"the tiles have {images.shape[-1]} bands, those in training had {bands}: choose the same")
        if isinstance(images, np.ndarray):
            self._check_pixels(images)
            # FITS and netCDF store big-endian numbers, which JAX would silently read as others.
            native = np.dtype(np.float32) if images.dtype.kind == "f" else images.dtype.newbyteorder("=")
            images = images.astype(native, copy=False)
        elif images.shape[0]:  # files: check a sample
            self._check_pixels(np.stack([images[index] for index in range(min(images.shape[0], TILES_TO_CHECK))]))
        if images.shape[1:3] != (self.image_size,) * 2:
            images = _Resized(images, self.image_size)
        count = images.shape[0]
        return Tiles(images, np.arange(count), np.zeros((count, len(self.class_names)), np.uint8), self.statistics)

    def _check_pixels(self, images: Shaped[np.ndarray, "n h w bands"]) -> None:
        largest = float((self.statistics.mean + self.statistics.deviation).max())
        if images.dtype.kind not in "uif":
            raise InputError(f"the tiles are of type {images.dtype}: give pixels as the files store them")
        # Image loaders commonly scale pixels to [0, 1].
        if images.dtype.kind == "f" and images.size and largest > SCALED and images.max() <= 1.0:
            raise InputError(
                f"no pixel of the tiles is above 1, and those in training were about {largest:.0f}: give pixels as the "
                "files store them, not scaled"
            )


@dataclass(frozen=True)
class _Resized:
    """Images that are resized when they are read."""

    images: Images
    size: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.images.shape[0], self.size, self.size, self.images.shape[-1]

    @property
    def dtype(self) -> np.dtype:
        return self.images.dtype

    def __getitem__(self, index: int) -> Shaped[np.ndarray, "size size bands"]:
        return resize(self.images[index], self.size)


def load(run_dir: str | Path, network: nn.Module | None = None) -> Classifier:
    """The newest fitted model of a run, from its newest sound checkpoint that holds one.

    `network` is the linen module of a run with a network of its own; None for a DenseNet or a head on features.

    Works on any device, also during the run, and changes nothing in its folder. Raises InputError if there is no run or
    no fitted model yet, if `network` is missing, or if all checkpoints are damaged.
    """
    from aljax.runs.checkpoints import read_newest
    from aljax.runs.packing import holds_model, unpack
    from aljax.runs.run_dir import read_config

    run_dir = Path(run_dir)
    if not (run_dir / "config.json").exists() and (rounds := sorted(run_dir.glob("round-*/config.json"))):
        raise InputError(f"{run_dir} holds rounds of annotation: name one of them, such as {rounds[-1].parent}")
    config = read_config(run_dir)
    checkpoint = read_newest(run_dir / "checkpoints", holds_model)
    if checkpoint is None:
        if (run_dir / "history.jsonl").exists():
            raise InputError(
                f"{run_dir} has no checkpoints beside its history: bring them back, the network is in them"
            )
        raise InputError(f"{run_dir} has no fitted model yet: wait for its first iteration")
    recipe = Recipe(**{field.name: config.get(field.name, LATER.get(field.name)) for field in fields(Recipe)})
    state = unpack(checkpoint.vectors, checkpoint.facts, recipe)
    assert state.variables is not None
    complete = state.stage is None
    return Classifier(
        model=_model(config, network, "loss_head" in state.variables["params"]),
        variables=state.variables,
        class_names=tuple(config["class_names"]),
        statistics=BandStatistics(*(np.array(config[name], np.float32) for name in ("mean", "deviation"))),
        image_size=config["image_size"],
        trial=state.trial + 1,
        iteration=state.iteration,
        num_labeled=state.history[-1].num_labeled if complete else state.pool.num_labelled,
    )


def _model(config: dict[str, Any], network: nn.Module | None, has_loss_head: bool) -> Model:
    if "head" in config:
        network = Head(len(config["class_names"]), config.get("width", 0))
    if "depths" not in config and network is None:
        own = config["network"]
        raise InputError(
            f"the run was made with the network {own['class']}: give it, as aljax.load(run_dir, network) or --network"
        )
    network = network or DenseNet(
        num_classes=len(config["class_names"]),
        depths=tuple(config["depths"]),
        growth=config["growth"],
        stem_channels=config["stem_channels"],
        dtype=jnp.dtype(config["precision"]),
    )
    return Model(network, LossHead() if has_loss_head else None)
