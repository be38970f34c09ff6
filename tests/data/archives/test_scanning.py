"""Files that accompany tiles are ignored, files that may be tiles are refused, and a scene counts once."""

import unicodedata
from pathlib import Path

import pytest
from tiles_on_disk import pixels, write_geotiff, write_png

from aljax.data.archives.scanning import find_tiles
from aljax.errors import InputError, InputWarning

COMPANIONS = """
one.tfw one.tfwx one.tifw one.tiffw one.pgw one.pngw one.pgwx one.jgw one.jpgw one.jgwx one.wld one.prj one.qpj
one.aux one.rrd one.tif.ovr one.hdr one.clr one.tif.aux.xml one.tif.xml one.tif.points one.tab one.rpb
one.tif:Zone.Identifier one.tif.Zone.Identifier desktop.ini Desktop.ini Thumbs.db .DS_Store ._one.tif .hidden.jp2
tiles.shp tiles.sbn tiles.sbx tiles.qix tiles.lyrx tiles.kml labels.xlsx README
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one.tif", "two.tif"):
        write_geotiff(tmp_path / name, pixels(seed=len(name)))
    return tmp_path


def test_tiles_are_in_the_order_of_the_parts_of_their_paths(tmp_path: Path) -> None:
    names = ["a/z.tif", "a/b/c.tif", "a!/x.tif", "a-.tif", "a.tif", "a b.tif", "B.tif", "\u00e4/1.tif", "A\u0308/2.tif"]
    names += ["a\u0308/0.tif", "\u00fc.TIFF", "a/\u00e9.png", "a/e\u0301a.jpg", "aa/y.jpeg"]
    for name in names:
        write_png(tmp_path / name, pixels())
    found, normal = find_tiles(tmp_path), [unicodedata.normalize("NFC", name) for name in names]
    assert found.names == sorted(normal, key=lambda name: name.split("/"))
    assert [unicodedata.normalize("NFC", name) for name in found.stored] == found.names
    assert sorted(found.stored) == sorted(names)
    states = [Path(path).stat() for path in found.paths]
    assert found.sizes.tolist() == [state.st_size for state in states]
    assert found.changed.tolist() == [state.st_ctime_ns for state in states]
    assert found.modified.tolist() == [state.st_mtime_ns for state in states]


@pytest.mark.parametrize("given", [".", "sub", "sub/", "../{}/sub", "{}"])
def test_paths_are_as_the_folder_was_given(given: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_geotiff(folder / "sub" / "three.tif", pixels())
    monkeypatch.chdir(folder)
    given = given.format(folder if given == "{}" else folder.name)
    assert [*find_tiles(Path(given)).paths] == sorted(map(str, Path(given).rglob("*.tif")))


def test_hidden_folders_and_links_that_lead_nowhere_do_no_harm(folder: Path) -> None:
    write_geotiff(folder / ".hidden" / "three.tif", pixels())
    (folder / ".link").symlink_to(folder)
    (folder / "loop.txt").symlink_to(folder / "loop.txt")
    (folder / "gone.tif").symlink_to(folder / "not there.tif")
    found = find_tiles(folder)
    assert found.names == ["gone.tif", "one.tif", "two.tif"]
    assert found.sizes[0] == 0


def test_companions_of_tiles_are_passed_over(folder: Path) -> None:
    for name in COMPANIONS.split():
        (folder / name).write_bytes(b"")
    assert find_tiles(folder).names == ["one.tif", "two.tif"]


def test_all_unknown_files_are_named_in_one_message(folder: Path) -> None:
    for name in ("a.jp2", "b.jp2", "c.img", "sub/d.nc"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    with pytest.raises(InputError) as caught:
        find_tiles(folder)
    assert str(caught.value) == (
        f"{folder} has files of unknown extensions, .jp2 (2, as a.jp2), .img (1, as c.img), .nc (1, as sub/d.nc): "
        "convert tiles to TIFF, PNG or JPEG, and move all others"
    )
    for number in range(20):
        (folder / f"tile.{number:03d}").write_bytes(b"")
    with pytest.raises(InputError, match=r"\.000 \(1, as tile\.000\), .* and 13 more: convert"):
        find_tiles(folder)


def test_virtual_raster_is_no_tile_and_not_passed_over_in_silence(folder: Path) -> None:
    (folder / "mosaic.vrt").write_text("<VRTDataset/>")
    with pytest.warns(
        InputWarning, match=r"1 files refer to pixels of other files, as .*mosaic\.vrt: they are not read"
    ):
        assert len(find_tiles(folder).names) == 2


@pytest.mark.parametrize("name", ["sub/one.jpg", "sub/one.TIF", "sub/one.png"])
def test_quicklook_beside_a_tile_is_refused(name: str, folder: Path) -> None:
    write_geotiff(folder / "sub" / "one.tif", pixels(seed=7))
    assert len(find_tiles(folder).names) == 3
    write_png(folder / name, pixels(seed=8)) if not name.endswith("TIF") else write_geotiff(folder / name, pixels())
    with pytest.raises(
        InputError, match=r"sub/one\.\w+ and .*sub/one\.\w+ seem to be one scene, as a tile and its quick"
    ):
        find_tiles(folder)
