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
    """Parameters that need no batch statistics, on each of the devices; kernels but the last layer's are of `dtype`.

    For CPUs that is done on the host, where a program for it would take a second to load. A GPU would wait there: for
    600 arrays that come and 480 that go, 40 ms beside an H200.
    """
    if jax.default_backend() == "cpu" or jax.device_count() > 1:
        prepared: dict[str, Any] = replicate(_prepare(dtype, *jax.tree.map(np.asarray, (params, batch_stats))))
        return prepared
    return prepare_on_device(dtype, params, batch_stats)


def _prepare(dtype: DTypeLike, params: Params, batch_stats: Params) -> dict[str, Any]:
    """Of NumPy's arrays or JAX's, as all below."""
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
    """Parameters whose layers read all maps that their block will have, with zeros for those not there yet.

    That is 1.7 times the multiplications, but XLA makes a layer's normalisations parts of its product, where of fewer
    maps it would first make a copy, and all layers of a block are one kernel, to be chosen once. `params` are those
    that `fold_batch_norms` gives.
    """

    def whole(block: Params) -> dict[str, Any]:
        read = {name: len(layer["norm1"]["multiplier"]) for name, layer in block.items()}
        channels = max(read.values()) + block["layer1"]["conv2"]["kernel"].shape[-1]
        return {name: _with_zeros(layer, channels - read[name]) for name, layer in block.items()}

    return {name: whole(value) if name.startswith("block") else value for name, value in params.items()}


def _with_zeros(layer: Params, more: int) -> dict[str, Any]:
    def pad(value: Any) -> Any:
        return value.__array_namespace__().pad(value, [(0, more)] + [(0, 0)] * (value.ndim - 1))

    return {name: jax.tree.map(pad, part) if name in ("norm1", "conv1") else part for name, part in layer.items()}


def transpose_filters(params: Params) -> dict[str, Any]:
    """Parameters whose 3x3 kernels lie as GPUs read them, which would else transpose each of them for each batch.

    `kernel` (3, 3, k, n) becomes `filters` (n, 3, 3, k); everything else stays.
    """

    def transpose(name: str, value: Any) -> Any:
        if name == "conv2":
            return {"filters": value["kernel"].transpose(3, 0, 1, 2)}
        return transpose_filters(value) if isinstance(value, Mapping) else value

    return {name: transpose(name, value) for name, value in params.items()}
