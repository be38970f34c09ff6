"""The index of tiles: what has not changed is not read again, and an index that is of no use does no harm."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from tiles_on_disk import cut, pixels, write_geotiff, write_png

from aljax.commands.annotate.opening import open_tiles
from aljax.commands.annotate.settings import AnnotationSettings
from aljax.commands.run import OwnArchiveSettings, open_own
from aljax.data.archive import Archive
from aljax.data.archives import folder, index
from aljax.data.archives.folder import open_folder
from aljax.data.archives.index import index_path, open_index
from aljax.data.archives.scanning import find_tiles
from aljax.data.geojson import read_outlines
from aljax.data.readable import drop_unreadable, require_readable
from aljax.data.tiles import georeferences
from aljax.data.tiles.images import find_unreadable
from aljax.errors import InputError, InputWarning


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three tiles, two of them copies, in a folder with an index; the names of files of which anything is read."""
    for name, seed in (("a", 0), ("b", 1), ("c", 0)):
        write_geotiff(tmp_path / f"tiles/{name}.tif", pixels(seed=seed))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "SETTLED_NS", 0)
    monkeypatch.setattr(index, "KEPT_FROM", 1)
    names: list[str] = []
    readers = (index, "read_header"), (index, "_sample"), (index, "read_file"), (folder, "read_file")
    for module, name in (*readers, (georeferences, "read_georeference")):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda path, original=original: (names.append(path.name), original(path))[1])
    return names


def opened(parent: Path):
    archive = open_folder(parent / "tiles", None, 16, lenient=True)
    return archive.images.form, list(archive.ids), archive.copy_of.tolist(), archive.digest


def file_of(parent: Path) -> Path:
    path = index_path(parent / "tiles")
    assert path is not None
    return path


def test_tiles_that_have_not_changed_are_not_read_again(tmp_path: Path, read: list[str]) -> None:
    first = opened(tmp_path)
    assert sorted(read) == ["a.tif"] * 3 + ["b.tif"] * 3 + ["c.tif"] * 3  # header, sample and all
    read.clear()
    assert opened(tmp_path) == first
    assert read == []


def test_commands_share_an_index(tmp_path: Path, read: list[str]) -> None:
    (tmp_path / "l.csv").write_text("id,tree\na.tif,1\nb.tif,0\nc.tif,1\n")
    for seed, name in enumerate("abc"):  # each at a place of its own
        place = rasterio.Affine(0.2, 0.0, 500000.0 + 100 * seed, 0.0, -0.2, 5800000.0)
        write_geotiff(tmp_path / f"tiles/{name}.tif", pixels(seed=seed), transform=place)
    open_tiles(AnnotationSettings(images=tmp_path / "tiles", run_dir=tmp_path / "rounds", image_size=32), None)
    read.clear()
    archive = open_own(OwnArchiveSettings(images=tmp_path / "tiles", labels=tmp_path / "l.csv", image_size=32))
    require_readable(archive)
    assert read == []
    assert not (tmp_path / "rounds").exists()


def test_only_new_and_changed_tiles_are_read(tmp_path: Path, read: list[str]) -> None:
    opened(tmp_path)
    read.clear()
    write_geotiff(tmp_path / "tiles/a.tif", pixels(seed=3))
    write_geotiff(tmp_path / "tiles/0.tif", pixels(seed=1))
    (tmp_path / "tiles/c.tif").unlink()
    _, ids, copy_of, _ = opened(tmp_path)
    assert (ids, copy_of) == (["0.tif", "a.tif", "b.tif"], [0, 1, 0])
    assert {*read} == {"0.tif", "a.tif"}
    read.clear()
    opened(tmp_path)
    assert read == []


def test_tile_that_has_just_changed_is_not_taken_as_known(tmp_path: Path, read: list[str], monkeypatch) -> None:
    monkeypatch.setattr(index, "SETTLED_NS", 10**12)
    opened(tmp_path)
    read.clear()
    opened(tmp_path)
    assert {*read} == {"a.tif", "b.tif", "c.tif"}


def test_index_that_is_damaged_or_of_another_version_is_made_anew(tmp_path: Path, read: list[str], monkeypatch) -> None:
    first, file = opened(tmp_path), file_of(tmp_path)
    whole = file.read_bytes()
    for place in range(0, len(whole), 41):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :]):
            file.write_bytes(damaged)
            assert opened(tmp_path) == first
    monkeypatch.setattr(index, "FORMAT", 3)
    read.clear()
    assert opened(tmp_path) == first
    assert len(read) == 9


def test_unreadable_tile_is_looked_at_each_time_and_its_repair_seen(tmp_path: Path, read: list[str]) -> None:
    (tmp_path / "tiles/b.tif").write_bytes(b"II*\0")
    with pytest.raises(InputError, match=r"b\.tif is not readable"):
        open_folder(tmp_path / "tiles", None, 16)
    opened(tmp_path)
    read.clear()
    opened(tmp_path)
    assert read == ["b.tif"]
    write_png(tmp_path / "tiles/b.tif", pixels(seed=5))
    assert opened(tmp_path)[1] == ["a.tif", "b.tif", "c.tif"]


def test_few_tiles_leave_nothing_behind(tmp_path: Path, read: list[str], monkeypatch) -> None:
    monkeypatch.setattr(index, "KEPT_FROM", 10)
    opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tiles"]


def test_index_that_cannot_be_kept_is_reported_and_the_tiles_are_opened(tmp_path: Path, read: list[str]) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.warns(InputWarning, match=r"\.npz cannot be written \(Not a directory\): headers of tiles will be"):
        _, ids, *_ = opened(tmp_path)
    assert ids == ["a.tif", "b.tif", "c.tif"]


