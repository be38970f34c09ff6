"""An exported network gives what aljax predicts, in an engine that knows nothing of aljax; what cannot be is told."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from run_command import run as run_command
from small_runs import run, settings
from tiny import make_archive, tiny_network

import aljax
from aljax.commands import export
from aljax.data.augmentation import BandStatistics
from aljax.errors import InputError
from aljax.networks.densenet import DenseNet
from aljax.networks.head import Head
from aljax.networks.loss_head import LossHead
from aljax.networks.model import Model, init_variables
from aljax.runs.inference import Classifier
from aljax.training.prediction import predict_batch

onnx = pytest.importorskip("onnx")


def infer(content: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    """What ONNX Runtime makes of rows with their bands second."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = {session.get_inputs()[0].name: images.astype(np.float32)}
    return dict(zip(names, session.run(names, given), strict=True))


def fitted(model: Model, size: int, bands: int, seed: int = 0) -> Classifier:
    """A model whose every parameter and statistic is random, as after a fit."""
    rng = np.random.default_rng(seed)

    def drawn(leaf: jax.Array) -> np.ndarray:
        much = 0.3 if leaf.ndim == 1 else 0.02  # kernels as they are: large ones would saturate the probabilities
        return np.array(leaf + rng.uniform(-much, much, leaf.shape), np.float32)

    variables = jax.tree.map(drawn, init_variables(jax.random.key(seed), model, size, bands))
    variables["batch_stats"] = jax.tree.map(np.abs, variables["batch_stats"])
    statistics = BandStatistics(
        rng.uniform(90, 150, bands).astype(np.float32), rng.uniform(40, 80, bands).astype(np.float32)
    )
    return Classifier(model, variables, ("a", "b", "c"), statistics, size, 1, 1, 8)


def to_onnx(trained: Classifier) -> bytes:
    from aljax.engines.onnx_file import to_onnx

    return to_onnx(trained.model, trained.variables, trained.statistics, trained.image_size, {})


def expected(trained: Classifier, images: np.ndarray) -> dict[str, np.ndarray]:
    found = predict_batch(trained.model, trained.variables, images, trained.statistics)
    return {
        name: np.asarray(value)
        for name, value in zip(("probabilities", "embeddings", "predicted_losses"), found, strict=True)
        if value is not None
    }


# Odd sizes are padded and cut at every stage; a map of 16 channels is one that engines lay out in blocks.
@pytest.mark.parametrize(("size", "bands", "losses"), [(32, 3, False), (45, 4, True), (51, 1, True)])
def test_an_engine_computes_what_aljax_does(size: int, bands: int, losses: bool) -> None:
    network = replace(tiny_network(), depths=(1, 2, 1), growth=16, stem_channels=16)
    trained = fitted(Model(network, LossHead(width=8) if losses else None), size, bands)
    images = np.random.default_rng(1).integers(0, 256, (5, size, size, bands), dtype=np.uint8)
    content, wanted = to_onnx(trained), expected(trained, images)
    for count in (5, 2):
        found = infer(content, images[:count].transpose(0, 3, 1, 2))
        assert found.keys() == wanted.keys()
        for name, values in found.items():
            scale = max(np.abs(wanted[name]).max(), 1.0)
            np.testing.assert_allclose(values / scale, wanted[name][:count] / scale, rtol=0, atol=1e-5)
    assert np.ptp(wanted["probabilities"]) > 0.01
    assert content == to_onnx(trained)


