"""What a run has learnt can be opened elsewhere and predicts what it predicted in the run."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from run_command import run as run_command
from small_runs import run, run_until_save, settings
from test_resume import damage, newest
from tiles_on_disk import cut, write_geotiff
from tiny import make_archive

import aljax
from aljax.commands import embed, predict
from aljax.data.archives.folder import open_folder
from aljax.data.labels import read_csv
from aljax.data.tiles.resizing import resize
from aljax.errors import InputError, InputWarning
from aljax.loop.metrics import evaluate


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> aljax.Classifier:
    chosen = settings(tmp_path_factory.mktemp("trained") / "run", max_labels=8)
    run(chosen)
    return aljax.load(chosen.run_dir)


def test_loaded_model_scores_what_the_history_says(tmp_path) -> None:
    from aljax.data.archive import random_split

    chosen = settings(tmp_path / "run", query="ll", trials=2)
    run(chosen)
    archive = make_archive()
    split = random_split(0, len(archive.ids), 10, 10)
    trained = aljax.load(chosen.run_dir)
    probabilities = trained.predict(archive.images[split.test])
    last = json.loads((chosen.run_dir / "history.jsonl").read_text().splitlines()[-1])
    assert evaluate(probabilities, archive.labels[split.test]).micro_f1 == last["micro_f1"]
    assert (trained.trial, trained.iteration, trained.num_labeled) == (2, 3, 16)
    assert trained.class_names == archive.class_names
    assert trained.image_size == 32
    np.testing.assert_allclose(trained.statistics.mean, archive.images[split.pool].mean((0, 1, 2)), rtol=1e-5)
    assert trained.model.loss_head is not None
    assert "loss_head" in trained.variables["params"]
    assert trained.predict(archive.images[:0]).shape == (0, 3)


def test_tiles_of_another_size_are_resized_as_in_the_run(tmp_path) -> None:
    chosen = settings(tmp_path / "run", max_labels=8)
    run(chosen)
    trained = aljax.load(chosen.run_dir)
    large = np.repeat(np.repeat(make_archive().images[:3], 2, axis=1), 3, axis=2)
    small = np.stack([resize(tile, 32) for tile in large])
    np.testing.assert_array_equal(trained.predict(large), trained.predict(small))
    assert trained.predict(large[:0]).shape == (0, 3)


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("kind", [">u2", "<u2", "float64", ">f4", "float16"])
def test_type_and_order_of_bytes_change_no_prediction(kind: str, size: int, trained) -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, size, size, 3))
    fractions = (images + 0.25).astype(np.float16)
    expected = trained.predict(fractions.astype(np.float32) if "f" in kind else images.astype(np.uint16))
    found = trained.predict((fractions if "f" in kind else images).astype(kind))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_loaded_model_computes_in_the_precision_of_the_run(tmp_path) -> None:
    chosen = settings(tmp_path / "run", max_labels=8, precision="bfloat16")
    run(chosen)
    assert aljax.load(chosen.run_dir).model.network.dtype == jnp.bfloat16


def test_tiles_that_are_only_wider_are_resized(trained) -> None:
    wide = np.repeat(make_archive().images[:2], 2, axis=2)
    assert trained.tiles(wide).images.shape == (2, 32, 32, 3)


def test_pixels_that_no_file_stores_are_refused(tmp_path) -> None:
    chosen = settings(tmp_path / "run", max_labels=8)
    run(chosen)
    trained = aljax.load(chosen.run_dir)
    images = make_archive().images[:2]
    with pytest.raises(InputError, match="no pixel of the tiles is above 1"):
        trained.predict(images / 255)
    with pytest.raises(InputError, match="give an array"):
        trained.tiles(images[0])
    with pytest.raises(InputError, match="give an array"):
        trained.predict(images[:, :0])
    with pytest.raises(InputError, match="are of type bool"):
        trained.predict(images > 100)


def test_command_predicts_what_the_loaded_model_does(tmp_path, monkeypatch, capsys) -> None:
    chosen = settings(tmp_path / "run", max_labels=8)
    run(chosen)
    images = np.repeat(make_archive().images[:5], 2, axis=1)
    (tmp_path / "tiles" / "deep").mkdir(parents=True)
    for number, pixels in enumerate(images):
        Image.fromarray(pixels).save(tmp_path / "tiles" / "deep" / f"{number}.png")
    arguments = ("--run-dir", chosen.run_dir, "--images", tmp_path / "tiles", "--out")
    assert run_command(monkeypatch, predict.main, *arguments, tmp_path / "p.csv") == 0
    trained = aljax.load(chosen.run_dir)
    header, *rows = [line.split(",") for line in (tmp_path / "p.csv").read_text().splitlines()]
    assert header == ["id", *trained.class_names]
    assert [row[0] for row in rows] == [f"deep/{number}.png" for number in range(5)]
    written = np.array([row[1:] for row in rows], float)
    np.testing.assert_allclose(written, trained.predict(images), atol=6e-5)
    assert run_command(monkeypatch, predict.main, *arguments, tmp_path / "l.csv", "--threshold", 0.5) == 0
    np.testing.assert_array_equal(read_csv(tmp_path / "l.csv").labels, trained.predict(images) > 0.5)
    assert "5 tiles, 3 classes" in capsys.readouterr().out
    assert run_command(monkeypatch, predict.main, *arguments, tmp_path / "none" / "p.csv") == 2
    assert run_command(monkeypatch, predict.main, "--run-dir", tmp_path, "--images", tmp_path / "tiles") == 2
    assert "config.json is not readable" in capsys.readouterr().err


def write_tiles(folder: Path, images: np.ndarray) -> Path:
    for index, pixels in enumerate(images):
        write_geotiff(folder / f"{index}.tif", pixels)
    return folder


@pytest.fixture(scope="module")
def trained_on_uint16(tmp_path_factory) -> Path:
    """The folder of a run on tiles from 0 to 4,000."""
    archive = make_archive()
    chosen = settings(tmp_path_factory.mktemp("uint16") / "run", max_labels=8)
    run(chosen, replace(archive, images=archive.images.astype(np.uint16) * 16))
    return chosen.run_dir


@pytest.mark.parametrize(("dtype", "factor"), [("uint8", 1), ("float32", 100 / 255), ("float32", 1 / 255)])
def test_files_of_another_pixel_type_are_refused_by_name(
    trained_on_uint16, dtype: str, factor: float, tmp_path, monkeypatch, capsys
) -> None:
    tiles = write_tiles(tmp_path / "tiles", (make_archive().images[:3] * factor).astype(dtype))
    for command, out in ((predict.main, "p.csv"), (embed.main, "f.npz")):
        arguments = ("--run-dir", trained_on_uint16, "--images", tiles, "--out", tmp_path / out)
        assert run_command(monkeypatch, command, *arguments) == 2
        error = f"error: the tiles are of type {dtype}, those in training were of uint16: give tiles in the type and "
        assert capsys.readouterr().err.startswith(error)
        assert not (tmp_path / out).exists()


def test_resumed_run_on_another_pixel_type_is_reported_so(trained_on_uint16) -> None:
    with pytest.raises(InputError, match='pixel_type is "uint8" here and "uint16" there'):
        run(settings(trained_on_uint16, max_labels=8))


@pytest.fixture
def older_run(trained_on_uint16, tmp_path) -> Path:
    """The same run as an older version wrote it."""
    shutil.copytree(trained_on_uint16, tmp_path / "older")
    path = tmp_path / "older" / "config.json"
    config = json.loads(path.read_text())
    del config["pixel_type"]
    path.write_text(json.dumps(config))
    return tmp_path / "older"


def test_run_that_does_not_know_its_pixel_type_goes_on_and_predicts(older_run, trained_on_uint16, tmp_path) -> None:
    archive = make_archive()
    images = archive.images.astype(np.uint16) * 16
    run(settings(older_run, max_labels=8), replace(archive, images=images))
    older = aljax.load(older_run)
    files = open_folder(write_tiles(tmp_path / "tiles", images[:3].astype(np.float32)), None, 32).images
    assert older.tiles(files).num_tiles == 3
    np.testing.assert_array_equal(older.predict(images[:3]), aljax.load(trained_on_uint16).predict(images[:3]))


@pytest.mark.parametrize("factor", [1 / 16, 1 / 4000, 10])
def test_pixels_far_from_those_in_training_are_reported_with_both_numbers(older_run, factor: float, tmp_path) -> None:
    images = (make_archive().images[:16] * (16 * factor)).astype(np.float32)
    trained = aljax.load(older_run)
    for given in (images, open_folder(write_tiles(tmp_path / "tiles", images), None, 32).images):
        with pytest.warns(InputWarning, match=r"if the unit is another, convert the tiles") as caught:
            assert trained.tiles(given).num_tiles == 16
        message = str(caught[0].message)
        band, *told = map(float, re.findall(r"-?\d[\d.e+-]*\d|\d", message))
        which = (..., int(band) - 1)
        expected = (images[which].mean(), images[which].std(), *(values[which[1]] for values in trained.statistics))
        np.testing.assert_allclose(told, expected, rtol=1e-3)


def test_low_land_is_predicted_by_a_network_of_hills(trained) -> None:
    hills = replace(trained, pixel_type="float32")
    with pytest.warns(InputWarning, match=r"if the unit is another, convert the tiles; if the land is, expect errors"):
        found = hills.predict(make_archive().images[:4] / 300)  # from 0 to 0.8 m
    assert found.shape == (4, 3)


def test_dark_or_calm_tiles_of_the_same_kind_are_not_reported(trained) -> None:
    images = make_archive().images
    trained.predict(images[:1])
    trained.predict(images[:4] // 4)
    trained.predict(np.full((2, 32, 32, 3), np.rint(trained.statistics.mean), np.uint8))


def test_tiles_that_cannot_be_read_have_rows_that_say_why_beside_the_others(tmp_path, monkeypatch, capsys) -> None:
    chosen = settings(tmp_path / "run", max_labels=8)
    run(chosen)
    images = make_archive().images[:6].copy()
    images[[0, 1, 3]] = 0
    for number, pixels in enumerate(images):
        write_geotiff(tmp_path / "tiles" / f"{number}.tif", pixels, nodata=0 if number in (0, 1) else None)
    cut(tmp_path / "tiles/3.tif")
    (tmp_path / "tiles/5.tif").write_bytes(b"")
    broken, known = {0: "no pixel with data", 1: "no pixel with data", 3: "not readable", 5: "is empty"}, [2, 4]
    trained = aljax.load(chosen.run_dir)
    capsys.readouterr()

    def predicted(out: str, *options: object) -> str:
        arguments = ("--run-dir", chosen.run_dir, "--images", tmp_path / "tiles", "--out", tmp_path / out, *options)
        assert run_command(monkeypatch, predict.main, *arguments) == 0
        said, warning = capsys.readouterr()
        assert "2 tiles, 3 classes" in said
        assert re.match(r"warning: 4 of 6 tiles cannot be read: .*0.tif.*1.tif.*3.tif.*5.tif.*no numbers", warning)
        assert warning.count("\n") == 1 + out.endswith("geojson")  # 5.tif has no place either
        return (tmp_path / out).read_text()

    header, *rows = csv.reader(predicted("p.csv").splitlines())
    assert header == ["id", *trained.class_names, "unreadable"]
    assert [row[0] for row in rows] == [f"{number}.tif" for number in range(6)]
    for number, reason in broken.items():
        assert rows[number][1:4] == [""] * 3
        assert reason in rows[number][4]
    written = np.array([rows[number][1:4] for number in known], float)
    np.testing.assert_allclose(written, trained.predict(images[known]), atol=6e-5)
    assert [rows[number][4] for number in known] == ["", ""]
    predicted("l.csv", "--threshold", 0.5)
    labels = read_csv(tmp_path / "l.csv")
    assert labels.ids == ("2.tif", "4.tif")
    np.testing.assert_array_equal(labels.labels, trained.predict(images[known]) > 0.5)
    outlined = json.loads(predicted("m.geojson"))["features"]
    by_id = {feature["properties"].pop("id"): feature["properties"] for feature in outlined}
    assert {"0.tif", "1.tif", "2.tif", "4.tif"} <= by_id.keys()
    assert by_id["0.tif"]["class0"] is None
    assert "no pixel with data" in by_id["0.tif"]["unreadable"]
    assert by_id["2.tif"].keys() == {*trained.class_names}


def test_folder_of_which_no_tile_can_be_read_is_refused(tmp_path, monkeypatch, capsys, trained) -> None:
    for number in range(2):
        write_geotiff(tmp_path / "tiles" / f"{number}.tif", np.zeros((32, 32, 3), np.uint8), nodata=0)
    monkeypatch.setattr(predict, "load", lambda run_dir, network: trained)
    arguments = ("--run-dir", tmp_path, "--images", tmp_path / "tiles", "--out", tmp_path / "p.csv")
    assert run_command(monkeypatch, predict.main, *arguments) == 2
    assert re.match(r"error: 2 of 2 tiles cannot be read: .*0.tif .*1.tif", capsys.readouterr().err)
    assert not (tmp_path / "p.csv").exists()


def test_run_without_its_checkpoints_is_reported(tmp_path) -> None:
    chosen = settings(tmp_path / "run", max_labels=8)
    run(chosen)
    shutil.rmtree(chosen.run_dir / "checkpoints")
    with pytest.raises(InputError, match="run has no checkpoints beside its history: bring them back"):
        aljax.load(chosen.run_dir)


def test_folder_of_rounds_is_reported_from_a_run(tmp_path) -> None:
    run(settings(tmp_path / "round-2", max_labels=8))
    with pytest.raises(InputError, match=r"holds rounds of annotation: name one of them, such as .*round-2"):
        aljax.load(tmp_path)


def test_run_under_way_gives_the_model_of_its_last_iteration_and_is_left_alone(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run")
    state = run_until_save(chosen, 12, monkeypatch)
    before = {path: path.stat().st_mtime_ns for path in chosen.run_dir.rglob("*")}
    trained = aljax.load(chosen.run_dir)
    assert (state.iteration, trained.iteration, trained.num_labeled) == (2, 1, 8)
    assert {path: path.stat().st_mtime_ns for path in chosen.run_dir.rglob("*")} == before
    assert trained.predict(make_archive().images[:5]).shape == (5, 3)


def test_fitted_model_of_an_unfinished_iteration_is_the_newest(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run")
    state = run_until_save(chosen, 15, monkeypatch)
    trained = aljax.load(chosen.run_dir)
    assert (trained.iteration, trained.num_labeled) == (2, 12)
    for loaded, own in zip(jax.tree.leaves(trained.variables), jax.tree.leaves(state.variables), strict=True):
        np.testing.assert_array_equal(loaded, own)


def test_damaged_model_is_not_used(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run")
    run(chosen)
    bad = newest(chosen.run_dir)
    damage(max(bad.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else -1))
    with pytest.warns(InputWarning, match="is damaged"):
        aljax.load(chosen.run_dir)


def test_what_cannot_be_loaded_is_reported(tmp_path, monkeypatch) -> None:
    with pytest.raises(InputError, match=r"config.json is not readable"):
        aljax.load(tmp_path)
    chosen = settings(tmp_path / "run")
    run_until_save(chosen, 1, monkeypatch)
    with pytest.raises(InputError, match="no fitted model yet"):
        aljax.load(chosen.run_dir)
    run(chosen)
    with pytest.raises(InputError, match="the tiles have 4 bands, those in training had 3"):
        aljax.load(chosen.run_dir).predict(np.zeros((2, 32, 32, 4), np.uint8))
