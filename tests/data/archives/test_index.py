"""The index of tiles: what has not changed is not read again, and an index that is of no use does no harm."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiles_on_disk import pixels, write_geotiff, write_png

from aljax.commands.annotate import AnnotationSettings, open_tiles
from aljax.data.archives import copies, index
from aljax.data.archives.folder import open_folder
from aljax.data.archives.index import open_index
from aljax.errors import InputWarning


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three tiles, two of them copies, in a folder `tiles`; the names of files of which anything is read."""
    for name, seed in (("a", 0), ("b", 1), ("c", 0)):
        write_geotiff(tmp_path / f"tiles/{name}.tif", pixels(seed=seed))
    monkeypatch.setattr(index, "SETTLED_NS", 0)
    names: list[str] = []
    for module, name in ((index, "read_header"), (copies, "_sample")):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda path, original=original: (names.append(path.name), original(path))[1])
    return names


def opened(folder: Path):
    archive = open_folder(folder / "tiles", None, 16, lenient=True, index_file=folder / "index.npz")
    return archive.images.form, list(archive.ids), archive.copy_of.tolist(), archive.digest


def test_tiles_that_have_not_changed_are_not_read_again(tmp_path: Path, read: list[str]) -> None:
    first = opened(tmp_path)
    assert sorted(read) == ["a.tif", "a.tif", "b.tif", "b.tif", "c.tif", "c.tif"]
    read.clear()
    assert opened(tmp_path) == first
    assert read == []


def test_only_new_and_changed_tiles_are_read(tmp_path: Path, read: list[str]) -> None:
    opened(tmp_path)
    read.clear()
    write_geotiff(tmp_path / "tiles/a.tif", pixels(seed=3))
    write_geotiff(tmp_path / "tiles/0.tif", pixels(seed=1))
    (tmp_path / "tiles/c.tif").unlink()
    _, ids, copy_of, _ = opened(tmp_path)
    assert (ids, copy_of) == (["0.tif", "a.tif", "b.tif"], [0, 1, 0])
    assert {*read} == {"0.tif", "a.tif"}


def test_tile_that_has_just_changed_is_not_taken_as_known(tmp_path: Path, read: list[str], monkeypatch) -> None:
    monkeypatch.setattr(index, "SETTLED_NS", 10**12)
    opened(tmp_path)
    read.clear()
    opened(tmp_path)
    assert {*read} == {"a.tif", "b.tif", "c.tif"}


def test_index_that_is_damaged_or_of_another_version_is_made_anew(tmp_path: Path, read: list[str], monkeypatch) -> None:
    first, file = opened(tmp_path), tmp_path / "index.npz"
    whole = file.read_bytes()
    for place in range(0, len(whole), 41):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :]):
            file.write_bytes(damaged)
            assert opened(tmp_path) == first
    monkeypatch.setattr(index, "FORMAT", 2)
    read.clear()
    assert opened(tmp_path) == first
    assert len(read) == 6


def test_unreadable_tile_is_looked_at_each_time_and_its_repair_seen(tmp_path: Path, read: list[str]) -> None:
    (tmp_path / "tiles/b.tif").write_bytes(b"II*\0")
    opened(tmp_path)
    read.clear()
    opened(tmp_path)
    assert read == ["b.tif"]
    write_png(tmp_path / "tiles/b.tif", pixels(seed=5))
    assert opened(tmp_path)[1] == ["a.tif", "b.tif", "c.tif"]


def test_nothing_is_written_where_there_is_no_run(tmp_path: Path, read: list[str]) -> None:
    open_folder(tmp_path / "tiles", None, 16, lenient=True, index_file=tmp_path / "run/index.npz")
    shutil.rmtree(tmp_path / "tiles")
    assert list(tmp_path.iterdir()) == []


def test_annotation_keeps_an_index_beside_its_rounds(tmp_path: Path, read: list[str]) -> None:
    settings = AnnotationSettings(images=tmp_path / "tiles", run_dir=tmp_path / "run", image_size=32)
    (tmp_path / "run/round-1").mkdir(parents=True)
    for _ in range(2):
        with pytest.warns(InputWarning, match="1 tiles are copies of others"):
            open_tiles(settings, None)
    assert len(read) == 6
    assert [path.name for path in (tmp_path / "run").iterdir() if path.is_file()] == ["tiles-index.npz"]


def test_facts_of_tiles_are_found_by_name_in_any_order(tmp_path: Path, read: list[str]) -> None:
    opened(tmp_path)
    files = [tmp_path / f"tiles/{name}.tif" for name in "cxab"]
    write_geotiff(files[1], pixels(seed=9))
    known = open_index(files, ["c.tif", "x.tif", "a.tif", "b.tif"], tmp_path / "index.npz")
    np.testing.assert_array_equal(known.facts["bands"], [3, 0, 3, 3])
