"""Tiles from memory, from a cache and from disk are the same tiles, and a run on them is the same run."""

import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiles_on_disk import on_disk, pixels, write_geotiff
from tiny import make_archive, tiny_network

from aljax.data import storage
from aljax.data.archive import random_split
from aljax.data.archives.folder import open_folder
from aljax.data.storage import default_cache_dir, keep_tiles
from aljax.data.tiles import files
from aljax.data.tiles.images import EncodedImages, load, stream
from aljax.errors import InputError
from aljax.loop.history import TIMES
from aljax.loop.settings import Settings
from aljax.runs.experiment import run_experiment
from aljax.system import machine
from aljax.training.recipe import Recipe
from aljax.xla.programs import programs_dir


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(37):
        write_geotiff(tmp_path / "tiles" / f"{number:02d}.tif", pixels(4, seed=number, size=20))
    return tmp_path / "tiles"


def expected(folder: Path) -> np.ndarray:
    archive = open_folder(folder, None, 16)
    return np.stack([archive.images[index] for index in range(37)])


@pytest.mark.parametrize("tiles_in", ["auto", "memory", "cache", "disk"])
def test_tiles_and_fingerprint_are_the_same_wherever_they_are_kept(folder: Path, tmp_path: Path, tiles_in) -> None:
    archive = open_folder(folder, None, 16)
    kept = keep_tiles(archive, tiles_in, tmp_path / "cache")
    assert kept.images.shape == (37, 16, 16, 4)
    np.testing.assert_array_equal(np.stack([kept.images[index] for index in range(37)]), expected(folder))
    assert kept.fingerprint() == archive.fingerprint()
    kinds = {"auto": np.ndarray, "memory": np.ndarray, "cache": np.memmap, "disk": EncodedImages}
    assert type(kept.images) is kinds[tiles_in]


