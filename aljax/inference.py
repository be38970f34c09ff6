"""A run's model for use elsewhere: what it has learnt, and predictions on new tiles."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from aljax.data.archive import Tiles
from aljax.data.augmentation import BandStatistics
from aljax.densenet import DenseNet
from aljax.errors import InputError
from aljax.loss_head import LossHead
from aljax.model import Model, Variables
from aljax.prediction import predict_probabilities
from aljax.recipe import Recipe


@dataclass(frozen=True)
class Classifier:
    """The newest fitted model of a run, with all that its predictions depend on."""

    model: Model
    variables: Variables
    """{"params": {"network": ..., "loss_head": ...}, "batch_stats": ...}; `loss_head` only for the query LL."""
    class_names: tuple[str, ...]
    statistics: BandStatistics
    """Mean and deviation per band of the pool that the model was trained on; they standardise new tiles too."""
    image_size: int
    """Height and width in pixels of the tiles that the model was trained on."""
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

        The tiles have the bands of those in training, in the same order and units, and are best of the same size:
        `aljax.data.decoding` has `decode` and `resize`, which the run itself used. `batch_size` are predicted at once;
        None: as many as suit the tiles and the devices. Raises InputError for another
        number of bands.
        """
        bands = len(self.statistics.mean)
        if images.shape[-1] != bands:
            raise InputError(f"the tiles have {images.shape[-1]} bands, those in training had {bands}: choose the same")
        nothing = np.zeros((len(images), len(self.class_names)), np.uint8)
        tiles = Tiles(images, np.arange(len(images)), nothing, self.statistics)
        return predict_probabilities(self.model, self.variables, tiles, batch_size)


def load(run_dir: str | Path) -> Classifier:
    """The newest fitted model of a run, from its newest sound checkpoint that holds one.

    Works on any device, whatever device the run was made on, while the run is under way too, and changes nothing in
    its folder. Raises InputError if there is no run or no fitted model yet, or if all checkpoints are damaged.
    """
    from aljax.checkpointing import read_config
    from aljax.checkpoints import read_newest
    from aljax.packing import holds_model, unpack

    run_dir = Path(run_dir)
    config = read_config(run_dir)
    checkpoint = read_newest(run_dir / "checkpoints", holds_model)
    if checkpoint is None:
        raise InputError(f"{run_dir} has no fitted model yet: wait for its first iteration")
    recipe = Recipe(**{field.name: config[field.name] for field in fields(Recipe)})
    state = unpack(checkpoint.vectors, checkpoint.facts, recipe)
    assert state.variables is not None
    complete = state.stage is None
    return Classifier(
        model=_model(config),
        variables=state.variables,
        class_names=tuple(config["class_names"]),
        statistics=BandStatistics(*(np.array(config[name], np.float32) for name in ("mean", "deviation"))),
        image_size=config["image_size"],
        trial=state.trial + 1,
        iteration=state.iteration,
        num_labeled=state.history[-1].num_labeled if complete else state.pool.num_labelled,
    )


def _model(config: dict[str, Any]) -> Model:
    network = DenseNet(
        num_classes=len(config["class_names"]),
        depths=tuple(config["depths"]),
        growth=config["growth"],
        stem_channels=config["stem_channels"],
        dtype=jnp.dtype(config["precision"]),
    )
    return Model(network, LossHead() if config["query"] == "ll" else None)
