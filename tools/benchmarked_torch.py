"""The works of tools.benchmark in PyTorch, by its usual recipe: channels_last, and bfloat16 by autocast."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch

from tools.benchmarked import BUDGET, CLASSES, DEVIATION, EVALUATED, MEAN, MULTIPLIER, NOTHING, multi_labels, pixels
from tools.duel import Work
from tools.torch_densenet import TorchDenseNet


def augmented(images: torch.Tensor) -> torch.Tensor:
    """Flips and quarter turns at random, tile by tile without a loop."""
    transpose, flip_rows, flip_columns = torch.rand(3, len(images), 1, 1, 1, device=images.device) < 0.5
    images = torch.where(transpose, images.transpose(2, 3), images)
    images = torch.where(flip_rows, images.flip(2), images)
    return torch.where(flip_columns, images.flip(3), images)


def standardised(images: torch.Tensor) -> torch.Tensor:
    """As floats, in channels_last."""
    return ((images.float() - MEAN) / DEVIATION).contiguous(memory_format=torch.channels_last)


class TorchTraining:
    """DenseNet121, on the accelerator where there is one, with its optimiser, noise as tiles, and the step of a fit."""

    def __init__(self, count: int, size: int, bands: int, precision: str, compiled: bool) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(0)
        network = TorchDenseNet((6, 12, 24, 16), 32, 64, CLASSES[bands], bands)
        network = network.to(self.device, memory_format=torch.channels_last)
        self.network = torch.compile(network) if compiled else network
        parameters = list(self.network.parameters())
        kernels = {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": 5e-4}
        others = {"params": [parameter for parameter in parameters if parameter.ndim == 1]}
        self.optimizer = torch.optim.SGD([kernels, others], lr=0.025, momentum=0.9)
        self.loss_of = torch.nn.BCEWithLogitsLoss(reduction="none")
        self.cast = partial(torch.autocast, self.device.type, torch.bfloat16, enabled=precision == "bfloat16")
        images = torch.from_numpy(pixels(count, size, bands)).permute(0, 3, 1, 2)
        self.images = images.to(self.device, memory_format=torch.channels_last)
        self.labels = torch.from_numpy(multi_labels(count, CLASSES[bands])).float().to(self.device)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Augmentation, standardisation, forward, backward, SGD."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.cast():
            logits = self.network(standardised(augmented(images)))[0]
        self.loss_of(logits.float(), labels).sum(1).mean().backward()
        self.optimizer.step()

    def predict(self, images: torch.Tensor, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities and embeddings of all tiles."""
        with torch.inference_mode(), self.cast():
            found = [self.network(standardised(chunk))[:2] for chunk in images.split(batch)]
            logits, embeddings = (torch.cat(part) for part in zip(*found, strict=True))
            return torch.sigmoid(logits.float()), embeddings.float()

    def wait(self) -> Mapping[str, float]:
        """Until the device has done it all; there are no other figures."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return NOTHING


def train_in_torch(batch: int, size: int, bands: int, precision: str, compiled: bool, steps: int = 1) -> Work:
    """The same steps in PyTorch."""
    training = TorchTraining(batch * steps, size, bands, precision, compiled)

    def work() -> Mapping[str, float]:
        for images, labels in zip(training.images.split(batch), training.labels.split(batch), strict=True):
            training.step(images, labels)
        return training.wait()

    return work


def score_in_torch(count: int, batch: int, size: int, bands: int, precision: str, compiled: bool) -> Work:
    """The same pass in PyTorch."""
    training = TorchTraining(count, size, bands, precision, compiled)
    training.network.eval()

    def work() -> Mapping[str, float]:
        training.predict(training.images, batch)
        return training.wait()

    return work


def iterate_in_torch(
    labelled: int, epochs: int, pool: int, size: int, bands: int, precision: str, compiled: bool, at_once: int
) -> Work:
    """The same iteration in PyTorch, which scores `at_once` tiles at a time, with k-means by scikit-learn."""
    from sklearn.cluster import KMeans

    training = TorchTraining(pool + 2 * EVALUATED, size, bands, precision, compiled)
    images, labels = training.images, training.labels

    def work() -> Mapping[str, float]:
        training.network.train()
        for _ in range(epochs):
            for rows in torch.randperm(labelled, device=training.device).split(10):
                training.step(images[rows], labels[rows])
        training.network.eval()
        training.predict(images[pool:], at_once)  # test and validation
        probabilities, embeddings = training.predict(images[labelled:pool], at_once)
        # Norm of the last layer's gradient under pseudo-labels, kernel and bias.
        error = (probabilities - (probabilities > 0.5).float()).norm(dim=1)
        scores = error * (1.0 + embeddings.square().sum(1)).sqrt()
        candidates = scores.topk(BUDGET * MULTIPLIER).indices
        points, own = (rows[candidates].cpu().numpy() for rows in (embeddings, scores))
        clusters = KMeans(BUDGET, n_init=1, max_iter=100, tol=0.0).fit_predict(points)
        chosen = {max(np.flatnonzero(clusters == cluster), key=lambda row: own[row]) for cluster in set(clusters)}
        return {"tiles": float(len(chosen))}

    return work
