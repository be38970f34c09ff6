"""Features that `aljax embed` writes: those of the network, in every format, the same after a kill."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from killed_passes import kill_after
from run_command import run as run_command
from small_runs import KilledError, run, settings
from tiles_on_disk import cut, write_geotiff, write_png
from tiny import make_archive, tiny_network

import aljax
from aljax.commands import convert_weights, embed
from aljax.data.archive import Split, Tiles, split_tiles
from aljax.data.archives.folder import open_folder
from aljax.data.features import open_features, read_features, unfinished
from aljax.data.features.numpy_files import ids_beside
from aljax.data.features.unfinished import Unfinished
from aljax.errors import InputError
from aljax.networks.head import Head
from aljax.training import prediction
from aljax.training.prediction import predict_batches

COUNT, BATCH = 11, 4


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with tiles, a run, and its weights."""
    folder = tmp_path_factory.mktemp("embed")
    run(settings(folder / "run", max_labels=8))
    for index, pixels in enumerate(make_archive(COUNT).images):
        write_png(folder / "tiles" / f"part{index % 2}" / f"{index}.png", pixels)
    with pytest.MonkeyPatch.context() as patch:
        assert run_command(patch, convert_weights.main, folder / "run", "--out", folder / "w.safetensors") == 0
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    monkeypatch.setattr(embed, "DenseNet121", tiny_network)
    monkeypatch.setattr(Tiles, "at_once", property(lambda tiles: BATCH))
    monkeypatch.setattr(unfinished, "SECONDS_BETWEEN_SAVES", 0.0)


def by_run(made: Path, out: Path) -> tuple[object, ...]:
    return "--images", made / "tiles", "--run-dir", made / "run", "--out", out


def by_weights(made: Path, out: Path) -> tuple[object, ...]:
    return "--images", made / "tiles", "--init-weights", made / "w.safetensors", "--image-size", 32, "--out", out


def embeddings(model, variables, tiles: Tiles) -> np.ndarray:
    found = np.zeros((tiles.num_tiles, variables["params"]["network"]["head"]["kernel"].shape[0]), np.float32)
    for rows, batch in predict_batches(model, variables, tiles, np.arange(tiles.num_tiles), BATCH):
        found[rows] = batch.embeddings
    return found


@pytest.mark.parametrize("store", ["float32", "float16"])
@pytest.mark.parametrize("suffix", [".parquet", ".npz", ".npy"])
def test_each_format_reads_back_as_the_embeddings_of_the_run(suffix, store, made, monkeypatch, tmp_path, capsys):
    out = tmp_path / f"f{suffix}"
    assert run_command(monkeypatch, embed.main, *by_run(made, out), "--store", store) == 0
    trained = aljax.load(made / "run")
    archive = open_folder(made / "tiles", None, trained.image_size)
    expected = embeddings(trained.model, trained.variables, trained.tiles(archive.images)).astype(store)
    found = open_features(out, None)
    assert found.ids == archive.ids
    assert found.ids[0] == "part0/0.png"
    assert found.images.dtype == store
    np.testing.assert_array_equal(np.asarray(found.images)[:, 0, 0], expected)
    first, *others = capsys.readouterr().out.splitlines()
    assert f"{COUNT} tiles, {expected.shape[1]} features each in {store}, by the network of" in first
    assert others == [
        f"to use them: aljax annotate --images {made / 'tiles'} --features {out} --classes A,B,C --run-dir RUN",
        f"or, where labels are known: aljax run --features {out} --labels LABELS.csv --run-dir RUN",
    ]
    assert set(tmp_path.iterdir()) == {out} | ({ids_beside(out)} if suffix == ".npy" else set())


def test_weights_see_tiles_standardised_by_their_own_bands(made, monkeypatch, tmp_path, capsys) -> None:
    out = tmp_path / "f.parquet"
    assert run_command(monkeypatch, embed.main, *by_weights(made, out)) == 0
    trained = aljax.load(made / "run")  # the weights are its own
    archive = open_folder(made / "tiles", None, 32)
    tiles = split_tiles(archive, Split(np.arange(COUNT), np.arange(0), np.arange(0)), seed=0).pool
    np.testing.assert_allclose(tiles.statistics.mean, make_archive(COUNT).images.mean((0, 1, 2)), rtol=1e-6)
    found = read_features(out)
    np.testing.assert_array_equal(found.vectors, embeddings(trained.model, trained.variables, tiles))
    assert pq.read_table(out).column_names == ["id", "embedding"]
    assert "by DenseNet121 with the weights" in capsys.readouterr().out


