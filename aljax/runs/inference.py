"""The newest fitted model of a run, and its predictions on new tiles."""

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from aljax.data.archive import Tiles
from aljax.data.augmentation import BandStatistics
from aljax.data.tiles.images import Images
from aljax.data.tiles.resizing import resize
from aljax.errors import DivergedError, InputError, InputWarning
from aljax.loop.settings import FEATURES, LATER
from aljax.loop.thresholds import Thresholds
from aljax.networks.densenet import DenseNet
from aljax.networks.head import Head
from aljax.networks.loss_head import LossHead
from aljax.networks.model import Model, Variables, check_network, init_variables
from aljax.training.prediction import Compute, predict_probabilities
from aljax.training.recipe import Recipe

TILES_TO_CHECK = 16
SCALED = 4.0  # training pixels whose mean + deviation is above this were not scaled to [0, 1]
PIXELS_A_SIDE = 64  # of a tile tell its mean and deviation
FAR = 3.0  # deviations of training between its mean and that of pixels that it hardly had
FLAT = 0.2  # of training's deviation: pixels that vary less, away from its mean, may be of another unit


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
    pixel_type: str | None = None
    """Of the tiles in training, such as uint8. None: they were features, or the run is older than this field."""
    thresholds: Thresholds | None = None
    """Above which a class is best called present: `thresholds.validation` for all classes, `thresholds.classes` for
    each, in the order of `class_names`. They are fitted to the run's validation tiles when a model is evaluated; these
    are the newest. None: the run has no validation tiles, or is older than this field."""

    def predict(
        self, images: Shaped[np.ndarray, "n h w bands"] | Shaped[np.ndarray, "n d"], batch_size: int | None = None
    ) -> Float[np.ndarray, "n c"]:
        """Probability of each class, in the order of `class_names`, on each tile.

        `images` (N, h, w, bands) are pixels as files store them, with the bands, order and units of the training tiles;
        or, of a run on features, the features (N, D). Tiles of another size are resized to `image_size`, as in the run.
        `batch_size` tiles are predicted at once; None chooses (`Tiles.at_once`). Raises InputError for other shapes,
        bands or types, and for scaled pixels.
        """
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size is {batch_size}: it must be at least 1")
        return self.probabilities(self.tiles(np.asarray(images)), batch_size)

    def probabilities(
        self,
        tiles: Tiles,
        batch_size: int | None = None,
        on_batch: Callable[[], object] = lambda: None,
        compute: Compute | None = None,
    ) -> Float[np.ndarray, "n c"]:
        """Probability of each class on the tiles of a set; `on_batch` is called after every batch.

        With `compute`, from `aljax.engines`, another engine than XLA predicts. Raises DivergedError where one is not a
        finite number.
        """
        found = predict_probabilities(self.model, self.variables, tiles, batch_size, on_batch, compute)
        require_finite(found)
        return found

    def tiles(self, images: Images) -> Tiles:
        """The images as a set of tiles in the model's size, the input of `aljax.training.prediction`.

        Raises InputError for other bands, for files of another pixel type, and for whole numbers that have been scaled.
        Warns of pixels that are far from those in training.
        """
        bands = len(self.statistics.mean)
        if self.image_size == FEATURES and isinstance(images, np.ndarray) and images.ndim == 2:
            images = images[:, None, None, :]
        if len(images.shape) != 4 or 0 in images.shape[1:3]:
            raise InputError(f"the tiles have the shape {images.shape}: give an array (n, h, w, bands), n = 1 for one")
        if images.shape[-1] != bands:
            what = "features" if self.image_size == FEATURES else "bands"
            found = f"{images.shape[-1]} {what}"
            raise InputError(f"the tiles have {found}, those in training had {bands}: choose the same")
        if isinstance(images, np.ndarray):
            self._check_pixels(images)
            # FITS and netCDF store big-endian numbers, which JAX would silently read as others.
            # Half precision is resized in float32; features, of which a file may be mapped, are cast batch by batch.
            as_it_is = images.dtype.kind != "f" or (self.image_size == FEATURES and images.dtype.itemsize <= 4)
            native = images.dtype.newbyteorder("=") if as_it_is else np.dtype(np.float32)
            images = images.astype(native, copy=False)
        elif images.shape[0]:  # files: check a sample
            self.check_type(images.dtype)
            self._check_pixels(np.stack([images[index] for index in _spread(images.shape[0])]))
        if images.shape[1:3] != (self.image_size,) * 2:
            images = _Resized(images, self.image_size)
        count = images.shape[0]
        return Tiles(images, np.arange(count), np.zeros((count, len(self.class_names)), np.uint8), self.statistics)

    def check_type(self, dtype: np.dtype) -> None:
        """Raises InputError unless files of this pixel type are those of training, as far as the run knows it."""
        if self.pixel_type not in (None, dtype.name):
            raise InputError(
                f"the tiles are of type {dtype.name}, those in training were of {self.pixel_type}: give tiles in the "
                "type and units of training, or train on such as these"
            )

    def _check_pixels(self, images: Shaped[np.ndarray, "n h w bands"]) -> None:
        largest = float((self.statistics.mean + self.statistics.deviation).max())
        is_whole = (self.pixel_type or "").startswith(("uint", "int"))
        if images.dtype.kind not in "uif":
            raise InputError(f"the tiles are of type {images.dtype}: give pixels as the files store them")
        # Image loaders commonly scale pixels to [0, 1].
        if is_whole and images.dtype.kind == "f" and images.size and largest > SCALED and images.max() <= 1.0:
            raise InputError(
                f"no pixel of the tiles is above 1, and those in training were about {largest:.0f}: give pixels as the "
                "files store them, not scaled"
            )
        if images.size and self.image_size != FEATURES:
            warn_of_far_pixels(images, self.statistics)


