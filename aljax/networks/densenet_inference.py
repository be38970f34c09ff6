"""DenseNet's parameters laid out for inference: the same predictions with less to do for each batch."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.typing import DTypeLike

from aljax.networks.batch_norm import BN_EPSILON
from aljax.xla.compiling import fuses_into_products, jit
from aljax.xla.devices import replicate

Params = Mapping[str, Any]


def prepare(dtype: DTypeLike, params: Params, batch_stats: Params) -> dict[str, Any]:
    """Parameters that need no batch statistics, replicated on all devices; kernels except the head's have `dtype`.

    For CPUs, or several devices, NumPy computes them: a compiled program would take a second to load on a CPU. A single
    GPU computes them itself: moving 600 arrays to the host and 480 back took 40 ms beside an H200.
    """
    if jax.default_backend() == "cpu" or jax.device_count() > 1:
        prepared: dict[str, Any] = replicate(_prepare(dtype, *jax.tree.map(np.asarray, (params, batch_stats))))
        return prepared
    return prepare_on_device(dtype, params, batch_stats)


def _prepare(dtype: DTypeLike, params: Params, batch_stats: Params) -> dict[str, Any]:
    """Takes arrays of NumPy or of JAX, as all functions below do."""
    folded = fold_batch_norms(params, batch_stats)
    head = folded.pop("head")
    kernels = jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.ndim > 1 else leaf, folded)
    if fuses_into_products():
        kernels = extend_to_whole_blocks(kernels)
    if jax.default_backend() == "gpu":
        kernels = transpose_filters(kernels)
    return {**kernels, "head": head}


prepare_on_device = jit(static=("dtype",))(_prepare)


def fold_batch_norms(params: Params, batch_stats: Params) -> dict[str, Any]:
    """Parameters with which the network predicts the same without batch statistics.

    `scale` and `bias` of each normalisation become `multiplier` and `shift`; everything else stays.
    """
    if {"mean", "var"} <= batch_stats.keys():
        multiplier = params["scale"] / (batch_stats["var"] + BN_EPSILON) ** 0.5
        return {"multiplier": multiplier, "shift": params["bias"] - batch_stats["mean"] * multiplier}
    return {
        name: fold_batch_norms(value, batch_stats[name]) if name in batch_stats else value
        for name, value in params.items()
    }


def extend_to_whole_blocks(params: Params) -> dict[str, Any]:
    """Parameters whose layers read all maps of the finished block, with zero weights for maps still to come.

    This costs 1.7 times the multiplications. But XLA can then fuse a layer's normalisations into its product, while it
    would have to copy a part of the maps first; and all layers of a block share one kernel, which is chosen once.
    `params` is what `fold_batch_norms` returns.
    """

    def extend(block: Params) -> dict[str, Any]:
        inputs = {name: len(layer["norm1"]["multiplier"]) for name, layer in block.items()}
        channels = max(inputs.values()) + block["layer1"]["conv2"]["kernel"].shape[-1]
        return {name: _with_zeros(layer, channels - inputs[name]) for name, layer in block.items()}

    return {name: extend(value) if name.startswith("block") else value for name, value in params.items()}


def _with_zeros(layer: Params, count: int) -> dict[str, Any]:
    """A layer whose first normalisation and convolution have zero weights for `count` more input channels."""

    def pad(value: Any) -> Any:
        return value.__array_namespace__().pad(value, [(0, count)] + [(0, 0)] * (value.ndim - 1))

    return {name: jax.tree.map(pad, part) if name in ("norm1", "conv1") else part for name, part in layer.items()}


def transpose_filters(params: Params) -> dict[str, Any]:
    """Parameters with 3x3 kernels in the layout that GPUs read, so that no batch waits for a transposition.

    `kernel` (3, 3, k, n) becomes `filters` (n, 3, 3, k); everything else stays.
    """

    def transpose(name: str, value: Any) -> Any:
        if name == "conv2":
            return {"filters": value["kernel"].transpose(3, 0, 1, 2)}
        return transpose_filters(value) if isinstance(value, Mapping) else value

    return {name: transpose(name, value) for name, value in params.items()}
