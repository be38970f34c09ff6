"""The network together with its optional loss head, as values: a description, its variables, a forward pass."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aljax.arrays import AnyArray
from aljax.densenet import DenseNet, Outputs, fold_batch_norms
from aljax.loss_head import LossHead
from aljax.traces import program

Variables = Mapping[str, Any]
"""{"params": {"network": ..., "loss_head": ...}, "batch_stats": ...}; `loss_head` only where there is one.

At inference `batch_stats` may be empty: see `prepare_inference`.
"""


@dataclass(frozen=True)
class Model:
    """The classifier F and, for the LL strategy, the loss head F_L. Hashable, so it can be static in `jit`."""

    network: DenseNet
    loss_head: LossHead | None = None


@program(static=("model", "size", "bands"))
def init_variables(key: Array, model: Model, size: int, bands: int) -> Variables:
    """Fresh random float32 variables for tiles of `size` x `size` pixels. Jitted: eager it takes minutes."""
    images = jnp.zeros((1, size, size, bands))
    network_key, head_key = jax.random.split(key)
    outputs, variables = model.network.init_with_output(network_key, images)
    params = {"network": variables["params"]}
    if model.loss_head is not None:
        params["loss_head"] = model.loss_head.init(head_key, outputs.blocks)["params"]
    return {"params": params, "batch_stats": variables["batch_stats"]}


def forward(
    model: Model,
    variables: Variables,
    images: Float[Array, "b h w bands"],
    train: bool,
    head_gradient: float | Float[AnyArray, ""] = 1.0,
) -> tuple[Outputs, Float[Array, " b"] | None, Mapping[str, Any]]:
    """Outputs, predicted losses (None without a loss head) and batch statistics (updated if `train`)."""
    params, stats = variables["params"], variables["batch_stats"]
    network = {"params": params["network"], "batch_stats": stats}
    if train:
        outputs, changed = model.network.apply(network, images, train=True, mutable=["batch_stats"])
        stats = changed["batch_stats"]
    else:
        outputs = model.network.apply(network, images, train=False)
    assert isinstance(outputs, Outputs)
    if model.loss_head is None:
        return outputs, None, stats
    predicted = model.loss_head.apply({"params": params["loss_head"]}, outputs.blocks, head_gradient)
    assert isinstance(predicted, jax.Array)
    return outputs, predicted, stats


@program(static=("model",))
def prepare_inference(model: Model, variables: Variables) -> Variables:
    """Variables that predict the same and leave less to do for each batch.

    Batch statistics are folded into the parameters, and kernels are of the network's type, but for the last layer's.
    """
    folded = fold_batch_norms(variables["params"]["network"], variables["batch_stats"])
    head = folded.pop("head")
    kernels = jax.tree.map(lambda leaf: leaf.astype(model.network.dtype) if leaf.ndim > 1 else leaf, folded)
    return {"params": {**variables["params"], "network": {**kernels, "head": head}}, "batch_stats": {}}


def last_layer(variables: Variables) -> Mapping[str, Array]:
    """{"kernel": (D, C), "bias": (C,)}: the parameters that eq. 6 differentiates for."""
    return variables["params"]["network"]["head"]


def count_parameters(variables: Variables) -> int:
    """Trainable parameters of F, and of F_L where there is one (Table I)."""
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
