"""Prepared archives hold what the files hold, tile for tile, and come into being whole or not at all."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from archives_on_disk import write_treesatai, write_ucmerced, zip_treesatai, zip_ucmerced
from run_command import run

import aljax.data.archives.builders  # registers the archives
from aljax.commands import prepare
from aljax.data.archive import Archive
from aljax.data.archives.listing import Listing
from aljax.data.archives.prepared import prepared_dir
from aljax.data.archives.treesatai import list_treesatai, open_treesatai
from aljax.data.archives.ucmerced import list_ucmerced, open_ucmerced
from aljax.data.tiles.images import stream
from aljax.errors import InputError

WRITE = {"ucmerced": write_ucmerced, "treesatai": write_treesatai}
ZIP = {"ucmerced": zip_ucmerced, "treesatai": zip_treesatai}
LIST: dict[str, Callable[[Path], Listing]] = {"ucmerced": list_ucmerced, "treesatai": list_treesatai}
DATASETS = {name: known.dataset for name, known in prepare.ARCHIVES.items()}


@pytest.fixture(autouse=True)
def no_network(monkeypatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise AssertionError(f"a connection to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """The archives as downloaded."""
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITE.items()}


@pytest.fixture(scope="module")
def data_dir(files, tmp_path_factory) -> Path:
    """Both archives prepared in one folder, as aljax prepare does."""
    folder = tmp_path_factory.mktemp("prepared")
    for name, source in files.items():
        prepare.prepare(name, folder, source)
    return folder


def open_archive(name: str, folder: Path, size: int = 48) -> Archive:
    return open_ucmerced(folder, size) if name == "ucmerced" else open_treesatai(folder, size, 0)


def assert_same(one: Archive, other: Archive) -> None:
    assert (one.ids, one.class_names, one.name, one.digest) == (other.ids, other.class_names, other.name, other.digest)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert one.images.shape == other.images.shape
    for index in range(len(one.ids)):
        np.testing.assert_array_equal(one.images[index], other.images[index])
    for part, same in zip(one.split or (), other.split or (), strict=True):
        np.testing.assert_array_equal(part, same)
    assert one.fingerprint() == other.fingerprint()


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("name", WRITE)
def test_prepared_archive_is_the_archive_of_the_files(name: str, files, data_dir: Path) -> None:
    assert prepared_dir(data_dir, DATASETS[name]).is_dir()
    assert_same(open_archive(name, data_dir), open_archive(name, files[name]))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", WRITE)
def test_records_hold_the_bytes_of_the_files_with_id_and_labels(name: str, zipped: bool, files, tmp_path: Path) -> None:
    source = ZIP[name](files[name], tmp_path / "zips") if zipped else files[name]
    builder = tfds.builder(DATASETS[name], data_dir=tmp_path / "data", file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=source))
    listing = LIST[name](files[name])
    again = tfds.builder_from_directory(prepared_dir(tmp_path / "data", DATASETS[name]))
    records = [record for part in listing.parts for record in again.as_data_source(split=part)]
    assert [record["id"].decode() for record in records] == list(listing.ids)
    tiles = {path.stem if name == "ucmerced" else path.name: path for path in files[name].rglob("*.tif")}
    for record, row in zip(records, listing.labels, strict=True):
        assert record["image"] == tiles[record["id"].decode()].read_bytes()
        np.testing.assert_array_equal(record["labels"], row)
    assert {part: info.num_examples for part, info in again.info.splits.items()} == dict(listing.parts)


def test_threads_read_the_right_records(data_dir: Path) -> None:
    archive = open_archive("treesatai", data_dir, 32)
    rows = np.random.default_rng(0).integers(0, len(archive.ids), 400)
    whole = np.stack([archive.images[index] for index in range(len(archive.ids))])
    batches = list(stream(open_archive("treesatai", data_dir, 32).images, rows, 20))
    np.testing.assert_array_equal(np.concatenate(batches), whole[rows])


def test_tensorflow_is_never_imported(files, tmp_path: Path) -> None:
    # A stand-in that gives itself away: it would be imported wherever the real one is.
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("print('imported'); raise ImportError('a stand-in')")
    script = """if True:
        import sys
        from pathlib import Path
        from aljax.data.archives.treesatai import open_treesatai
        from aljax.commands.prepare import prepare
        prepare("treesatai", Path(sys.argv[1]), Path(sys.argv[2]))
        archive = open_treesatai(Path(sys.argv[1]), 32, 0)
        print(sum(archive.images[index].size for index in range(len(archive.ids))))
        print("tensorflow" in sys.modules)
        try:
            import tensorflow
        except ImportError as error:
            print(error)"""
    line = [sys.executable, "-c", script, str(tmp_path / "data"), str(files["treesatai"])]
    search = os.pathsep.join([str(tmp_path), str(Path(prepare.__file__).parents[1])])
    out = subprocess.check_output(line, text=True, env={**os.environ, "PYTHONPATH": search}).splitlines()
    assert out[-4:] == [str(24 * 32 * 32 * 4), "False", "imported", "a stand-in"]
    assert out.count("imported") == 1


def test_killed_preparation_is_repeated_without_leftovers(files, data_dir: Path, tmp_path: Path) -> None:
    source, folder = shutil.copytree(files["treesatai"], tmp_path / "files"), tmp_path / "data"
    tile = source / "aerial/60m" / list_treesatai(source).ids[-1]
    content = tile.read_bytes()
    tile.unlink()
    os.mkfifo(tile)  # the last tile never comes
    line = [sys.executable, "-m", "aljax", "prepare", "treesatai", "--out", folder, "--manual-dir", source]
    with subprocess.Popen(line, cwd=Path(prepare.__file__).parents[1]) as process:
        pipe, deadline = None, time.monotonic() + 60
        while pipe is None and time.monotonic() < deadline:
            try:
                pipe = os.open(tile, os.O_WRONLY | os.O_NONBLOCK)  # once somebody reads
            except OSError:
                time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert pipe is not None
    os.close(pipe)
    assert process.returncode == -signal.SIGKILL
    assert list((folder / "treesatai").glob("incomplete.*"))
    assert not prepared_dir(folder, "treesatai").exists()

    tile.unlink()
    tile.write_bytes(content)
    prepare.prepare("treesatai", folder, source)
    assert_same(open_archive("treesatai", folder), open_archive("treesatai", data_dir))
    assert names_below(folder / "treesatai") == names_below(data_dir / "treesatai")
    assert sorted(path.name for path in folder.iterdir()) == ["treesatai"]


def test_large_archive_is_written_in_several_files_without_tensorflow(files, tmp_path: Path, monkeypatch) -> None:
    # What a builder of another kind would keep in memory, before it asks TensorFlow to write.
    monkeypatch.setattr("tensorflow_datasets.core.shuffle.MAX_MEM_BUFFER_SIZE", 1000)
    shard_bytes = 3 * list_treesatai(files["treesatai"]).total_bytes // 60
    monkeypatch.setattr(aljax.data.archives.builders, "SHARD_BYTES", shard_bytes)
    prepare.prepare("treesatai", tmp_path, files["treesatai"])
    assert len(list(prepared_dir(tmp_path, DATASETS["treesatai"]).glob("*train.array_record*"))) > 3
    whole, parts = open_archive("treesatai", files["treesatai"]), open_archive("treesatai", tmp_path)
    assert parts.fingerprint() == whole.fingerprint()
    np.testing.assert_array_equal(np.stack(list(parts.images)), np.stack(list(whole.images)))


def test_full_disk_is_one_line(files, tmp_path: Path, monkeypatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("Failed to finalize writing of split 'train': write() failed: No space left on device")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(InputError, match=r"cannot write to --out .* \(No space left on device\)"):
        prepare.prepare("treesatai", tmp_path, files["treesatai"])


def test_preparing_twice_says_that_it_is_prepared(files, tmp_path: Path, monkeypatch, capsys) -> None:
    arguments = ["ucmerced", "--out", tmp_path / "data", "--manual-dir", files["ucmerced"]]
    assert run(monkeypatch, prepare.main, *arguments) == 0
    first = capsys.readouterr().out
    (table,) = (tmp_path / "data").rglob("metadata.json")
    written = table.stat().st_mtime_ns
    assert run(monkeypatch, prepare.main, *arguments) == 0
    second = capsys.readouterr().out
    assert second == f"ucmerced is prepared already\n{first}"
    assert table.stat().st_mtime_ns == written
    cells = [line.split() for line in first.splitlines()]
    assert cells[1:3] == [["tiles", "6", "2,100", "differs"], ["classes", "17", "17"]]
    assert cells[3][:2] == ["prepared:", str(tmp_path / "data" / "ucmerced_multilabel" / "1.0.0")]


def test_stopping_leaves_nothing_half_and_says_how_to_go_on(files, tmp_path: Path, monkeypatch, capsys) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(aljax.data.archives.builders, "decode", stop)
    arguments = ["treesatai", "--out", tmp_path / "data", "--manual-dir", files["treesatai"]]
    assert run(monkeypatch, prepare.main, *arguments) == 130
    assert capsys.readouterr().err.endswith(
        "stopped; the same command starts again, with the files that were downloaded\n"
    )
    assert names_below(tmp_path / "data") == []


def test_help_explains_every_setting(monkeypatch, capsys) -> None:
    assert run(monkeypatch, prepare.main, "--help") == 0
    text = capsys.readouterr().out
    for words in (
        "{ucmerced,treesatai}",
        "which archive",
        "--out PATH",
        "--manual-dir",
        "folder of the publisher",
    ):
        assert words in text


@pytest.mark.archive
def test_real_archive_is_the_same_prepared(ucmerced_dir: Path, tmp_path: Path) -> None:
    prepare.prepare("ucmerced", tmp_path, ucmerced_dir)
    assert_same(open_archive("ucmerced", tmp_path, 256), open_archive("ucmerced", ucmerced_dir, 256))


def test_too_few_tiles_for_a_split_are_reported_before_they_are_prepared(tmp_path: Path) -> None:
    write_treesatai(tmp_path / "files", tiles=4)
    with pytest.raises(InputError, match="3 tiles for training and 1 for the test are too few for a split: add tiles"):
        prepare.prepare("treesatai", tmp_path / "data", tmp_path / "files")
    assert not prepared_dir(tmp_path / "data", DATASETS["treesatai"]).exists()