def test_all_ways_to_a_folder_share_an_index_and_other_folders_do_not(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "tiles").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "tiles")
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "link", Path("tiles"), Path("tiles/../link")):
        assert index_path(path) == file_of(tmp_path)
    assert index_path(tmp_path) != file_of(tmp_path)


def test_facts_of_tiles_are_found_by_name_in_any_order(tmp_path: Path, read: list[str]) -> None:
    opened(tmp_path)
    write_geotiff(tmp_path / "tiles/x.tif", pixels(seed=9))
    files, order = find_tiles(tmp_path / "tiles"), [2, 3, 0, 1]
    names = [files.names[row] for row in order]
    shuffled = replace(files, stored=names, names=names, sizes=files.sizes[order], changed=files.changed[order])
    known = open_index(shuffled, file_of(tmp_path))
    np.testing.assert_array_equal(known.facts["bands"], [3, 0, 3, 3])


def outlines(archive: Archive) -> list[list[list[float]] | None]:
    return [None if outline is None else outline.tolist() for outline in read_outlines(archive)]


def test_georeferences_are_read_once_and_stay_with_their_tiles(tmp_path: Path, read: list[str]) -> None:
    for name, crs in (("a", "EPSG:25832"), ("b", "EPSG:3857"), ("d", "EPSG:25832")):
        write_geotiff(tmp_path / f"tiles/{name}.tif", pixels(seed=ord(name)), crs=crs)
    write_png(tmp_path / "tiles/e.png", pixels(seed=9))
    first = outlines(open_folder(tmp_path / "tiles", None, 16))
    assert [place is None for place in first] == [False] * 4 + [True]
    read.clear()
    archive = open_folder(tmp_path / "tiles", None, 16)
    assert outlines(archive) == first
    with warnings.catch_warnings(action="ignore"):
        archive = drop_unreadable(archive, {0: InputError("a"), 2: InputError("c")})
    assert outlines(archive) == [first[row] for row in (1, 3, 4)]
    (outline,) = read_outlines(archive, np.array([1]))
    assert outline is not None
    assert outline.tolist() == first[3]
    assert read == []
    write_geotiff(tmp_path / "tiles/b.tif", pixels(seed=4), crs="EPSG:32631")
    (tmp_path / "tiles/a.tif").unlink()
    moved = outlines(open_folder(tmp_path / "tiles", None, 16))
    assert {*read} == {"b.tif"}
    assert moved[1:] == first[2:]
    assert moved[0] not in first


def test_tiles_that_were_read_whole_are_not_read_whole_again(tmp_path: Path, read: list[str]) -> None:
    broken = write_geotiff(tmp_path / "tiles/d.tif", pixels(seed=9))
    cut(broken)
    for expected in (["a.tif", "b.tif", "c.tif", "d.tif"], ["d.tif"]):
        archive = open_folder(tmp_path / "tiles", None, 16, lenient=True)
        read.clear()
        assert [*find_unreadable(archive.images, "reading")] == [3]
        assert sorted(read) == expected
    write_geotiff(tmp_path / "tiles/b.tif", pixels(seed=4))
    write_geotiff(broken, pixels(seed=9))
    archive = open_folder(tmp_path / "tiles", None, 16, lenient=True)
    read.clear()
    assert find_unreadable(archive.images, "reading") == {}
    assert sorted(read) == ["b.tif", "d.tif"]


def test_what_was_read_before_an_interruption_is_kept(tmp_path: Path, read: list[str], monkeypatch) -> None:
    def stop(path: Path) -> bytes:
        if path.name == "t39.tif":
            raise KeyboardInterrupt
        return path.read_bytes()

    for number in range(40):
        write_geotiff(tmp_path / f"tiles/t{number:02d}.tif", pixels(seed=number))
    monkeypatch.setattr(folder, "read_file", stop)
    archive = open_folder(tmp_path / "tiles", None, 16, lenient=True)
    with pytest.raises(KeyboardInterrupt):
        find_unreadable(archive.images, "reading")
    kept = open_index(find_tiles(tmp_path / "tiles"), file_of(tmp_path)).facts["is_readable"]
    assert kept.sum() in (16, 32)
    assert kept[: kept.sum()].all()


def test_file_beside_a_tile_that_says_where_it_is_counts(tmp_path: Path, read: list[str]) -> None:
    write_geotiff(tmp_path / "tiles/b.tif", pixels(seed=1), crs="EPSG:25832", transform=None)
    assert outlines(open_folder(tmp_path / "tiles", None, 16, lenient=True))[1] is None
    beside, found = tmp_path / "tiles/b.tfw", []
    for west in ("500000", "600000"):
        beside.write_text("\n".join(("0.2", "0", "0", "-0.2", west, "5800000")) + "\n")
        found.append(outlines(open_folder(tmp_path / "tiles", None, 16, lenient=True))[1])
    assert None not in found
    assert found[0] != found[1]
    beside.unlink()
    read.clear()
    assert outlines(open_folder(tmp_path / "tiles", None, 16, lenient=True))[1] is None
    assert sorted(read) == ["a.tif", "b.tif", "c.tif"]  # georeferences alone


def test_georeference_of_a_broken_tile_is_looked_for_each_time(tmp_path: Path, read: list[str]) -> None:
    (tmp_path / "tiles/b.tif").write_bytes(b"II*\0")
    for _ in range(2):
        read.clear()
        found = outlines(open_folder(tmp_path / "tiles", None, 16, lenient=True))
        assert [place is None for place in found] == [False, True, False]
    assert read == ["b.tif"] * 2  # its header, too
