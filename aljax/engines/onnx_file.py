"""A fitted network as an ONNX file, from pixels as files store them to probabilities."""

import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from aljax.data.augmentation import BandStatistics
from aljax.engines.graph import ROWS, Graph, Shape
from aljax.engines.layers import Names, add_densenet, add_head, add_loss_head
from aljax.errors import InputError
from aljax.networks.densenet import DenseNet
from aljax.networks.densenet_inference import fold_batch_norms
from aljax.networks.head import Head
from aljax.networks.model import Model, Variables

OF_TILES = (
    "Multi-label classifier. `images`: float32 (tiles, bands, {size}, {size}), pixels as the files of training store "
    "them, not scaled: their standardisation is inside."
)
OF_FEATURES = "Multi-label classifier. `features`: float32 (tiles, {bands}), as they were in training."


def to_onnx(
    model: Model, variables: Variables, statistics: BandStatistics, image_size: int, about: Mapping[str, Any]
) -> bytes:
    """The file of a DenseNet, whose input is `images` (tiles, bands, size, size), or a head, of `features` (tiles, D).

    It computes in float32 and gives `probabilities` (tiles, C), `embeddings` (tiles, D) and, with a loss head,
    `predicted_losses` (tiles,). `about` is its metadata; what is not text is written as JSON. Raises InputError for
    other networks, and for weights that are not finite.
    """
    network, (params, stats) = model.network, _on_host(variables)
    if not isinstance(network, DenseNet | Head):
        raise InputError(f"the network {type(network).__name__} is not one of aljax, which alone can be exported")
    graph, bands = Graph(), len(statistics.mean)
    if isinstance(network, Head):
        given: dict[str, Shape] = {"features": (ROWS, bands)}
        names = add_head(graph, params["network"], _standardise(graph, "features", statistics), bands)
    else:
        given = {"images": (ROWS, bands, image_size, image_size)}
        images = _standardise(graph, "images", statistics)
        names = add_densenet(graph, fold_batch_norms(params["network"], stats), images)
    names = names._replace(logits=_keep_visible(graph, names.logits))
    outputs = _add_outputs(graph, params, names)
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
    text = (OF_FEATURES if isinstance(network, Head) else OF_TILES).format(size=image_size, bands=bands)
    return graph.to_bytes(given, outputs, texts, text)


def _on_host(variables: Variables) -> tuple[Any, Any]:
    """Parameters and batch statistics as NumPy arrays. Raises InputError where one is not finite."""
    found = jax.tree.map(np.asarray, (variables["params"], variables["batch_stats"]))
    for path, array in jax.tree.leaves_with_path(found):
        if not np.isfinite(array).all():
            raise InputError(
                f"the network has weights that are not finite ({jax.tree_util.keystr(path)}): choose another run"
            )
    return found


def _standardise(graph: Graph, name: str, statistics: BandStatistics) -> str:
    """`standardise` of an input with the bands on its second axis."""
    shape = (-1,) if name == "features" else (-1, 1, 1)
    mean, deviation = (
        graph.constant(part, np.asarray(values).reshape(shape))
        for part, values in zip(("pixels.mean", "pixels.deviation"), statistics, strict=True)
    )
    centred = graph.add("Sub", name, mean, name="centred")
    return graph.add("Div", centred, deviation, name="standardised")


def _keep_visible(graph: Graph, logits: str) -> str:
    """The logits plus 0 times the mean of a tile's input, which is NaN where that is not finite: ReLUs may hide it."""
    rows = graph.add("Flatten", "standardised", name="rows", axis=1)
    mean = graph.add("ReduceMean", rows, name="rows.mean", axes=[1], keepdims=1)
    nothing = graph.add("Mul", mean, graph.constant("zero", np.array(0.0)), name="nothing")
    return graph.add("Add", logits, nothing, name="logits")


def _add_outputs(graph: Graph, params: Any, names: Names) -> dict[str, Shape]:
    """The outputs under names of their own, with their shapes."""
    dimension, classes = params["network"]["head"]["kernel"].shape
    graph.add("Sigmoid", names.logits, name="probabilities")
    graph.add("Identity", names.embedding, name="embeddings")
    outputs: dict[str, Shape] = {"probabilities": (ROWS, classes), "embeddings": (ROWS, dimension)}
    if "loss_head" in params:
        outputs[add_loss_head(graph, params["loss_head"], names.pooled_blocks)] = (ROWS,)
    return outputs
