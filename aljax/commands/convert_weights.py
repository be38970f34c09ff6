"""Converts published DenseNet weights, or the weights of a run, for use as initial weights of other runs.

    aljax convert-weights densenet121.safetensors --out weights/rgb.safetensors
    aljax convert-weights densenet121.safetensors --out weights/trees.safetensors --bands IR,G,B,R
    aljax convert-weights runs/other-archive --out weights/other-archive.safetensors

The file is for --init-weights. The source is a safetensors file with the names of torchvision or timm, for example
`model.safetensors` of timm/densenet121.ra_in1k on Hugging Face, or the folder of a run, whose newest fitted network is
used. Pickles (.pth, .bin) are not read; the error says how to convert one to safetensors. The last layer is left out,
because it belongs to the classes of the source.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro

from aljax.commands.options import read_options
from aljax.data.augmentation import Normalisation
from aljax.errors import InputError
from aljax.networks.densenet import DenseNet
from aljax.runs.config import read_config
from aljax.runs.inference import load
from aljax.system.files import write_atomically
from aljax.training.conversion import SOURCE_BANDS, convert, describe, parse_bands
from aljax.training.weights import TensorFile, Tensors, backbone_tensors, example_bands, read_tensors, to_bytes


def convert_weights(source: tyro.conf.Positional[Path], out: Path, bands: str = ",".join(SOURCE_BANDS)) -> None:
    """Reads and converts the weights, writes the file, and prints what was converted.

    Args:
        source: safetensors file with a DenseNet's weights under the names of torchvision or timm; or a run's folder
        out: file to write; it replaces one of that name
        bands: names of the tiles' bands in their order; R, G and B keep their kernels, any other takes their mean. Of a
            run: names of its own bands
    """
    names = parse_bands(bands)
    found = _of_run(source, names) if source.is_dir() else _of_file(read_tensors(source), names)
    if out.is_dir() or (out.exists() and out.samefile(source)):
        raise InputError(f"--out {out} is {'a folder' if out.is_dir() else 'the source'}: name another file")
    content = to_bytes(found.tensors, names, found.normalisation, source.resolve().name, found.sha256)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, content)
    except OSError as error:
        raise InputError(f"cannot write --out {out} ({error.strerror}): name a file in a folder of yours") from error
    print(_account(source, found))
    print(f"written: {out} (for an experiment: --init-weights {out})")


class Found(NamedTuple):
    """The weights of a source, converted."""

    network: DenseNet
    tensors: Tensors
    normalisation: Normalisation
    sha256: str
    bands: str
    """Description of the bands and of their kernels in the first convolution."""
    num_classes: int
    """Number of classes of the source's head, which is left out; 0 without a head."""


def _of_file(file: TensorFile, bands: tuple[str, ...]) -> Found:
    """Published weights, which expect standardised pixels."""
    network, tensors = convert(file, bands)
    kernels = [band if band in SOURCE_BANDS else f"{band} (mean of R, G and B)" for band in bands]
    scale = "" if set(bands) == set(SOURCE_BANDS) else f", all times {len(SOURCE_BANDS)}/{len(bands)}"
    head = file.tensors.get("classifier.weight", np.empty((0, 0)))
    return Found(network, tensors, "standardise", file.sha256, ", ".join(kernels) + scale, len(head))


def _of_run(run_dir: Path, bands: tuple[str, ...]) -> Found:
    """The weights of a run, with its bands unchanged. Raises InputError for another number of bands."""
    trained = load(run_dir)
    network = trained.model.network
    assert isinstance(network, DenseNet)  # `load` needs an argument for others
    count = len(trained.statistics.mean)
    if len(bands) != count:
        raise InputError(
            f"the tiles of {run_dir} have {count} bands and --bands names {len(bands)} ({', '.join(bands)}): "
            f"name theirs in order, such as --bands {example_bands(count)}"
        )
    tensors = {name: np.ascontiguousarray(array) for name, array in backbone_tensors(trained.variables).items()}
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(name.encode())
        digest.update(tensor.data)
    kept = f"{', '.join(bands)} as in the run"
    normalisation = read_config(run_dir)["normalisation"]
    return Found(network, tensors, normalisation, digest.hexdigest(), kept, len(trained.class_names))


def _account(source: Path, found: Found) -> str:
    """A report of what was converted and what was not."""
    parameters, statistics = (
        sum(tensor.size for name, tensor in found.tensors.items() if name.startswith(part))
        for part in ("params/", "batch_stats/")
    )
    left_out = f" (the {found.num_classes} classes of the source are left out)" if found.num_classes else ""
    return (
        f"source: {source}, a {describe(found.network)}, SHA-256 {found.sha256}\n"
        f"mapped: {len(found.tensors)} tensors, {parameters:,} parameters and {statistics:,} batch statistics\n"
        f"bands:  {found.bands}\n"
        f"fresh:  the head{left_out}, and the loss head of --query ll"
    )


def main() -> None:
    """Parses the command line and converts."""
    read_options(convert_weights, "aljax convert-weights", __doc__)
