"""A network and an archive that train in a second. Processes of the tests import them from here, without the checks
of shapes that conftest.py turns on, with which importing takes twice as long.
"""

import numpy as np

from aljax.data.archive import Archive
from aljax.networks.densenet import DenseNet

NUM_CLASSES = 3
SIZE = 32


def tiny_network(num_classes: int = NUM_CLASSES) -> DenseNet:
    return DenseNet(num_classes=num_classes, depths=(1, 2), growth=4, stem_channels=8)


def make_archive(num_tiles: int = 60, seed: int = 0) -> Archive:
    """Noise tiles in which each class, if present, brightens one band: learnable in a few steps."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((num_tiles, NUM_CLASSES)) < 0.4).astype(np.uint8)
    noise = rng.integers(0, 120, (num_tiles, SIZE, SIZE, NUM_CLASSES))
    images = (noise + 120 * labels[:, None, None, :]).astype(np.uint8)
    names = tuple(f"class{index}" for index in range(NUM_CLASSES))
    return Archive("noise", images, labels, tuple(f"tile{index:03d}" for index in range(num_tiles)), names)