def require_finite(found: Float[np.ndarray, "n c"], but: Collection[int] = ()) -> None:
    """Raises DivergedError where a probability is not a finite number, `but` for the rows that mean nothing."""
    odd = [row for row in np.flatnonzero(~np.isfinite(found).all(1)).tolist() if row not in but]
    if odd:
        raise DivergedError(
            f"what the network predicts of {len(odd)} of {len(found)} tiles is not finite, as of number {odd[0] + 1}: "
            "look at its pixels, or choose another run"
        )


def _spread(count: int) -> list[int]:
    """Of so many tiles, the few that are checked: files that follow each other may show the same."""
    return np.linspace(0, count - 1, min(count, TILES_TO_CHECK)).astype(int).tolist()


def warn_of_far_pixels(images: Shaped[np.ndarray, "n h w bands"], statistics: BandStatistics) -> None:
    """Warns where a band's mean is far from training's, or all bands are off it and hardly vary, as in another unit."""
    _, height, width, bands = images.shape
    rows, columns = (max(side // PIXELS_A_SIDE, 1) for side in (height, width))
    pixels = images[_spread(len(images)), ::rows, ::columns].reshape(-1, bands).astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinite ones
        mean, deviation = pixels.mean(0), pixels.std(0)
    away = np.abs(mean - statistics.mean) / statistics.deviation
    is_flat = (away > 1.0) & (deviation < FLAT * np.asarray(statistics.deviation))
    if (away > FAR).any() or is_flat.all():
        band = int(away.argmax())
        expected, usual = (float(values[band]) for values in statistics)
        message = (
            f"band {band + 1} of the tiles is {mean[band]:.4g} on average (deviation {deviation[band]:.4g}), in "
            f"training it was {expected:.4g} (deviation {usual:.4g}): if the unit is another, convert the tiles; if "
            "the land is, expect errors"
        )
        warnings.warn(InputWarning(message), stacklevel=4)


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
    no fitted model yet, if `network` is missing, if all checkpoints are damaged, or if their weights are not of the
    network that `config.json`, or `network`, describes.
    """
    from aljax.runs.checkpoints import read_newest
    from aljax.runs.config import read_config
    from aljax.runs.packing import holds_model, unpack

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
    model = _model(config, network, "loss_head" in state.variables["params"])
    _check_fit(run_dir, config, model, state.variables)
    complete = state.stage is None
    return Classifier(
        model=model,
        variables=state.variables,
        class_names=tuple(config["class_names"]),
        statistics=BandStatistics(*(np.array(config[name], np.float32) for name in ("mean", "deviation"))),
        image_size=config["image_size"],
        trial=state.trial + 1,
        iteration=state.iteration,
        num_labeled=state.history[-1].num_labeled if complete else state.pool.num_labelled,
        pixel_type=config.get("pixel_type"),
        thresholds=state.thresholds,
    )


def _check_fit(run_dir: Path, config: Mapping[str, Any], model: Model, variables: Variables) -> None:
    """Raises InputError unless a checkpoint's variables are those of the network that the run is said to have."""
    size, bands, num_classes = config["image_size"], len(config["mean"]), len(config["class_names"])
    params = variables["params"]["network"]
    if isinstance(model.network, DenseNet | Head):  # read off: to trace a deep network takes a second
        said, found = _said(model.network, bands), _sizes(params)
        different = [f"{name} {said[name]} and {found[name]}" for name in said if said[name] != found[name]]
    else:
        check_network(model, size, bands, num_classes)
        expected = jax.eval_shape(lambda key: init_variables(key, model, size, bands), jax.random.key(0))
        is_same = jax.tree.map(np.shape, expected) == jax.tree.map(np.shape, variables)
        different = [] if is_same else ["their layers have other shapes"]
    if different:
        raise InputError(
            f"the network of {run_dir / 'config.json'} is not that of the checkpoint ({', '.join(different)}): bring "
            "the file back, or give the network that the run was made with"
        )


def _said(network: DenseNet | Head, bands: int) -> dict[str, Any]:
    """Sizes that the layers of a network are made by."""
    sizes = {"bands": bands, "classes": network.num_classes}
    if isinstance(network, Head):
        return {**sizes, "width": network.width}
    return {**sizes, "depths": network.depths, "growth": network.growth, "stem_channels": network.stem_channels}


def _sizes(params: Mapping[str, Any]) -> dict[str, Any]:
    """The same as they are read off the parameters."""
    first = params.get("stem", params.get("hidden", params["head"]))["kernel"].shape
    sizes = {"bands": first[-2], "classes": params["head"]["kernel"].shape[1]}
    if "stem" not in params:
        return {**sizes, "width": first[1] if "hidden" in params else 0}
    blocks = [params[f"block{number}"] for number in range(1, 1 + sum(name.startswith("block") for name in params))]
    growth = blocks[0]["layer1"]["conv2"]["kernel"].shape[-1]
    return {**sizes, "depths": tuple(map(len, blocks)), "growth": growth, "stem_channels": first[-1]}


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