@pytest.mark.parametrize("width", [0, 6])
def test_heads_on_features_are_exported_with_the_scaling_of_features(width: int) -> None:
    trained = fitted(Model(Head(3, width), LossHead(width=8)), 1, 12)
    features = np.random.default_rng(1).normal(100, 40, (4, 12)).astype(np.float32)
    features[1] = trained.statistics.mean  # of which no direction is left
    found, wanted = infer(to_onnx(trained), features), expected(trained, features[:, None, None])
    assert found.keys() == wanted.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, wanted[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pixel", [np.nan, np.inf])
def test_a_pixel_that_is_no_number_is_not_hidden(pixel: float) -> None:
    trained = fitted(Model(tiny_network()), 32, 3)
    images = np.full((2, 3, 32, 32), 100.0)
    images[1, 0, 4, 4] = pixel
    found = infer(to_onnx(trained), images)["probabilities"]
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    chosen = settings(tmp_path_factory.mktemp("runs") / "run", query="ll", max_labels=8)
    run(chosen)
    return chosen.run_dir


def test_command_writes_what_a_run_predicts_and_says_what_goes_in(run_dir, tmp_path: Path, monkeypatch, capsys) -> None:
    arguments = ("--run-dir", run_dir, "--to", "onnx", "--out", tmp_path / "m.onnx")
    assert run_command(monkeypatch, export.main, *arguments) == 0
    assert (
        "float32 images (tiles, 3, 32, 32) give probabilities (tiles, 3), embeddings (tiles, "
        in capsys.readouterr().out
    )
    trained, images = aljax.load(run_dir), make_archive().images[:6]
    model = onnx.load(tmp_path / "m.onnx")
    about = {each.key: each.value for each in model.metadata_props}
    assert json.loads(about["class_names"]) == list(trained.class_names)
    assert (about["bands"], about["image_size"], about["pixel_type"]) == ("3", "32", "uint8")
    assert trained.thresholds is not None
    assert json.loads(about["threshold"]) == trained.thresholds.validation
    assert json.loads(about["class_thresholds"]) == list(trained.thresholds.classes)
    found = infer((tmp_path / "m.onnx").read_bytes(), images.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(found["probabilities"], trained.predict(images), atol=1e-5)
    assert found["predicted_losses"].shape == (6,)


def test_what_cannot_be_exported_is_reported_in_a_line(run_dir, tmp_path: Path, monkeypatch, capsys) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    refused = [(("--out", tmp_path / "m.pb"), "does not end in .onnx: name such a file")]
    path = copy / "config.json"
    own = json.loads(path.read_text())
    for key in ("depths", "growth", "stem_channels"):
        del own[key]
    path.write_text(json.dumps({**own, "network": {"class": "theirs:Small"}}))
    refused.append(
        (("--out", tmp_path / "m.onnx"), "made with the network theirs:Small, which aljax cannot write as ONNX")
    )
    for arguments, message in refused:
        assert run_command(monkeypatch, export.main, "--run-dir", copy, *arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "m.onnx").exists()


def test_command_without_onnx_says_what_to_install(run_dir, tmp_path: Path, monkeypatch, capsys) -> None:
    for name in [each for each in sys.modules if each.startswith("aljax.engines.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert run_command(monkeypatch, export.main, "--run-dir", run_dir, "--out", tmp_path / "m.onnx") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: aljax export needs onnx (")
    assert error.endswith("): pip install 'aljax[onnx]'\n")


def test_weights_that_are_not_finite_are_refused() -> None:
    trained = fitted(Model(tiny_network()), 32, 3)
    trained.variables["params"]["network"]["head"]["kernel"][0, 0] = np.nan  # type: ignore[index]
    with pytest.raises(InputError, match=r"are not finite \(.*'network'.*'head'.*'kernel'.*\): choose another run"):
        to_onnx(trained)


def test_densenet121_has_the_nodes_of_its_layers() -> None:
    model = Model(DenseNet(3))
    shapes = jax.eval_shape(lambda key: init_variables(key, model, 32, 3), jax.random.key(0))
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    statistics = BandStatistics(np.zeros(3, np.float32), np.ones(3, np.float32))
    graph = onnx.load_from_string(to_onnx(Classifier(model, variables, ("a",) * 3, statistics, 32, 1, 1, 8))).graph
    kinds = [node.op_type for node in graph.node]
    # 58 layers of two convolutions, three transitions and the stem; a normalisation that follows one is a part of it.
    assert (kinds.count("Conv"), kinds.count("BatchNormalization"), kinds.count("Concat")) == (120, 58 + 3 + 1, 58)
