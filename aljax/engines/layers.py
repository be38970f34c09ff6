"""The networks of aljax as nodes of an ONNX graph, for inference: channels before pixels, as engines want them.

A batch normalisation after a convolution is a part of it; one before, of maps that several layers read, is a node.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from aljax.engines.graph import Graph

Params = Mapping[str, Any]


class Names(NamedTuple):
    """What comes out of a network, by the names of the nodes; as `Outputs` says."""

    logits: str
    embedding: str
    pooled_blocks: tuple[str, ...]
    """Means over pixels, of which the loss head is a function."""


def add_densenet(graph: Graph, params: Params, images: str) -> Names:
    """DenseNet, with parameters from `fold_batch_norms`, of standardised `images` (tiles, bands, h, w)."""
    maps = _convolve(graph, "stem", images, params["stem"]["kernel"], params["stem_norm"], stride=2)
    maps = graph.add("Relu", maps, name="stem.relu")
    maps = graph.add("MaxPool", maps, name="stem.pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    blocks = []
    for number in range(1, 1 + sum(name.startswith("block") for name in params)):
        maps = _add_block(graph, f"block{number}", params[f"block{number}"], maps)
        blocks.append(maps)
        if (transition := f"transition{number}") in params:
            maps = _normalise(graph, f"{transition}.norm", maps, params[transition]["norm"])
            maps = graph.add("AveragePool", maps, name=f"{transition}.pool", kernel_shape=[2, 2], strides=[2, 2])
            maps = _convolve(graph, f"{transition}.conv", maps, params[transition]["conv"]["kernel"])
    embedding = _pool(graph, "embedding", _normalise(graph, "norm", maps, params["norm"]))
    pooled = tuple(_pool(graph, f"block{number}.mean", block) for number, block in enumerate(blocks, start=1))
    return Names(add_dense(graph, "head", embedding, params["head"]), embedding, pooled)


def _add_block(graph: Graph, name: str, block: Params, maps: str) -> str:
    for number in range(1, 1 + len(block)):
        layer, parts = f"{name}.layer{number}", block[f"layer{number}"]
        narrow = _normalise(graph, f"{layer}.norm1", maps, parts["norm1"])
        narrow = _convolve(graph, f"{layer}.conv1", narrow, parts["conv1"]["kernel"], parts["norm2"])
        narrow = graph.add("Relu", narrow, name=f"{layer}.relu")
        new = _convolve(graph, f"{layer}.conv2", narrow, parts["conv2"]["kernel"])
        maps = graph.add("Concat", maps, new, name=f"{layer}.maps", axis=1)
    return maps


def _convolve(graph: Graph, name: str, maps: str, kernel: Any, norm: Params | None = None, stride: int = 1) -> str:
    """A convolution with a kernel (side, side, k, n), or (k, n) of one pixel, and the normalisation after it."""
    filters = np.atleast_2d(kernel).reshape(*kernel.shape[:-2] or (1, 1), *kernel.shape[-2:]).transpose(3, 2, 0, 1)
    side, bias = filters.shape[-1], []
    if norm is not None:
        filters = filters * np.asarray(norm["multiplier"])[:, None, None, None]
        bias = [graph.constant(f"{name}.bias", np.asarray(norm["shift"]))]
    weights = graph.constant(f"{name}.weight", filters)
    sizes = {"kernel_shape": [side, side], "strides": [stride, stride], "pads": [side // 2] * 4}
    return graph.add("Conv", maps, weights, *bias, name=name, **sizes)


def _normalise(graph: Graph, name: str, maps: str, norm: Params) -> str:
    """Multiplier, shift and ReLU, as the node for which engines have a kernel in any layout: mean 0, variance 1."""
    multiplier, shift = np.asarray(norm["multiplier"]), np.asarray(norm["shift"])
    count = len(multiplier)
    moments = [graph.constant(f"{what}{count}", np.full(count, value)) for what, value in (("mean", 0.0), ("var", 1.0))]
    given = graph.constant(f"{name}.multiplier", multiplier), graph.constant(f"{name}.shift", shift)
    normalised = graph.add("BatchNormalization", maps, *given, *moments, name=name, epsilon=0.0)
    return graph.add("Relu", normalised, name=f"{name}.relu")


def _pool(graph: Graph, name: str, maps: str) -> str:
    return graph.add("Flatten", graph.add("GlobalAveragePool", maps, name=f"{name}.pixels"), name=name, axis=1)


def add_dense(graph: Graph, name: str, rows: str, params: Params) -> str:
    """Rows times `kernel`, plus `bias`."""
    given = (graph.constant(f"{name}.{part}", np.asarray(params[part])) for part in ("kernel", "bias"))
    return graph.add("Gemm", rows, *given, name=name)


def add_head(graph: Graph, params: Params, features: str, dimension: int) -> Names:
    """A head on centred `features` (tiles, dimension), which it scales as `unit_features` does."""
    squares = graph.add("ReduceSumSquare", features, name="squares", axes=[1], keepdims=1)
    least = graph.constant("least", np.array(1e-12))
    ratio = graph.add(
        "Div",
        graph.constant("dimension", np.array(float(dimension))),
        graph.add("Max", squares, least, name="above_zero"),
        name="ratio",
    )
    unit = graph.add("Mul", features, graph.add("Sqrt", ratio, name="scale"), name="unit_features")
    embedding = unit
    if "hidden" in params:
        embedding = graph.add("Relu", add_dense(graph, "hidden", unit, params["hidden"]), name="hidden.relu")
    return Names(add_dense(graph, "head", embedding, params["head"]), embedding, (unit,))


def add_loss_head(graph: Graph, params: Params, pooled_blocks: Sequence[str]) -> str:
    """The loss head's prediction for each tile (tiles,)."""
    hidden = [
        graph.add(
            "Relu",
            add_dense(graph, f"loss.block{number}", pooled, params[f"block{number}"]),
            name=f"loss.block{number}.relu",
        )
        for number, pooled in enumerate(pooled_blocks, start=1)
    ]
    joined = graph.add("Concat", *hidden, name="loss.hidden", axis=1)
    losses = add_dense(graph, "loss", joined, params["loss"])
    return graph.add("Squeeze", losses, graph.constant("loss.axis", np.array([1])), name="predicted_losses")
