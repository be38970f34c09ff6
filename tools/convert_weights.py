"""Converts published DenseNet weights, so that an experiment can start from them with --init-weights.

    python -m tools.convert_weights densenet121.safetensors --out weights/rgb.safetensors
    python -m tools.convert_weights densenet121.safetensors --out weights/trees.safetensors --bands IR,G,B,R

The source is a safetensors file with the names of torchvision or timm, for example `model.safetensors` of
timm/densenet121.ra_in1k on Hugging Face. Pickles (.pth, .bin) are not read; for one, the error says how to write its
weights as safetensors. The last layer is not taken over: its classes are those of other images.
"""

from pathlib import Path

import numpy as np
import tyro

from aljax.conversion import SOURCE_BANDS, convert, describe, parse_bands
from aljax.densenet import DenseNet
from aljax.errors import InputError
from aljax.experiment import command
from aljax.files import write_atomically
from aljax.weights import TensorFile, Tensors, read_tensors, to_bytes


def convert_weights(source: tyro.conf.Positional[Path], out: Path, bands: str = ",".join(SOURCE_BANDS)) -> None:
    """Reads, converts, writes, and says what went where.

    Args:
        source: safetensors file with the weights of a DenseNet, with the names of torchvision or timm
        out: file to write; it replaces one of that name
        bands: names of the tiles' bands in their order; R, G and B keep their kernels, any other takes their mean
    """
    names = parse_bands(bands)
    file = read_tensors(source)
    if out.is_dir() or (out.exists() and out.samefile(source)):
        raise InputError(f"--out {out} is {'a folder' if out.is_dir() else 'the source'}: name another file")
    network, tensors = convert(file, names)
    _write(out, to_bytes(tensors, names, file))
    print(_account(file, network, tensors, names))
    print(f"written: {out} (for an experiment: --init-weights {out})")


def _account(file: TensorFile, network: DenseNet, tensors: Tensors, bands: tuple[str, ...]) -> str:
    """What was mapped, what not."""
    parameters, statistics = (
        sum(tensor.size for name, tensor in tensors.items() if name.startswith(part))
        for part in ("params/", "batch_stats/")
    )
    kernels = [band if band in SOURCE_BANDS else f"{band} (mean of R, G and B)" for band in bands]
    scale = "" if set(bands) == set(SOURCE_BANDS) else f", all times {len(SOURCE_BANDS)}/{len(bands)}"
    head = file.tensors.get("classifier.weight", np.empty((0, 0)))
    return (
        f"source: {file.path}, a {describe(network)}, SHA-256 {file.sha256}\n"
        f"mapped: {len(tensors)} tensors, {parameters:,} parameters and {statistics:,} batch statistics\n"
        f"bands:  {', '.join(kernels)}{scale}\n"
        f"fresh:  the head{f' (the {len(head)} classes of the source are left out)' if len(head) else ''}, "
        "and the loss head of --query ll"
    )


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise InputError(f"cannot write --out {path} ({error.strerror}): name a file in a folder of yours") from error


def main() -> None:
    """Parses the command line and converts."""
    tyro.cli(convert_weights, prog="python -m tools.convert_weights", description=__doc__)


if __name__ == "__main__":
    command(main)
