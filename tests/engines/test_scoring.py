"""OpenVINO predicts what XLA does, by the options of the commands; what it cannot do is told."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from places import ROOT
from run_command import run as run_command
from small_runs import run, settings
from tiles_on_disk import write_png
from tiny import make_archive

import aljax
from aljax.commands import embed, predict
from aljax.data.features.unfinished import Unfinished
from aljax.engines import scoring
from aljax.errors import DivergedError, InputError, InputWarning
from aljax.networks.model import Model
from aljax.runs.inference import Classifier

COUNT = 5  # no multiple of a batch of 4


class Own(nn.Module):
    """A network that aljax does not know."""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a run and tiles."""
    folder = tmp_path_factory.mktemp("engine")
    run(settings(folder / "run", query="ll", max_labels=8))
    for index, pixels in enumerate(make_archive(COUNT).images):
        write_png(folder / "tiles" / f"{index}.png", pixels)
    return folder


@pytest.fixture(scope="module")
def trained(made: Path) -> Classifier:
    return aljax.load(made / "run")


@pytest.fixture
def installed() -> None:
    for package in ("onnx", "openvino"):
        pytest.importorskip(package)


def predicted(trained: Classifier, precision: scoring.Precision | None) -> np.ndarray:
    tiles = trained.tiles(make_archive(COUNT).images)
    compute = scoring.open_openvino(trained.model, trained.variables, tiles, precision)
    return trained.probabilities(tiles, 4, compute=compute)


@pytest.mark.usefixtures("installed")
def test_engine_predicts_what_xla_does(trained, monkeypatch) -> None:
    images, expected = make_archive(COUNT).images, trained.predict(make_archive(COUNT).images)
    np.testing.assert_allclose(predicted(trained, "float32"), expected, atol=1e-5)
    monkeypatch.setattr(scoring, "has_bfloat16", lambda core: True)
    in_half = predicted(trained, "bfloat16")
    np.testing.assert_allclose(in_half, expected, atol=0.03)
    halved = replace(trained, model=Model(trained.model.network.clone(dtype=jnp.bfloat16), trained.model.loss_head))
    np.testing.assert_array_equal(predicted(halved, None), in_half)
    broken = images.astype(np.float32)
    broken[3, 2, 2, 1] = np.nan
    tiles = replace(trained, pixel_type=None).tiles(broken)
    compute = scoring.open_openvino(trained.model, trained.variables, tiles, None)
    with pytest.raises(DivergedError, match=r"of 1 of 5 tiles is not finite, as of number 4"):
        trained.probabilities(tiles, 4, compute=compute)


READ = """if True:
    import os, sys, time
    os.register_at_fork(before=lambda: print("forked", flush=True))
    from aljax.engines.scoring import import_openvino
    import_openvino().Core().read_model(sys.argv[1])
    time.sleep(0.5)
    print("read")
"""


@pytest.mark.usefixtures("installed")
def test_engine_reports_its_use_to_nobody(trained, tmp_path) -> None:
    from aljax.engines.onnx_file import to_onnx

    (tmp_path / "m.onnx").write_bytes(to_onnx(trained.model, trained.variables, trained.statistics, 32, {}))
    command = [sys.executable, "-c", READ, str(tmp_path / "m.onnx")]
    home = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=home)
    assert (result.stdout, list(tmp_path.iterdir())) == ("read\n", [tmp_path / "m.onnx"])


@pytest.mark.usefixtures("installed")
def test_processor_without_bfloat16_computes_in_float32_and_says_so(trained, monkeypatch) -> None:
    monkeypatch.setattr(scoring, "has_bfloat16", lambda core: False)
    with pytest.warns(InputWarning, match="no instructions for bfloat16, which would be slower: float32 is computed"):
        found = predicted(trained, "bfloat16")
    np.testing.assert_array_equal(found, predicted(trained, "float32"))


@pytest.mark.usefixtures("installed")
def test_commands_predict_and_embed_by_the_engine(made, trained, tmp_path, monkeypatch, capsys) -> None:
    def never(*arguments: object) -> None:
        pytest.fail("XLA was asked")

    expected = trained.predict(make_archive(COUNT).images)
    given = ("--images", made / "tiles", "--run-dir", made / "run", "--engine", "openvino", "--out")
    with monkeypatch.context() as patch:
        patch.setattr("aljax.training.prediction.predict_batch", never)
        assert run_command(patch, predict.main, *given, tmp_path / "p.csv") == 0
        assert run_command(patch, embed.main, *given, tmp_path / "f.npz") == 0
    assert capsys.readouterr().out.count(", in OpenVINO: ") == 2
    _, *rows = csv.reader((tmp_path / "p.csv").read_text().splitlines())
    np.testing.assert_allclose(np.array([row[1:] for row in rows], float), expected, atol=6e-5)
    assert run_command(monkeypatch, embed.main, *given[:4], "--out", tmp_path / "x.npz") == 0
    found, wanted = (np.load(tmp_path / name)["embeddings"] for name in ("f.npz", "x.npz"))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("installed")
def test_features_of_two_engines_are_not_mixed(made, tmp_path, monkeypatch, capsys) -> None:
    given = ("--images", made / "tiles", "--run-dir", made / "run", "--out", tmp_path / "f.npz")

    def stop(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(embed, "write_features", stop)
        assert run_command(patch, embed.main, *given, "--engine", "openvino") == 2
    capsys.readouterr()
    assert run_command(monkeypatch, embed.main, *given) == 2
    assert "f.npz.part was begun with other engine: name another --out" in capsys.readouterr().err
    assert run_command(monkeypatch, embed.main, *given, "--engine", "openvino") == 0


def test_features_begun_by_an_older_version_go_on(tmp_path: Path) -> None:
    Unfinished(tmp_path / "f.npz", {"weights": "w"}, 4, 2, 2).__exit__(None, None, None)
    Unfinished(tmp_path / "f.npz", {"weights": "w", "engine": None}, 4, 2, 2).__exit__(None, None, None)


def test_options_that_do_not_go_together_are_reported(made, tmp_path, monkeypatch, capsys) -> None:
    given = ("--run-dir", made / "run", "--out", tmp_path / "p.csv")
    for options, message in (
        (("--images", made / "tiles", "--engine-precision", "bfloat16"), "--engine-precision is for --engine openvino"),
        (("--features", tmp_path / "f.npz", "--engine", "openvino"), "--engine openvino is for tiles"),
    ):
        assert run_command(monkeypatch, predict.main, *given, *options) == 2
        assert message in capsys.readouterr().err


def test_engine_that_is_not_installed_is_reported_with_what_to_install(trained, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"^--engine openvino needs more \(.*\): pip install 'aljax\[openvino\]'$"):
        predicted(trained, None)


@pytest.mark.usefixtures("installed")
def test_network_of_ones_own_stays_with_xla(trained) -> None:
    own = replace(trained, model=Model(Own()), variables=jax.tree.map(np.asarray, trained.variables))
    with pytest.raises(InputError, match="the network Own is not one of aljax, which alone can be exported"):
        predicted(own, None)
