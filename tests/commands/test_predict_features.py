"""What a run on features has learnt predicts other features, as a table or on a map."""

import csv
import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from run_command import run as run_command

import aljax
from aljax.commands import predict
from aljax.commands import run as run_archive

CLASSES = ("a", "b")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on features (40, 5), with an iteration of two labels."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    np.savez(folder / "f.npz", ids=np.arange(40).astype(str), embeddings=rng.normal(size=(40, 5)).astype(np.float32))
    rows = [f"{tile},{tile % 2},{tile % 3 % 2}" for tile in range(40)]
    (folder / "labels.csv").write_text("\n".join(["id,a,b", *rows]) + "\n")
    sizes = ["--trials", 1, "--initial", 8, "--budget", 4, "--max-labels", 12]
    with pytest.MonkeyPatch.context() as monkeypatch:
        given = ["--features", folder / "f.npz", "--labels", folder / "labels.csv", "--run-dir", folder / "run", *sizes]
        assert run_command(monkeypatch, run_archive.main, *given) == 0
    return folder / "run"


def write_geoparquet(path: Path) -> np.ndarray:
    vectors = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    shapes = [shapely.Point(9 + row, 48) for row in range(3)]
    table = {"id": ["x", "y", "z"], "embedding": list(vectors)}
    geopandas.GeoDataFrame(table, geometry=shapes, crs=4326).to_parquet(path)
    return vectors


def test_rows_of_a_file_are_predicted_as_python_predicts_them(run_dir: Path, tmp_path: Path, monkeypatch) -> None:
    vectors = write_geoparquet(tmp_path / "others.parquet")
    out = tmp_path / "predictions.csv"
    given = ["--run-dir", run_dir, "--features", tmp_path / "others.parquet"]
    assert run_command(monkeypatch, predict.main, *given, "--out", out) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["x", "y", "z"]
    expected = aljax.load(run_dir).predict(vectors)
    found = np.array([[float(row[name]) for name in CLASSES] for row in rows])
    np.testing.assert_allclose(found, expected, atol=5e-5)
    np.testing.assert_array_equal(aljax.load(run_dir).predict(vectors[:, None, None]), expected)


def test_geoparquet_puts_predictions_on_a_map(run_dir: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    write_geoparquet(tmp_path / "others.parquet")
    given = ["--run-dir", run_dir, "--out", tmp_path / "map.geojson", "--threshold", 0.5]
    assert run_command(monkeypatch, predict.main, *given, "--features", tmp_path / "others.parquet") == 0
    features = json.loads((tmp_path / "map.geojson").read_text())["features"]
    assert [each["geometry"]["coordinates"] for each in features] == [[9, 48], [10, 48], [11, 48]]
    assert all(each["properties"][name] in (0, 1) for each in features for name in CLASSES)
    np.save(tmp_path / "bare.npy", np.ones((3, 5), np.float32))
    assert run_command(monkeypatch, predict.main, *given, "--features", tmp_path / "bare.npy") == 2
    assert "has no geometry, which GeoJSON wants" in capsys.readouterr().err


def test_tiles_for_a_run_on_features_are_refused(run_dir: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    for given in (["--images", tmp_path], [], ["--images", tmp_path, "--features", tmp_path / "f.npy"]):
        assert run_command(monkeypatch, predict.main, "--run-dir", run_dir, "--out", tmp_path / "p.csv", *given) == 2
        assert "error: the run was trained on features: give --features, not --images" in capsys.readouterr().err


def test_features_of_another_width_are_refused(run_dir: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    np.save(tmp_path / "f.npy", np.ones((3, 4), np.float32))
    given = ["--run-dir", run_dir, "--out", tmp_path / "p.csv", "--features", tmp_path / "f.npy"]
    assert run_command(monkeypatch, predict.main, *given) == 2
    assert "the tiles have 4 features, those in training had 5: choose the same" in capsys.readouterr().err
