"""What commands share that work on features of tiles, or on the tiles themselves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import flax.linen as nn

from aljax.loop.settings import ArchiveSettings
from aljax.networks.densenet import DenseNet121
from aljax.networks.head import Head


@dataclass(frozen=True, kw_only=True)
class FeatureSettings(ArchiveSettings):
    """Settings of what is trained: DenseNet121 on tiles, or a head on features of them."""

    features: Path | None = None  # file of the tiles' features (.npy, .npz, .parquet), on which a head is trained
    head: Literal["linear", "mlp"] = "linear"  # on features: logistic regression, or with a hidden layer before it
    width: int = 512  # of the hidden layer of --head mlp


def choose_network(settings: FeatureSettings, num_classes: int) -> nn.Module:
    """DenseNet121 for tiles, a head for features."""
    if settings.features is None:
        return DenseNet121(num_classes)
    return Head(num_classes, settings.width if settings.head == "mlp" else 0)
