"""The works of tools.benchmark in PyTorch, by its usual recipe: channels_last, and bfloat16 by autocast."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from tools.benchmarked import CLASSES, DEVIATION, MEAN, NOTHING, multi_labels, pixels
from tools.duel import Work
from tools.torch_densenet import TorchDenseNet


def torch_network(bands: int, compiled: bool) -> tuple[torch.nn.Module, torch.device]:
    """DenseNet121 in PyTorch, on the accelerator where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    network = TorchDenseNet((6, 12, 24, 16), 32, 64, CLASSES[bands], bands)
    network = network.to(device, memory_format=torch.channels_last)
    return (torch.compile(network) if compiled else network), device


def torch_tiles(count: int, size: int, bands: int, device: torch.device) -> torch.Tensor:
    """The noise on the device, (count, bands, size, size) in channels_last."""
    images = torch.from_numpy(pixels(count, size, bands)).permute(0, 3, 1, 2)
    return images.to(device, memory_format=torch.channels_last)


def torch_augment(images: torch.Tensor) -> torch.Tensor:
    """Flips and quarter turns at random, tile by tile without a loop, and standardises."""
    transpose, flip_rows, flip_columns = torch.rand(3, len(images), 1, 1, 1, device=images.device) < 0.5
    images = torch.where(transpose, images.transpose(2, 3), images)
    images = torch.where(flip_rows, images.flip(2), images)
    images = torch.where(flip_columns, images.flip(3), images)
    return ((images.float() - MEAN) / DEVIATION).contiguous(memory_format=torch.channels_last)


def train_in_torch(batch: int, size: int, bands: int, precision: str, compiled: bool) -> Work:
    """The same step in PyTorch."""
    network, device = torch_network(bands, compiled)
    images = torch_tiles(batch, size, bands, device)
    labels = torch.from_numpy(multi_labels(batch, CLASSES[bands])).float().to(device)
    kernels = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    groups: list[dict[str, Any]] = [{"params": kernels, "weight_decay": 5e-4}, {"params": others}]
    optimizer = torch.optim.SGD(groups, lr=0.025, momentum=0.9)
    loss_of = torch.nn.BCEWithLogitsLoss(reduction="none")
    cast = partial(torch.autocast, device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def work() -> Mapping[str, float]:
        optimizer.zero_grad(set_to_none=True)
        with cast():
            logits = network(torch_augment(images))[0]
        loss_of(logits.float(), labels).sum(1).mean().backward()
        optimizer.step()
        _wait(device)
        return NOTHING

    return work


def score_in_torch(count: int, batch: int, size: int, bands: int, precision: str, compiled: bool) -> Work:
    """The same pass in PyTorch."""
    network, device = torch_network(bands, compiled)
    network.eval()
    images = torch_tiles(count, size, bands, device)
    cast = partial(torch.autocast, device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def work() -> Mapping[str, float]:
        with torch.inference_mode(), cast():
            for chunk in images.split(batch):
                logits, embedding, _ = network((chunk.float() - MEAN) / DEVIATION)
                torch.sigmoid(logits), embedding
        _wait(device)
        return NOTHING

    return work


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
