"""A file of weights to start from, and how they replace the random variables of a model.

The file is in the format safetensors; the name of a tensor is its path in the tree: `params/block1/layer1/norm1/scale`.
It holds everything but the head, whose classes belong to another archive. `aljax convert-weights` writes it from
published weights or from a run.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import safetensors
from flax.traverse_util import flatten_dict, unflatten_dict
from numpy.typing import DTypeLike
from safetensors.numpy import save

from aljax.data.augmentation import Normalisation
from aljax.errors import InputError
from aljax.networks.model import Variables

FORMAT = 2

Tensors = Mapping[str, np.ndarray]
"""Arrays by name."""

_FLOATS: Mapping[str, DTypeLike] = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16}
# torch.save writes a zip, before 2020 a bare pickle of protocol 2.
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02")
_PICKLE_SUFFIXES = (".pth", ".pt", ".bin", ".pkl")


class TensorFile(NamedTuple):
    """The content of a safetensors file, without its integer tensors (counters)."""

    path: Path
    tensors: Tensors
    """Floating point of any width, by their names in the file."""
    metadata: Mapping[str, str]
    sha256: str
    """Of the file."""


class Weights(NamedTuple):
    """The weights of a network without its head, by this project's names."""

    path: Path
    tensors: Tensors
    """float32, `params/...` and `batch_stats/...`."""
    bands: tuple[str, ...]
    """Names of the input channels of the first convolution, in order."""
    normalisation: Normalisation
    """How the pixels were normalised on which the network was trained."""
    sha256: str
    """Of the file from which they were read."""


def read_tensors(path: Path) -> TensorFile:
    """Reads a safetensors file. Raises InputError for anything else; nothing in it is ever executed."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the weights {path} ({error.strerror}): name a safetensors file") from error
    try:
        entries = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        if data.startswith(_PICKLE_STARTS) or path.suffix.lower() in _PICKLE_SUFFIXES:
            raise InputError(_pickle_message(path)) from error
        reason = str(error).removeprefix("Error while deserializing: ")
        raise InputError(f"{path} is no safetensors file or is cut short ({reason}): get it again") from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    tensors = {
        name: np.frombuffer(entry["data"], _FLOATS[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in entries
        if entry["dtype"] in _FLOATS
    }
    return TensorFile(path, tensors, header.get("__metadata__") or {}, hashlib.sha256(data).hexdigest())


def _pickle_message(path: Path) -> str:
    code = (
        "import torch, safetensors.torch as s; "
        f"s.save_file(torch.load({str(path)!r}, weights_only=True), {str(path.with_suffix('.safetensors'))!r})"
    )
    return (
        f"{path} is a pickle, which can run code when it is opened and is not read here: "
        f'write its state_dict as safetensors with PyTorch, python -c "{code}"'
    )


def example_bands(count: int) -> str:
    """An example of names for `count` bands, as on the command line."""
    return {1: "PAN", 3: "R,G,B", 4: "IR,G,B,R"}.get(count, f"R,G,B,... ({count} names)")


def to_bytes(
    tensors: Tensors, bands: Sequence[str], normalisation: Normalisation, source: str, source_sha256: str
) -> bytes:
    """The file of converted tensors, with name and SHA-256 of their source; equal arguments give equal bytes."""
    about = {
        "format": FORMAT,
        "bands": list(bands),
        "normalisation": normalisation,
        "source": source,
        "source_sha256": source_sha256,
    }
    # All metadata in one entry: safetensors would write several entries in an order that differs between processes.
    return save(dict(tensors), {"aljax": json.dumps(about)})


def load_weights(path: Path) -> Weights:
    """Reads a file that `aljax convert-weights` wrote. Raises InputError for anything else."""
    file = read_tensors(path)
    try:
        about: dict[str, Any] = json.loads(file.metadata["aljax"])
        if about["format"] != FORMAT:
            raise ValueError(about["format"])
        bands, normalisation = tuple(map(str, about["bands"])), about["normalisation"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is not in the form of this version of aljax: convert the published file or the run with "
            "`aljax convert-weights SOURCE --out FILE`"
        ) from error
    tensors = {name: tensor.astype(np.float32) for name, tensor in file.tensors.items()}
    return Weights(path, tensors, bands, normalisation, file.sha256)


def check_normalisation(weights: Weights, normalisation: Normalisation) -> None:
    """Raises InputError unless the weights were trained on pixels with this normalisation."""
    if weights.normalisation != normalisation:
        raise InputError(
            f"--init-weights {weights.path} was trained on pixels of another normalisation: "
            f"use --normalisation {weights.normalisation}"
        )


def check_weights(weights: Weights, variables: Variables) -> None:
    """Raises InputError unless the weights have the names and shapes of a network with these variables (or shapes)."""
    expected = {name: leaf.shape for name, leaf in backbone_tensors(variables).items()}
    found = {name: tensor.shape for name, tensor in weights.tensors.items()}
    stem = "params/stem/kernel"
    if stem not in expected:
        raise InputError(f"--init-weights {weights.path} is of a DenseNet, and the network is none: leave it out")
    count = expected[stem][2]
    if stem in found and (*found[stem][:2], count, *found[stem][3:]) == expected[stem] != found[stem]:
        raise InputError(
            f"--init-weights {weights.path} is for {len(weights.bands)} bands ({', '.join(weights.bands)}) and the "
            f"tiles have {count}: convert with their names in order, such as --bands {example_bands(count)}"
        )
    for name in dict.fromkeys((stem, *expected, *found)):
        if found.get(name) != expected.get(name):
            raise InputError(
                f"--init-weights {weights.path} is of another network: {name} has shape {found.get(name, 'none')} "
                f"there and {expected.get(name, 'none')} here; use the file converted for this network"
            )


def start_from(weights: Weights, variables: Variables) -> Variables:
    """A model's variables with the network's weights and batch statistics replaced by those of a file.

    The network's head and the loss head are kept. Raises InputError if the weights are of another network.
    """
    check_weights(weights, variables)
    new = unflatten_dict({name: jnp.asarray(weights.tensors[name]) for name in backbone_tensors(variables)}, sep="/")
    params = variables["params"]
    network = {**new["params"], "head": params["network"]["head"]}
    return {"params": {**params, "network": network}, "batch_stats": new["batch_stats"]}


def backbone_tensors(variables: Variables) -> dict[str, Any]:
    """The arrays of a model's network without its head, by their names in the file."""
    network = {name: module for name, module in variables["params"]["network"].items() if name != "head"}
    return flatten_dict({"params": network, "batch_stats": variables["batch_stats"]}, sep="/")