def test_size_is_that_of_imagenet_unless_reported(made, monkeypatch, tmp_path) -> None:
    sizes = []

    def note(images_dir: Path, labels: None, size: int, lenient: bool):
        sizes.append(size)
        return open_folder(images_dir, labels, 32, lenient=lenient)

    monkeypatch.setattr(embed, "open_folder", note)
    arguments = [argument for argument in by_weights(made, tmp_path / "f.npz") if argument not in ("--image-size", 32)]
    assert run_command(monkeypatch, embed.main, *arguments) == 0
    assert sizes == [224]


@pytest.mark.parametrize("by", [by_run, by_weights])
def test_tiles_that_cannot_be_read_are_named_at_once_and_left_out(by, made, monkeypatch, tmp_path, capsys) -> None:
    assert run_command(monkeypatch, embed.main, *by(made, tmp_path / "whole.npz")) == 0
    shutil.copytree(made / "tiles", tmp_path / "tiles")
    (tmp_path / "tiles/part0/0.png").write_bytes(b"")
    cut(tmp_path / "tiles/part1/3.png")
    capsys.readouterr()
    out = tmp_path / "f.npz"
    assert run_command(monkeypatch, embed.main, "--images", tmp_path / "tiles", *by(made, out)[2:]) == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert re.match(
        r"warning: 2 of 11 tiles cannot be read: .*part0/0.png is empty .*part1/3.png is not readable .*left out",
        warning,
    )
    whole, found = open_features(tmp_path / "whole.npz", None), open_features(out, None)
    assert found.ids == tuple(tile for tile in whole.ids if tile not in ("part0/0.png", "part1/3.png"))
    if by is by_run:
        kept = [whole.ids.index(tile) for tile in found.ids]
        np.testing.assert_allclose(found.images, np.asarray(whole.images)[kept], atol=1e-5)


@pytest.mark.parametrize(
    "about",
    [
        {"done": -4},
        {"done": 99},
        {"done": 3},
        {"done": "4"},
        {"batch_size": 0},
        {"made_of": 5},
        {"made_of": "text"},
        None,
    ],
)
def test_side_file_that_somebody_edited_is_refused(about, tmp_path) -> None:
    out = tmp_path / "f.npy"
    with Unfinished(out, {"tiles": "a"}, 11, 2, BATCH) as unfinished:
        unfinished.append(np.zeros((4, 2), np.float32))
    path = tmp_path / "f.npy.part.json"
    path.write_text("[1, 2]" if about is None else json.dumps({**json.loads(path.read_text()), **about}))
    with pytest.raises(InputError, match=r"f.npy.part.json is damaged .*: name another --out, or remove"):
        Unfinished(out, {"tiles": "a"}, 11, 2, BATCH)


@pytest.mark.parametrize(("appends", "is_saved"), [(1, True), (2, True), (2, False), (3, True)])
@pytest.mark.parametrize("arguments", [by_run, by_weights])
@pytest.mark.parametrize("suffix", [".parquet", ".npz", ".npy"])
def test_killed_and_repeated_gives_the_same_bytes(suffix, arguments, appends, is_saved, made, monkeypatch, tmp_path):
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"f{suffix}"
    assert run_command(monkeypatch, embed.main, *arguments(made, whole)) == 0
    kill_after(appends, is_saved, monkeypatch, embed.main, arguments(made, out))
    assert not out.exists()
    done = json.loads((tmp_path / f"f{suffix}.part.json").read_text())["done"]
    assert done == (min(appends * BATCH, COUNT) if is_saved else 0)
    made_again: list[int] = []
    append = Unfinished.append
    monkeypatch.setattr(Unfinished, "append", lambda self, rows: (made_again.append(len(rows)), append(self, rows)))
    monkeypatch.setattr(Tiles, "at_once", property(lambda tiles: 3))  # on a machine with other cores
    assert run_command(monkeypatch, embed.main, *arguments(made, out)) == 0
    assert sum(made_again) == COUNT - done
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.part*"))


