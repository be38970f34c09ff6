"""Converts the weights of a DenseNet in PyTorch to the parameter tree of this project, for tiles of any bands.

The names are those of torchvision, which timm shares: `features.denseblock1.denselayer1.norm1.weight`, in older files
`norm.1` for `norm1`.

Weights trained on ImageNet expect each band standardised by ImageNet's mean and deviation. The tiles of a pool are
standardised by their own, so the network sees inputs of the same scale and needs no other normalisation.
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
from aljax.training.weights import TensorFile, Tensors, backbone_tensors, example_bands

SOURCE_BANDS = ("R", "G", "B")

_MODULES = {"stem": "features.conv0", "stem_norm": "features.norm0", "norm": "features.norm5"}
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def parse_bands(text: str) -> tuple[str, ...]:
    """The names in `R,G,B`, in capitals. Raises InputError for an empty or a repeated name."""
    bands = tuple(name.strip().upper() for name in text.split(","))
    if "" in bands or len(set(bands)) < len(bands):
        raise InputError(f"--bands is {text!r}: give each band of the tiles one name, such as {example_bands(4)}")
    return bands


def source_name(name: str) -> str:
    """The name in torchvision of a tensor of this project.

    >>> source_name("batch_stats/block1/layer2/norm1/mean")
    'features.denseblock1.denselayer2.norm1.running_mean'
    """
    _, *modules, leaf = name.split("/")
    module = "/".join(modules)
    theirs = "features." + re.sub("block|layer", r"dense\g<0>", module).replace("/", ".")
    return f"{_MODULES.get(module, theirs)}.{_LEAVES[leaf]}"


def convert(source: TensorFile, bands: Sequence[str] = SOURCE_BANDS) -> tuple[DenseNet, dict[str, np.ndarray]]:
    """The network whose PyTorch weights `source` holds, and its tensors, without the head, for tiles of these bands.

    Depths, growth and stem follow from the tensors. Raises InputError with the name of a tensor that is missing,
    unknown, of the wrong shape or not finite.
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
        with np.errstate(over="ignore"):  # an overflow becomes infinite and is refused below
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
    """The shape of each tensor, without the head, for three bands; in the order of the names."""
    size = max(32, 4 * 2 ** (len(network.depths) - 1))
    fresh = partial(init_variables, model=Model(network), size=size, bands=len(SOURCE_BANDS))
    return {
        name: leaf.shape for name, leaf in sorted(backbone_tensors(jax.eval_shape(fresh, jax.random.key(0))).items())
    }


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

    Unless the bands are R, G and B in some order, all kernels are multiplied by 3 / number of bands. The n bands of a
    tile are correlated, so their sum grows with n, while the batch statistics of the next layer are those of three
    bands. The factor keeps the sum at its size (exactly, if R, G and B are among the bands and all are equal).
    """
    own = dict(zip(SOURCE_BANDS, np.moveaxis(kernel, 2, 0), strict=True))
    kernels = np.stack([own.get(band, kernel.mean(2)) for band in bands], axis=2)
    return kernels if set(bands) == set(SOURCE_BANDS) else kernels * np.float32(len(SOURCE_BANDS) / len(bands))
