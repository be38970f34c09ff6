"""The network together with its optional loss head, as values: a description, its variables, a forward pass."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from aljax.arrays import AnyArray
from aljax.errors import InputError
from aljax.networks.densenet import DenseNet, Outputs
from aljax.networks.loss_head import LossHead
from aljax.xla.devices import shard

Variables = Mapping[str, Any]
"""{"params": {"network": ..., "loss_head": ...}, "batch_stats": ...}; `loss_head` only where there is one.

At inference `batch_stats` may be empty: see `prepare_inference`.
"""


@dataclass(frozen=True)
class Model:
    """The classifier F and, for the LL strategy, the loss head F_L. Hashable, so it can be static in `jit`.

    F is any linen module whose call takes (images, train) and returns `Outputs`, and whose last layer is a `Dense`
    called `head`. If it has a method `prepare`, predictions use the parameters that it returns (`prepare_inference`).
    """

    network: nn.Module
    loss_head: LossHead | None = None


@partial(jax.jit, static_argnames=("model", "size", "bands"))
def init_variables(key: Array, model: Model, size: int, bands: int) -> Variables:
    """Random float32 variables for tiles of `size` x `size` pixels, distributed as by the modules' own initialisers.

    DenseNet121's own `init` draws each kernel separately: 120 loops, which take XLA on a CPU a quarter of a minute to
    compile and a second and a half to load. Here all kernels of a DenseNet are slices of one sample.
    """
    if not isinstance(model.network, DenseNet):
        return _init(key, model, size, bands)
    shapes = jax.eval_shape(lambda key: _init(key, model, size, bands), key)
    fresh = jax.tree.map_with_path(_constant, shapes)
    keys = dict(zip(("network", "loss_head"), jax.random.split(key), strict=True))
    return {**fresh, "params": {part: _with_kernels(keys[part], tree) for part, tree in fresh["params"].items()}}


def _init(key: Array, model: Model, size: int, bands: int) -> Variables:
    """Variables from the modules' own initialisers."""
    outputs, variables = model.network.init_with_output(key, jnp.zeros((1, size, size, bands)))
    params = {"network": variables["params"]}
    if model.loss_head is not None:
        params["loss_head"] = model.loss_head.init(key, outputs.blocks)["params"]
    return {"params": params, "batch_stats": variables.get("batch_stats", {})}


# Standard deviation of the standard normal distribution truncated to [-2, 2].
_TRUNCATED_DEVIATION = 0.87962566103423978


def _constant(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> Array:
    """The initial value of everything that is no kernel: 1 for scales and variances, 0 for the rest."""
    return jnp.full(leaf.shape, 1.0 if path[-1].key in ("scale", "var") else 0.0, leaf.dtype)


def _with_kernels(key: Array, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Replaces the kernels by random ones: He et al. (ICCV 2015) or, in layers with a bias, LeCun initialisation."""
    flat = flatten_dict(params)
    kernels = sorted(path for path in flat if path[-1] == "kernel")
    ends = np.cumsum([flat[path].size for path in kernels])
    normal = jax.random.truncated_normal(key, -2.0, 2.0, (ends[-1],), jnp.float32) / _TRUNCATED_DEVIATION
    for path, values in zip(kernels, jnp.split(normal, ends[:-1]), strict=True):
        shape = flat[path].shape
        gain = 1.0 if (*path[:-1], "bias") in flat else 2.0
        flat[path] = values.reshape(shape) * math.sqrt(gain / math.prod(shape[:-1]))
    return unflatten_dict(flat)


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
        outputs, changed = model.network.apply(network, shard(images), train=True, mutable=["batch_stats"])
        stats = changed.get("batch_stats", {})
    else:
        outputs = model.network.apply(network, shard(images), train=False)
    assert isinstance(outputs, Outputs)
    if model.loss_head is None:
        return outputs, None, stats
    predicted = model.loss_head.apply({"params": params["loss_head"]}, outputs.blocks, head_gradient)
    assert isinstance(predicted, jax.Array)
    return outputs, predicted, stats


def prepare_inference(model: Model, variables: Variables) -> Variables:
    """Variables for inference, from the network's method `prepare`: the same predictions, less work for each batch.

    Without such a method the variables are returned unchanged.
    """
    if not hasattr(model.network, "prepare"):
        return variables
    prepared = model.network.prepare(variables["params"]["network"], variables["batch_stats"])
    return {"params": {**variables["params"], "network": prepared}, "batch_stats": {}}


def check_network(model: Model, size: int, bands: int, num_classes: int) -> None:
    """Raises InputError unless the network returns `Outputs` of the right shapes and its head is a `Dense`."""
    name = type(model.network).__name__
    try:
        images = jax.ShapeDtypeStruct((1, size, size, bands), jnp.float32)
        outputs, variables = jax.eval_shape(model.network.init_with_output, jax.random.key(0), images)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"the network {name} does not take images of {images.shape}: {reason}") from error
    if not isinstance(outputs, Outputs):
        raise InputError(f"the network {name} returns {type(outputs).__name__}: return aljax.Outputs")
    dimension = outputs.embedding.shape[-1]
    head = variables["params"].get("head", {})
    found = outputs.logits.shape, outputs.embedding.shape, *(getattr(head.get("kernel"), "shape", None),)
    wanted = (1, num_classes), (1, dimension), (dimension, num_classes)
    if found != wanted:
        raise InputError(
            f"the network {name} gives logits, embedding and kernel of its layer `head` of the shapes {found}: with "
            f"{num_classes} classes they are {wanted}, the head a Dense on the embedding"
        )


def last_layer(variables: Variables) -> Mapping[str, Array]:
    """{"kernel": (D, C), "bias": (C,)}: the last layer, with respect to which eq. 6 differentiates."""
    return variables["params"]["network"]["head"]


def count_parameters(variables: Variables) -> int:
    """Trainable parameters of F, and of F_L where there is one (Table I)."""
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
