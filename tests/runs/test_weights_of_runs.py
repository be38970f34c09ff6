"""A run's weights as the start of another: what they keep, what they fit, and normalisations that differ."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from run_command import run as run_tool
from small_runs import run, settings

import aljax
from aljax.commands import convert_weights
from aljax.data.archive import Archive, random_split, split_tiles, whole_range
from aljax.data.augmentation import standardise
from aljax.errors import InputError
from aljax.training.weights import backbone_tensors, load_weights, start_from
from experiments.run_names import PlannedRun


def train(run_dir: Path, **changes) -> Path:
    """A run of one iteration."""
    run(settings(run_dir, max_labels=8, **changes))
    return run_dir


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a loss head."""
    return train(tmp_path_factory.mktemp("runs") / "run", query="ll")


def weights_of(run_dir: Path, out: Path, bands: str = "R,G,B") -> Path:
    convert_weights.convert_weights(run_dir, out, bands)
    return out


def test_weights_of_a_run_are_those_of_its_model_but_the_heads(run_dir, tmp_path, monkeypatch, capsys) -> None:
    out = tmp_path / "weights"
    assert run_tool(monkeypatch, convert_weights.main, run_dir, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "R, G, B as in the run" in printed
    assert "the 3 classes of the source are left out" in printed
    trained = aljax.load(run_dir).variables
    weights = load_weights(out)
    fresh = jax.tree.map(lambda leaf: np.zeros_like(leaf), trained)
    started = start_from(weights, fresh)
    for name, tensor in backbone_tensors(trained).items():
        np.testing.assert_array_equal(weights.tensors[name], tensor)
        np.testing.assert_array_equal(backbone_tensors(started)[name], tensor)
    assert not any("head" in name for name in weights.tensors)
    assert not np.any(started["params"]["network"]["head"]["kernel"])
    assert f"{sum(tensor.size for name, tensor in weights.tensors.items() if name.startswith('params/')):,} " in printed
    first = out.read_bytes()
    assert weights_of(run_dir, out).read_bytes() == first


def test_run_starts_from_the_weights_of_a_run_and_says_which(run_dir, tmp_path) -> None:
    file = weights_of(run_dir, tmp_path / "weights")
    second = train(tmp_path / "second", init_weights=file)
    config = json.loads((second / "config.json").read_text())
    assert config["init_weights"] == load_weights(file).sha256


def test_bands_of_a_run_are_named_one_by_one(run_dir, tmp_path) -> None:
    with pytest.raises(InputError, match=r"have 3 bands and --bands names 4 \(IR, G, B, R\): .* --bands R,G,B"):
        weights_of(run_dir, tmp_path / "weights", "IR,G,B,R")
    with pytest.raises(InputError, match="name a folder that an experiment wrote"):
        weights_of(tmp_path, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_weights_want_the_normalisation_that_they_were_trained_with(tmp_path) -> None:
    scaled = train(tmp_path / "scaled", normalisation="scale")
    file = weights_of(scaled, tmp_path / "weights")
    with pytest.raises(InputError, match=r"weights was trained .*: use --normalisation scale"):
        train(tmp_path / "other", init_weights=file)
    assert not (tmp_path / "other").exists()
    train(tmp_path / "same", init_weights=file, normalisation="scale")
    trained = aljax.load(scaled)
    extremes = np.array([0, 255], np.uint8).reshape(1, 1, 2, 1).repeat(3, axis=3)
    np.testing.assert_array_equal(standardise(extremes, trained.statistics), extremes == 255)


def test_scaled_pixels_lie_between_0_and_1_in_all_sets(archive: Archive) -> None:
    tiles = split_tiles(archive, random_split(0, len(archive.ids), 10, 10), 0, normalisation="scale")
    for part in (tiles.pool, tiles.validation, tiles.test):
        (first,) = part.batches(np.arange(4), 4)
        np.testing.assert_allclose(standardise(first, part.statistics), np.asarray(first) / 255, rtol=1e-6)


def test_pixels_of_16_bits_are_scaled_by_their_own_range_and_others_refused(archive: Archive) -> None:
    wide = archive.images.astype(np.uint16)
    assert whole_range(wide).deviation.tolist() == [65535.0] * 3
    with pytest.raises(InputError, match=r"of type float32: use --normalisation standardise"):
        whole_range(wide.astype(np.float32))


def test_planned_run_is_named_by_the_content_of_its_weights(run_dir, tmp_path) -> None:
    file = weights_of(run_dir, tmp_path / "weights")
    copy = tmp_path / "copy"
    copy.write_bytes(file.read_bytes())
    other = weights_of(run_dir, tmp_path / "other", "B,G,R")  # says something else of itself
    names = [
        PlannedRun("experiments.ucmerced", settings(tmp_path, init_weights=weights)).name
        for weights in (None, file, copy, other)
    ]
    assert names[1] == names[2]
    assert len(set(names)) == 3
