"""Settings and networks of commands that train either on tiles or on features of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import flax.linen as nn

from aljax.errors import InputError
from aljax.loop.settings import ArchiveSettings
from aljax.networks.densenet import DenseNet121
from aljax.networks.head import Head
from aljax.system.own_code import find_own


@dataclass(frozen=True, kw_only=True)
class FeatureSettings(ArchiveSettings):
    """Settings of the network: DenseNet121 on tiles, or a head on features of them."""

    network: str = ""  # module:function of your own that takes the number of classes and returns a linen module
    features: Path | None = None  # file of the tiles' features (.npy, .npz, .parquet), on which a head is trained
    head: Literal["linear", "mlp"] = "linear"  # with --features: logistic regression, or an MLP with one hidden layer
    width: int = 512  # of the hidden layer of --head mlp

    @property
    def has_batches(self) -> bool:
        """Whether training goes by batches; a head on features is fitted to all of them at once."""
        return self.features is None


def choose_network(settings: FeatureSettings, num_classes: int) -> nn.Module:
    """A head for features; for tiles DenseNet121 or the user's own network.

    Raises InputError if --network is given for features, or is no linen module.
    """
    if settings.network and settings.features is not None:
        raise InputError("--network is for tiles, and --features has what a network made of them: leave one out")
    if settings.network:
        found = find_own(settings.network, "--network")(num_classes)
        if not isinstance(found, nn.Module):
            raise InputError(f"--network {settings.network} gives {type(found).__name__}: return a linen module")
        return found
    if settings.features is None:
        return DenseNet121(num_classes)
    return Head(num_classes, settings.width if settings.head == "mlp" else 0)
