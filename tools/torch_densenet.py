"""DenseNet-BC in PyTorch with the names of torchvision and timm: the reference for speed and converted weights.

Written from the paper of Huang et al. in the order of operations that it gives, so that it runs with PyTorch alone.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (PyTorch's own habit)


class Layer(nn.Sequential):
    """BN, ReLU, 1x1 convolution, BN, ReLU, 3x3 convolution; appends its maps to its input."""

    def __init__(self, channels: int, growth: int) -> None:
        narrow = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        wide = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        first = {"norm1": nn.BatchNorm2d(channels), "relu1": nn.ReLU(), "conv1": narrow}
        second = {"norm2": nn.BatchNorm2d(4 * growth), "relu2": nn.ReLU(), "conv2": wide}
        super().__init__(OrderedDict(first | second))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.cat([maps, super().forward(maps)], dim=1)


def transition(channels: int) -> nn.Module:
    """BN, ReLU, 1x1 convolution and average pooling."""
    conv = nn.Conv2d(channels, channels // 2, 1, bias=False)
    return nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(channels), relu=nn.ReLU(), conv=conv, pool=nn.AvgPool2d(2)))


class TorchDenseNet(nn.Module):
    """Returns logits (B, C), the embedding (B, D) and the outputs of the dense blocks, each (B, k, h, w)."""

    def __init__(self, depths: tuple[int, ...], growth: int, stem: int, classes: int, bands: int = 3) -> None:
        super().__init__()
        conv = nn.Conv2d(bands, stem, 7, stride=2, padding=3, bias=False)
        parts: OrderedDict[str, nn.Module] = OrderedDict(conv0=conv, norm0=nn.BatchNorm2d(stem), relu0=nn.ReLU())
        parts["pool0"], channels = nn.MaxPool2d(3, stride=2, padding=1), stem
        for block, depth in enumerate(depths, start=1):
            layers = {f"denselayer{index + 1}": Layer(channels + index * growth, growth) for index in range(depth)}
            parts[f"denseblock{block}"] = nn.Sequential(OrderedDict(layers))
            channels += depth * growth
            if block < len(depths):
                parts[f"transition{block}"] = transition(channels)
                channels //= 2
        parts["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(parts)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        maps, blocks = images, []
        for name, part in self.features.named_children():
            maps = part(maps)
            if name.startswith("denseblock"):
                blocks.append(maps)
        embedding = F.relu(maps).mean((2, 3))
        return self.classifier(embedding), embedding, blocks
