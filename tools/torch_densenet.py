"""The yardstick of speed and of converted weights: DenseNet-BC in PyTorch, with the names of torchvision and timm.

Written from the paper of Huang et al. in the order of operations that it gives, so that it runs with PyTorch alone.
"""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (PyTorch's own habit)


class Layer(nn.Module):
    """BN, ReLU, 1x1 convolution, BN, ReLU, 3x3 convolution; appends its maps to those it reads."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        narrow = self.conv1(F.relu(self.norm1(maps)))
        return torch.cat([maps, self.conv2(F.relu(self.norm2(narrow)))], dim=1)


class Transition(nn.Module):
    """BN, ReLU, 1x1 convolution and average pooling."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.norm(maps))), 2)


class TorchDenseNet(nn.Module):
    """Returns logits (B, C), the embedding (B, D) and the outputs of the dense blocks, each (B, k, h, w)."""

    def __init__(self, depths: tuple[int, ...], growth: int, stem: int, classes: int, bands: int = 3) -> None:
        super().__init__()
        self.depths = depths
        self.features = nn.Module()
        self.features.conv0 = nn.Conv2d(bands, stem, 7, stride=2, padding=3, bias=False)
        self.features.norm0 = nn.BatchNorm2d(stem)
        channels = stem
        for block, depth in enumerate(depths, start=1):
            layers = nn.Module()
            for index in range(depth):
                layers.add_module(f"denselayer{index + 1}", Layer(channels, growth))
                channels += growth
            self.features.add_module(f"denseblock{block}", layers)
            if block < len(depths):
                self.features.add_module(f"transition{block}", Transition(channels))
                channels //= 2
        self.features.norm5 = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        maps = F.relu(self.features.norm0(self.features.conv0(images)))
        maps = F.max_pool2d(maps, 3, stride=2, padding=1)
        blocks = []
        for block in range(1, len(self.depths) + 1):
            for layer in self.features.get_submodule(f"denseblock{block}").children():
                maps = layer(maps)
            blocks.append(maps)
            if block < len(self.depths):
                maps = self.features.get_submodule(f"transition{block}")(maps)
        embedding = F.relu(self.features.norm5(maps)).mean((2, 3))
        return self.classifier(embedding), embedding, blocks
