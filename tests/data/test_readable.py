"""Tiles that cannot be read are found before a run's first step, and named all at once."""

import re
from dataclasses import replace

import numpy as np
import pytest
from small_runs import run, settings
from tiles_on_disk import cut, on_disk, write_geotiff
from tiny import make_archive

from aljax.data.archive import Archive, Split
from aljax.data.archives.folder import open_folder
from aljax.data.readable import drop_unreadable
from aljax.data.storage import keep_tiles
from aljax.data.tiles import images
from aljax.data.tiles.images import find_unreadable
from aljax.errors import InputError, InputWarning
from aljax.runs import experiment


@pytest.fixture
def archive(tmp_path) -> Archive:
    """Of 60 tiles two are cut off; nothing but a step that uses them would meet them."""
    archive = on_disk(make_archive(), tmp_path / "tiles")
    for tile in ("tile007", "tile050"):
        cut(tmp_path / "tiles" / f"{tile}.png")
    return archive


@pytest.mark.parametrize("tiles_in", ["disk", "memory", "cache"])
def test_all_broken_tiles_are_named_before_a_run_has_a_folder(tiles_in, archive, tmp_path) -> None:
    message = r"2 of 60 tiles cannot be read: \S*tile007.png is not readable .*; \S*tile050.png is not readable"
    with pytest.raises(InputError, match=message):
        run(settings(tmp_path / "run", query="random"), keep_tiles(archive, tiles_in, tmp_path / "cache"))
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob("cache/*"))


def test_run_that_goes_on_does_not_read_all_tiles_again(archive, tmp_path, monkeypatch) -> None:
    def begin(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "prepare_run", begin)
    chosen = settings(tmp_path / "run")
    with pytest.raises(InputError, match="2 of 60"):
        run(chosen, archive)
    chosen.run_dir.mkdir()
    (chosen.run_dir / "config.json").write_text("{}")
    with pytest.raises(KeyboardInterrupt):
        run(chosen, archive)


def test_reading_that_takes_long_says_so_in_a_log_once(archive, monkeypatch, capsys) -> None:
    monkeypatch.setattr(images, "SECONDS_TO_MESSAGE", 0.0)
    assert list(find_unreadable(archive.images, "reading all tiles")) == [7, 50]
    assert capsys.readouterr().err == "reading all tiles: 16 of 60 so far\n"


def test_of_very_many_broken_tiles_the_first_are_named(archive, monkeypatch) -> None:
    monkeypatch.setattr(images, "MOST_NAMED", 1)
    with pytest.raises(InputError, match=r"^2 of 60 tiles cannot be read: \S*tile007.png [^;]*; and 1 more$"):
        images.load(archive.images)


def test_archive_without_broken_tiles_keeps_what_belongs_to_the_others(archive) -> None:
    numbers = np.arange(60)
    split = Split(numbers[:40], numbers[40:51], numbers[51:])
    copy_of = np.where(np.isin(numbers, [7, 9, 20]), 7, numbers)
    archive = replace(archive, digest="d", split=split, copy_of=copy_of)
    with pytest.warns(InputWarning, match=r"2 of 60 tiles cannot be read: .*tile007.png.*tile050.png.*they are left"):
        left = drop_unreadable(archive, find_unreadable(archive.images, "reading"))
    kept = np.setdiff1d(numbers, [7, 50])
    assert left.ids == tuple(archive.ids[row] for row in kept)
    np.testing.assert_array_equal(left.labels, archive.labels[kept])
    for number, row in ((6, 6), (7, 8), (57, 59)):
        np.testing.assert_array_equal(left.images[number], archive.images[row])
    assert left.split is not None
    assert [kept[part].tolist() for part in left.split] == [
        [row for row in part if row not in (7, 50)] for part in split
    ]
    assert left.copy_of is not None
    assert left.copy_of.tolist() == [8 if row == 20 else number for number, row in enumerate(kept.tolist())]
    assert left.digest != archive.digest
    assert drop_unreadable(archive, {}) is archive
    with pytest.raises(InputError, match="cannot be read"):
        drop_unreadable(archive, dict.fromkeys(range(60), InputError("broken")))


def test_broken_headers_are_named_at_once_or_left_for_when_their_pixels_are_read(tmp_path) -> None:
    for number, image in enumerate(make_archive(4).images):
        write_geotiff(tmp_path / f"{number}.tif", image)
    for name in ("0.tif", "2.tif"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"2 of 4 tiles cannot be read: \S*0.tif is empty .*; \S*2.tif is empty"):
        open_folder(tmp_path, None, 32)
    archive = open_folder(tmp_path, None, 32, lenient=True)
    found = find_unreadable(archive.images, "reading")
    assert [(row, re.findall(r"\d.tif is empty", str(reason))) for row, reason in found.items()] == [
        (0, ["0.tif is empty"]),
        (2, ["2.tif is empty"]),
    ]