SCRIPT = """
import os, sys
from aljax.commands import embed
from aljax.commands.process import command
from aljax.data.archive import Tiles
from aljax.data.features import unfinished
Tiles.at_once = property(lambda tiles: 4)
unfinished.SECONDS_BETWEEN_SAVES = 0.0
append = unfinished.Unfinished.append
def append_and_stop(self, rows):
    append(self, rows)
    if self.done == 8:
        os.kill(os.getpid(), number)
unfinished.Unfinished.append = append_and_stop
_, number, *arguments = sys.argv
number = int(number)
sys.argv = ["aljax embed", *arguments]
command(embed.main)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_process_that_was_stopped_is_gone_on_with(number, status, made, monkeypatch, tmp_path) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "f.parquet"
    command = [sys.executable, "-c", SCRIPT, str(int(number)), *map(str, by_run(made, out))]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == status, result.stderr
    assert not out.exists()
    assert json.loads((tmp_path / "f.parquet.part.json").read_text())["done"] == 8
    if number == signal.SIGTERM:
        assert "stopped by SIGTERM; saved. To go on from here:" in result.stderr
    assert run_command(monkeypatch, embed.main, *by_run(made, out)) == 0
    assert run_command(monkeypatch, embed.main, *by_run(made, whole)) == 0
    assert out.read_bytes() == whole.read_bytes()


def test_command_that_was_killed_while_it_wrote_the_file_writes_it_again(made, monkeypatch, tmp_path) -> None:
    whole, out = tmp_path / "whole.npz", tmp_path / "f.npz"
    assert run_command(monkeypatch, embed.main, *by_run(made, whole)) == 0

    def die(self: Unfinished) -> None:
        raise KilledError

    for name in ("rows", "remove"):
        with monkeypatch.context() as patch:
            patch.setattr(Unfinished, name, die)
            with pytest.raises(KilledError):
                run_command(patch, embed.main, *by_run(made, out))
    assert run_command(monkeypatch, embed.main, *by_run(made, out)) == 0
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.part*"))


def test_other_tiles_weights_or_size_are_not_mixed(made, monkeypatch, tmp_path, capsys) -> None:
    out = tmp_path / "f.parquet"
    kill_after(1, True, monkeypatch, embed.main, by_weights(made, out))
    before = (tmp_path / "f.parquet.part").read_bytes()
    run(settings(tmp_path / "other", max_labels=8, seed=1))
    assert run_command(monkeypatch, convert_weights.main, tmp_path / "other", "--out", tmp_path / "o.safetensors") == 0
    for index, pixels in enumerate(make_archive(COUNT, seed=1).images):
        write_png(tmp_path / "tiles" / f"part{index % 2}" / f"{index}.png", pixels)
    capsys.readouterr()
    for flag, value, what in (
        ("--init-weights", tmp_path / "o.safetensors", "weights"),
        ("--image-size", 64, "normalisation and other image size"),
        ("--images", tmp_path / "tiles", "tiles and other normalisation"),
    ):
        arguments = list(by_weights(made, out))
        arguments[arguments.index(flag) + 1] = value
        assert run_command(monkeypatch, embed.main, *arguments) == 2
        error = capsys.readouterr().err
        assert f"f.parquet.part was begun with other {what}: name another --out, or remove" in error
        assert error.count("\n") == 1
    assert (tmp_path / "f.parquet.part").read_bytes() == before
    assert run_command(monkeypatch, embed.main, *by_weights(made, out)) == 0


@pytest.mark.parametrize(
    ("part", "about", "message"),
    [
        (b"x", None, "f.npz.part is there without f.npz.part.json: name another --out, or remove"),
        (b"x", "{", "f.npz.part.json is damaged"),
        (b"x", "[]", "f.npz.part.json is damaged"),
    ],
)
def test_part_that_is_damaged_or_somebody_elses_is_left_alone(
    part, about, message, made, monkeypatch, tmp_path, capsys
):
    (tmp_path / "f.npz.part").write_bytes(part)
    if about is not None:
        (tmp_path / "f.npz.part.json").write_text(about)
    assert run_command(monkeypatch, embed.main, *by_run(made, tmp_path / "f.npz")) == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "f.npz.part").read_bytes() == part


def test_part_that_was_cut_is_refused(made, monkeypatch, tmp_path, capsys) -> None:
    kill_after(2, True, monkeypatch, embed.main, by_run(made, tmp_path / "f.npz"))
    os.truncate(tmp_path / "f.npz.part", 5)
    assert run_command(monkeypatch, embed.main, *by_run(made, tmp_path / "f.npz")) == 2
    assert "has fewer than the 8 rows that were made" in capsys.readouterr().err


def test_two_processes_do_not_write_one_file(tmp_path) -> None:
    with Unfinished(tmp_path / "f.npy", {}, 4, 2, 2), pytest.raises(InputError, match="another process"):
        Unfinished(tmp_path / "f.npy", {}, 4, 2, 2)


def test_overflow_of_half_precision_is_refused_and_float32_goes_on(made, monkeypatch, tmp_path, capsys) -> None:
    out = tmp_path / "f.npz"

    def larger(*arguments: object):
        for rows, batch in predict_batches(*arguments):
            yield rows, batch._replace(embeddings=np.where(rows[:, None] == 6, 7e4, batch.embeddings))

    monkeypatch.setattr(prediction, "predict_batches", larger)
    assert run_command(monkeypatch, embed.main, *by_run(made, out), "--store", "float16") == 2
    ids = open_folder(made / "tiles", None, 32).ids
    message = f"error: tile {ids[6]} has a feature of 70000, and float16 ends at 65504: use --store float32"
    assert capsys.readouterr().err.startswith(message)
    assert json.loads((tmp_path / "f.npz.part.json").read_text())["done"] == 4
    kill_after(1, True, monkeypatch, embed.main, by_run(made, out))
    # What was made for float32 is looked at, too.
    assert run_command(monkeypatch, embed.main, *by_run(made, out), "--store", "float16") == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
    assert run_command(monkeypatch, embed.main, *by_run(made, out)) == 0
    assert read_features(out).vectors[6, 0] == 7e4


def test_embedding_that_is_not_finite_names_the_tile(made, monkeypatch, tmp_path, capsys) -> None:
    def broken(*arguments: object):
        for rows, batch in predict_batches(*arguments):
            yield rows, batch._replace(embeddings=np.where(rows[:, None] == 1, np.nan, batch.embeddings))

    monkeypatch.setattr(prediction, "predict_batches", broken)
    assert run_command(monkeypatch, embed.main, *by_run(made, tmp_path / "f.npz")) == 2
    assert "the network gives tile part0/10.png features that are not finite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--run-dir": None}, "give either --run-dir, a run whose network is taken, or --init-weights, a file of"),
        ({"--init-weights": "w.safetensors"}, "give either --run-dir"),
        ({"--out": "f.csv"}, r"--out .*f.csv does not end in .parquet, .npy or .npz: name such a file"),
        ({"--out": "none/f.npz"}, "--out .* is in a folder that is not there"),
        ({"--images": "none"}, "none is not a folder: give the one that holds the tiles"),
        ({"--image-size": "64"}, "--image-size is for --init-weights, and the network of a --run-dir has its own"),
        ({"--run-dir": None, "--init-weights": "w.safetensors", "--image-size": "31"}, "--image-size is 31: it must"),
        ({"--run-dir": None, "--init-weights": "none"}, "cannot read the weights"),
        ({"--run-dir": "tiles"}, "config.json is not readable"),
        (
            {"--run-dir": None, "--init-weights": "w.safetensors", "--images": "grey"},
            "--init-weights .* is for 3 bands",
        ),
    ],
)
def test_bad_input_is_one_line(changes, message, made, monkeypatch, tmp_path, capsys) -> None:
    write_geotiff(made / "grey" / "0.tif", make_archive(1).images[0, :, :, :1])
    options: dict[str, object] = {"--images": made / "tiles", "--run-dir": made / "run", "--out": tmp_path / "f.npz"}
    for flag, value in changes.items():
        folder = tmp_path if flag == "--out" else made
        options[flag] = value if value is None or flag == "--image-size" else folder / value
    arguments = [part for flag, value in options.items() if value is not None for part in (flag, value)]
    assert run_command(monkeypatch, embed.main, *arguments) == 2
    error = capsys.readouterr().err
    assert re.match(f"error: .*{message}", error)
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("f.*"))


def test_run_on_features_has_no_network_for_tiles(made, monkeypatch, tmp_path, capsys) -> None:
    trained = aljax.load(made / "run")
    head = replace(trained, model=replace(trained.model, network=Head(3)))
    monkeypatch.setattr(embed, "load", lambda run_dir: head)
    assert run_command(monkeypatch, embed.main, *by_run(made, tmp_path / "f.npz")) == 2
    assert "is a run on features, whose network saw no tiles" in capsys.readouterr().err


def test_help_says_how_features_are_used(monkeypatch, capsys) -> None:
    assert run_command(monkeypatch, embed.main, "--help") == 0
    text = capsys.readouterr().out
    for part in ("aljax embed --images DIR", "--run-dir", "--init-weights", "--image-size", "--store", "goes on"):
        assert part in text
