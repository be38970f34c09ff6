"""Tiles that cannot be read are in no round, until they are mended."""

import shutil

import pytest
from tiles_on_disk import cut, write_png
from tiny import make_archive

from aljax.annotation import unreadable
from aljax.annotation.unreadable import leave_out_unreadable
from aljax.data.archives.folder import open_folder
from aljax.errors import InputWarning


def test_broken_tiles_are_named_once_found_again_and_come_back_when_mended(tmp_path, monkeypatch) -> None:
    tiles, run_dir = tmp_path / "tiles", tmp_path / "run"
    for number, image in enumerate(make_archive(6).images):
        write_png(tiles / "deep" / f"{number}.png", image)
    sound = tmp_path / "sound.png"
    shutil.copy(tiles / "deep/1.png", sound)
    for number in (1, 4):
        cut(tiles / f"deep/{number}.png")

    def ids() -> list[str]:
        found = leave_out_unreadable(run_dir, tiles, open_folder(tiles, None, 32, lenient=True)).ids
        return [tile.removeprefix("deep/").removesuffix(".png") for tile in found]

    with pytest.warns(InputWarning, match=r"2 of 6 tiles cannot be read: .*deep/1.png .*; .*deep/4.png .*left out"):
        assert ids() == ["0", "2", "3", "5"]
    listed = (run_dir / "unreadable.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in listed] == ["id", "deep/1.png", "deep/4.png"]
    monkeypatch.setattr(unreadable, "find_unreadable", None)  # not all are read again
    shutil.copy(sound, tiles / "deep/1.png")
    with pytest.warns(InputWarning, match=r"deep/4.png is not readable .*it is left out"):
        assert ids() == ["0", "1", "2", "3", "5"]
    shutil.copy(sound, tiles / "deep/4.png")
    assert ids() == ["0", "1", "2", "3", "4", "5"]


def test_rounds_that_were_begun_without_a_list_go_on(tmp_path, monkeypatch) -> None:
    write_png(tmp_path / "tiles/0.png", make_archive(1).images[0])
    (tmp_path / "run/round-1").mkdir(parents=True)
    monkeypatch.setattr(unreadable, "find_unreadable", None)
    archive = open_folder(tmp_path / "tiles", None, 32)
    assert leave_out_unreadable(tmp_path / "run", tmp_path / "tiles", archive) is archive