def test_large_archive_stays_on_disk_unless_asked_otherwise(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(storage, "usable_memory", lambda: 4 * 37 * 16 * 16 * 4 - 1)
    archive = open_folder(folder, None, 16)
    assert keep_tiles(archive, "auto") is archive
    assert isinstance(keep_tiles(archive, "memory").images, np.ndarray)


@pytest.mark.parametrize("tiles_in", ["memory", "cache", "disk"])
def test_stream_gives_the_rows_asked_for_in_their_order(folder: Path, tmp_path: Path, tiles_in) -> None:
    images = keep_tiles(open_folder(folder, None, 16), tiles_in, tmp_path / "cache").images
    rows = np.random.default_rng(0).integers(0, 37, 60)
    batches = list(stream(images, rows, 12))
    assert [batch.shape for batch in batches] == [(12, 16, 16, 4)] * 5
    np.testing.assert_array_equal(np.concatenate(batches), expected(folder)[rows])
    assert not list(stream(images, rows[:0], 12))


def test_reading_ahead_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    reads: list[int] = []

    class Counted:
        shape, dtype = (10_000, 2, 2, 1), np.dtype("uint8")

        def __getitem__(self, index: int, /) -> np.ndarray:
            reads.append(index)
            return np.zeros((2, 2, 1), np.uint8)

    batches = stream(Counted(), np.arange(10_000), 10)
    next(batches)
    time.sleep(0.3)
    assert 10 <= len(reads) <= 10 * 8
    del batches


def test_threads_end_with_the_stream(folder: Path) -> None:
    images = open_folder(folder, None, 16).images
    before = threading.active_count()
    batches = stream(images, np.arange(36), 4)
    next(batches)
    del batches
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() <= before


@pytest.mark.parametrize("tiles_in", ["memory", "cache"])
def test_tile_that_cannot_be_decoded_is_named_and_leaves_no_cache(folder: Path, tmp_path: Path, tiles_in) -> None:
    archive = open_folder(folder, None, 16)
    whole = (folder / "30.tif").read_bytes()
    (folder / "30.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"30\.tif is not readable") as caught:
        keep_tiles(archive, tiles_in, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("cache/*"))
    assert not list(tmp_path.glob("cache/.*"))


def test_cache_is_decoded_once(folder: Path, tmp_path: Path) -> None:
    archive = open_folder(folder, None, 16)
    first = keep_tiles(archive, "cache", tmp_path / "cache").images
    shutil.rmtree(folder)
    np.testing.assert_array_equal(keep_tiles(archive, "cache", tmp_path / "cache").images, first)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_processes_that_begin_together_decode_into_the_cache_once(folder: Path, tmp_path: Path, monkeypatch) -> None:
    archive = open_folder(folder, None, 16)
    writes: list[Path] = []
    write = storage._write

    def write_slowly(images, path: Path) -> None:
        writes.append(path)
        time.sleep(0.2)
        write(images, path)

    monkeypatch.setattr(storage, "_write", write_slowly)
    with ThreadPoolExecutor() as threads:
        kept = list(threads.map(lambda _: keep_tiles(archive, "cache", tmp_path / "cache"), range(3)))
    assert len(writes) == 1
    for one in kept:
        np.testing.assert_array_equal(one.images, expected(folder))


def test_other_size_or_other_tiles_get_a_cache_of_their_own(folder: Path, tmp_path: Path) -> None:
    for size in (16, 8):
        assert keep_tiles(open_folder(folder, None, size), "cache", tmp_path / "cache").images.shape[1] == size
    write_geotiff(folder / "00.tif", pixels(4, seed=99, size=20))
    changed = open_folder(folder, None, 16)
    np.testing.assert_array_equal(keep_tiles(changed, "cache", tmp_path / "cache").images[0], changed.images[0])
    assert len(list((tmp_path / "cache").iterdir())) == 3


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00", b"not an array at all"])
def test_damaged_cache_is_refused_by_name(folder: Path, tmp_path: Path, damage: bytes) -> None:
    archive = open_folder(folder, None, 16)
    keep_tiles(archive, "cache", tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(damage)
    with pytest.raises(InputError, match=rf"{path.name} is not a sound cache of tiles .*: delete it"):
        keep_tiles(archive, "cache", tmp_path / "cache")


def test_truncated_cache_is_refused(folder: Path, tmp_path: Path) -> None:
    archive = open_folder(folder, None, 16)
    keep_tiles(archive, "cache", tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is not a sound cache"):
        keep_tiles(archive, "cache", tmp_path / "cache")


def test_cache_without_room_is_refused_before_anything_is_written(folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    with pytest.raises(InputError, match=r"needs 0\.1 GiB and .* has 0\.0 GiB free: choose another --cache-dir"):
        keep_tiles(open_folder(folder, None, 16), "cache", tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_cache_in_a_place_that_cannot_be_written_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write the cache .*: choose another --cache-dir"):
        keep_tiles(open_folder(folder, None, 16), "cache", tmp_path / "file" / "cache")


def test_interrupted_cache_leaves_nothing(folder: Path, tmp_path: Path, monkeypatch) -> None:
    def interrupted(*arguments):
        yield np.zeros((16, 16, 16, 4), np.uint8)
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "in_order", interrupted)
    with pytest.raises(KeyboardInterrupt):
        keep_tiles(open_folder(folder, None, 16), "cache", tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_run_from_disk_or_cache_writes_the_bytes_of_a_run_from_memory(tmp_path: Path) -> None:
    archive = on_disk(make_archive(), tmp_path / "tiles")
    split = random_split(0, 60, 10, 10)
    written = []
    for tiles_in in ("memory", "cache", "disk"):
        settings = Settings(
            run_dir=tmp_path / tiles_in,
            trials=1,
            initial=8,
            budget=4,
            max_labels=16,
            image_size=32,
            query="tpd",
            recipe=Recipe(epochs=2, batch_size=4),
        )
        kept = keep_tiles(archive, tiles_in, tmp_path / "decoded")
        run_experiment(settings, kept, split, tiny_network())
        lines = [json.loads(line) for line in (settings.run_dir / "history.jsonl").read_text().splitlines()]
        written.append([{name: value for name, value in line.items() if name not in TIMES} for line in lines])
        assert (settings.run_dir / "config.json").read_bytes() == (tmp_path / "memory" / "config.json").read_bytes()
    assert written[0] == written[1] == written[2]
    assert len(written[0]) == 3


def test_load_gives_all_tiles(folder: Path) -> None:
    np.testing.assert_array_equal(load(open_folder(folder, None, 16).images), expected(folder))


def test_tile_that_changes_beside_a_sample_is_not_taken_from_the_cache(folder: Path, tmp_path, monkeypatch) -> None:
    # In a large archive only some tiles are hashed.
    monkeypatch.setattr(files, "HASHED_BYTES", 100)
    before = keep_tiles(open_folder(folder, None, 16), "cache", tmp_path / "cache")
    changed = pixels(4, seed=99, size=20)
    size = (folder / "05.tif").stat().st_size
    write_geotiff(folder / "05.tif", changed)
    assert (folder / "05.tif").stat().st_size == size
    after = keep_tiles(open_folder(folder, None, 16), "cache", tmp_path / "cache")
    assert np.any(after.images[5] != before.images[5])
    np.testing.assert_array_equal(np.asarray(after.images), expected(folder))


def test_memory_is_a_share_of_that_of_the_control_group(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "own").write_text("1:name=systemd:/x\n0::/slurm/job\n4:cpu,memory:/old/job\n")
    for path, limit in (
        ("slurm/memory.max", "16000000000"),
        ("slurm/job/memory.max", "max"),
        ("memory/old/memory.limit_in_bytes", "8000000000"),
        ("elsewhere/memory.max", "1"),
    ):
        (tmp_path / "group" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "group" / path).write_text(limit + "\n")
    assert sorted(machine._limits_of_group(tmp_path / "group", tmp_path / "own")) == [8 * 10**9, 16 * 10**9]
    whole = machine.usable_memory()
    assert 0 < whole <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setenv("ALJAX_SIDE_BY_SIDE", "4")
    assert machine.usable_memory() == whole // 4


def test_user_without_a_home_is_reported_what_to_set(monkeypatch, tmp_path) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    assert programs_dir() == str(tmp_path)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    with pytest.raises(InputError, match=r"no home folder .*: set XDG_CACHE_HOME"):
        programs_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "aljax" / "tiles"
