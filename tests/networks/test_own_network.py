"""A stranger's network: the example of the package's README runs, resumes and predicts; what does not fit is told."""

import re
import sys
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest
from PIL import Image
from places import ROOT
from run_command import run as run_command
from small_runs import settings
from tiny import make_archive, tiny_network

import aljax
from aljax.commands import predict
from aljax.commands import run as run_archive
from aljax.data.archive import random_split
from aljax.errors import InputError
from aljax.networks import Outputs
from aljax.runs.experiment import run_experiment


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "aljax" / "README.md").read_text(), re.DOTALL)


def small() -> type[nn.Module]:
    names: dict = {"__name__": "theirs"}
    exec(examples()[-1], names)
    return names["Small"]


@pytest.mark.parametrize("query", ["mge", "ll"])
def test_the_readmes_network_runs_goes_on_and_predicts(query: str, tmp_path: Path) -> None:
    archive, network = make_archive(), small()(num_classes=3)
    chosen = settings(tmp_path / "run", query=query, max_labels=12)
    split = random_split(0, len(archive.ids), 10, 10)
    first = run_experiment(chosen, archive, split, network)
    assert run_experiment(chosen, archive, split, network) == first
    trained = aljax.load(chosen.run_dir, network)
    assert trained.predict(archive.images[:5]).shape == (5, 3)
    with pytest.raises(InputError, match="made with the network theirs:Small: give it"):
        aljax.load(chosen.run_dir)
    with pytest.raises(InputError, match="other settings or data"):
        run_experiment(chosen, archive, split, tiny_network())


def test_the_readmes_archive_runs(tmp_path: Path, monkeypatch) -> None:
    archive = make_archive(400)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aljax.networks.DenseNet121", tiny_network)
    code = examples()[1].replace("max_labels=200", "max_labels=40, trials=1, recipe=Recipe(epochs=1, batch_size=20)")
    exec(
        "from aljax.training.recipe import Recipe\n" + code,
        {"images": archive.images, "labels": archive.labels, "ids": archive.ids, "class_names": archive.class_names},
    )
    assert (tmp_path / "runs/mine/summary.json").exists()


class Plain(nn.Module):
    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        return nn.Dense(3, name="head")(images.mean((1, 2)))


class Headless(nn.Module):
    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        embedding = nn.Dense(8)(images.mean((1, 2)))
        return Outputs(nn.Dense(3, name="last")(embedding), embedding, ())


class Strict(nn.Module):
    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        raise ValueError("eight bands or none\nand more")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Plain(), "the network Plain returns ShapeDtypeStruct: return aljax.Outputs"),
        (Headless(), r"the network Headless gives .* shapes \(\(1, 3\), \(1, 8\), None\): with 3 classes they are"),
        (Strict(), r"the network Strict does not take images of \(1, 32, 32, 3\): eight bands or none$"),
    ],
)
def test_networks_that_do_not_fit_are_reported_at_once(network, message: str, tmp_path: Path) -> None:
    archive = make_archive()
    with pytest.raises(InputError, match=message):
        run_experiment(settings(tmp_path / "run"), archive, random_split(0, 60, 10, 10), network)
    assert not np.any([path.is_file() for path in tmp_path.rglob("*")])


def test_commands_take_a_network_of_ones_own_by_its_name(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "theirs.py").write_text(
        examples()[-1] + "\n\ndef make(num_classes):\n    return Small(num_classes)\n\nnone = int\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    archive = make_archive(60)
    (tmp_path / "tiles").mkdir()
    for tile, pixels in zip(archive.ids, np.asarray(archive.images), strict=True):
        Image.fromarray(pixels).save(tmp_path / "tiles" / f"{tile}.png")
    rows = (f"{tile},{','.join(map(str, row))}" for tile, row in zip(archive.ids, archive.labels.tolist(), strict=True))
    (tmp_path / "labels.csv").write_text("\n".join([",".join(("id", *archive.class_names)), *rows]) + "\n")
    folders = ["--images", "tiles", "--run-dir", "run"]
    sizes = ["--image-size", 32, "--initial", 8, "--budget", 4, "--max-labels", 12, "--trials", 1, "--epochs", 1]
    command = [*folders, "--labels", "labels.csv", *sizes, "--batch-size", 4]
    assert run_command(monkeypatch, run_archive.main, *command, "--network", "theirs:make") == 0
    assert run_command(monkeypatch, predict.main, *folders) == 2
    assert "made with the network theirs:Small: give it" in capsys.readouterr().err
    assert run_command(monkeypatch, predict.main, *folders, "--network", "theirs:make") == 0
    assert "60 tiles, 3 classes" in capsys.readouterr().out
    for network, message in (
        ("theirs:none", "--network theirs:none gives int: return a linen module"),
        ("nowhere:make", "--network nowhere:make is not to be found"),
    ):
        assert run_command(monkeypatch, run_archive.main, *command, "--network", network) == 2
        assert message in capsys.readouterr().err
