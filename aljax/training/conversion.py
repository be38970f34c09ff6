"""From the weights of PyTorch's DenseNet to the tree of this project's, for tiles of any bands.

The names are those of torchvision, which timm shares: `features.denseblock1.denselayer1.norm1.weight`, in older files
`norm.1` for `norm1`.

Weights trained on ImageNet expect pixels less the mean of ImageNet, divided by its deviation, per band. The tiles of a
pool are standardised by their own mean and deviation, so the network sees numbers of the same scale and needs no other
normalisation.
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from aljax.errors import InputError
from aljax.networks.densenet import DenseNet
from aljax.networks.model import Model, init_variables
from aljax.training.weights import TensorFile, Tensors, example_bands, of_network

SOURCE_BANDS = ("R", "G", "B")

_MODULES = {"stem": "features.conv0", "stem_norm": "features.norm0", "norm": "features.norm5"}
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def parse_bands(text: str) -> tuple[str, ...]:
    """`R,G,B` to its names, in capitals. Raises InputError for an empty or a repeated one."""
    bands = tuple(name.strip().upper() for name in text.split(","))
    if "" in bands or len(set(bands)) < len(bands):
        raise InputError(f"--bands is {text!r}: give each band of the tiles one name, such as {example_bands(4)}")
    return bands


def source_name(name: str) -> str:
    """What torchvision calls a tensor of this project.

    >>> source_name("batch_stats/block1/layer2/norm1/mean")
    'features.denseblock1.denselayer2.norm1.running_mean'
    """
    _, *modules, leaf = name.split("/")
    module = "/".join(modules)
    theirs = "features." + re.sub("block|layer", r"dense\g<0>", module).replace("/", ".")
    return f"{_MODULES.get(module, theirs)}.{_LEAVES[leaf]}"


def convert(source: TensorFile, bands: Sequence[str] = SOURCE_BANDS) -> tuple[DenseNet, dict[str, np.ndarray]]:
    """The network that a file of PyTorch's is of, and its tensors but the head for tiles of these bands.

    Depths, growth and stem are read off the file. Raises InputError that names a tensor which is missing, has no
    place, is of the wrong shape or not finite.
    """
    theirs = _renamed(source)
    network = _network(source.path, theirs)
    tensors = {}
    for name, shape in _shapes(network).items():
        expected = _source_shape(shape)
        found = theirs.pop(source_name(name), None)
        if found is None:
            raise InputError(f"{source.path} lacks the tensor {source_name(name)} of shape {expected}: get it again")
        if found.shape != expected:
            raise InputError(
                f"{source.path}: {source_name(name)} has shape {found.shape} where {expected} is expected: "
                f"these are not the weights of a {describe(network)} for R, G and B"
            )
        with np.errstate(over="ignore"):  # beyond float32 is not finite, which is told
            found = found.astype(np.float32)
        if found.ndim == 4:  # outputs, inputs, height, width
            found = found.transpose(2, 3, 1, 0).reshape(shape)
        tensors[name] = np.ascontiguousarray(found)
        if not np.isfinite(tensors[name]).all():
            raise InputError(f"{source.path}: {source_name(name)} has values that are not finite: get it again")
    surplus = sorted(set(theirs) - {"classifier.weight", "classifier.bias"})
    if surplus:
        raise InputError(
            f"{source.path}: a {describe(network)} has no place for {surplus[0]} of shape {theirs[surplus[0]].shape}"
            f"{f' and {len(surplus) - 1} more' if surplus[1:] else ''}: it is another network"
        )
    tensors["params/stem/kernel"] = adapt_bands(tensors["params/stem/kernel"], bands)
    return network, tensors


def describe(network: DenseNet) -> str:
    """Depths and widths, in words."""
    return f"DenseNet of depths {network.depths}, growth {network.growth} and {network.stem_channels} stem channels"


def _renamed(source: TensorFile) -> dict[str, np.ndarray]:
    """The tensors with torchvision's newer names."""
    if "aljax" in source.metadata:
        raise InputError(f"{source.path} is converted already: give it to --init-weights")
    pattern = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
    tensors = {pattern.sub(r"\1\2", name): tensor for name, tensor in source.tensors.items()}
    if len(tensors) < len(source.tensors):
        raise InputError(f"{source.path} holds tensors under older and newer names at once: keep one of them")
    return tensors


def _network(path: Path, tensors: Tensors) -> DenseNet:
    layers = {
        match.groups() for name in tensors if (match := re.match(r"features\.denseblock(\d+)\.denselayer(\d+)\.", name))
    }
    widths = []
    for name in ("features.conv0.weight", "features.denseblock1.denselayer1.conv2.weight"):
        if name not in tensors or tensors[name].ndim != 4 or not tensors[name].size:
            raise InputError(
                f"{path} has no convolution {name}: it is not a DenseNet with the names of torchvision or timm"
            )
        widths.append(len(tensors[name]))
    depths = tuple(depth for _, depth in sorted(Counter(int(block) for block, _ in layers).items()))
    return DenseNet(num_classes=1, depths=depths, growth=widths[1], stem_channels=widths[0])


def _shapes(network: DenseNet) -> dict[str, tuple[int, ...]]:
    """Of every tensor but the head's, for three bands, in the order of their names."""
    size = max(32, 4 * 2 ** (len(network.depths) - 1))
    fresh = partial(init_variables, model=Model(network), size=size, bands=len(SOURCE_BANDS))
    return {name: leaf.shape for name, leaf in sorted(of_network(jax.eval_shape(fresh, jax.random.key(0))).items())}


def _source_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """PyTorch's shape of a vector (n,), a 1x1 convolution (i, o) or a convolution (h, w, i, o)."""
    match shape:
        case (inputs, outputs):
            return outputs, inputs, 1, 1
        case (height, width, inputs, outputs):
            return outputs, inputs, height, width
    return shape


def adapt_bands(kernel: Float[np.ndarray, "h w 3 o"], bands: Sequence[str]) -> Float[np.ndarray, "h w bands o"]:
    """The first convolution for other bands: R, G and B keep their kernels, any other takes the mean of the three.

    Unless the bands are R, G and B in some order, all are multiplied by 3 / number of bands. The bands of a tile
    largely agree, so the sum over n of them grows with n; the batch statistics of the layers above were gathered with
    three, and this keeps the sum at its size (exactly, where R, G and B are among bands that are equal).
    """
    own = dict(zip(SOURCE_BANDS, np.moveaxis(kernel, 2, 0), strict=True))
    kernels = np.stack([own.get(band, kernel.mean(2)) for band in bands], axis=2)
    return kernels if set(bands) == set(SOURCE_BANDS) else kernels * np.float32(len(SOURCE_BANDS) / len(bands))
