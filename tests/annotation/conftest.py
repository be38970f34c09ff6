"""The command on a folder of generated tiles."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rounds_by_hand import ARCHIVE, SMALL
from run_command import run
from tiny import tiny_network

from aljax.commands import annotate, on_features


@pytest.fixture
def call(tmp_path: Path, monkeypatch):
    """The command on a folder of tiles; gives its exit status."""
    monkeypatch.setattr(on_features, "DenseNet121", tiny_network)
    (tmp_path / "tiles").mkdir()
    for tile, pixels in zip(ARCHIVE.ids, np.asarray(ARCHIVE.images), strict=True):
        Image.fromarray(pixels).save(tmp_path / "tiles" / f"{tile}.png")
    classes = ["--classes", ",".join(ARCHIVE.class_names)]

    def call(*arguments: object, first: list[object] = classes, run_dir: str = "run") -> int:
        folders = ["--images", tmp_path / "tiles", "--run-dir", tmp_path / run_dir]
        return run(monkeypatch, annotate.main, *folders, *first, *SMALL, *arguments)

    return call
