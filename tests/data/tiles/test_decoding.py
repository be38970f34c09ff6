"""Decoding: every band of every type comes out as it is stored, and whatever is not a tile in full is refused."""

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from tiles_on_disk import jpeg_of_inks, pixels, write_geotiff, write_masked, write_png

from aljax.data.tiles import decoding
from aljax.data.tiles.decoding import TileForm, decode, read_georeference, read_header
from aljax.data.tiles.resizing import resize
from aljax.errors import InputError


def read(path: Path) -> np.ndarray:
    return decode(path.read_bytes(), str(path))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 13])
def test_geotiff_keeps_every_band_and_type(tmp_path: Path, bands: int, dtype: str) -> None:
    values = pixels(bands, dtype)
    path = write_geotiff(tmp_path / "tile.tif", values)
    np.testing.assert_array_equal(read(path), values)
    assert read(path).dtype == dtype
    assert read_header(path).form == TileForm(bands, dtype)


def test_fourth_band_that_is_tagged_as_alpha_is_a_band(tmp_path: Path) -> None:
    values = pixels(4)
    values[:8, :, 3] = 0  # as a mask it would hide half the tile
    path = write_geotiff(tmp_path / "tile.tif", values, photometric="RGB", alpha="yes")
    with rasterio.open(path) as source:
        assert source.colorinterp[3].name == "alpha"
    np.testing.assert_array_equal(read(path), values)


@pytest.mark.parametrize("options", [{"compress": "deflate"}, {"tiled": True, "blockxsize": 16, "blockysize": 16}])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_layout_and_compression_do_not_matter(tmp_path: Path, options: dict, interleave: str) -> None:
    values = pixels(4)
    path = write_geotiff(tmp_path / "tile.tif", values, interleave=interleave, **options)
    np.testing.assert_array_equal(read(path), values)


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_png_keeps_every_band(tmp_path: Path, bands: int) -> None:
    path = write_png(tmp_path / "tile.png", pixels(bands))
    np.testing.assert_array_equal(read(path), pixels(bands))
    assert read_header(path).form == TileForm(bands, "uint8")


def test_jpeg_is_read(tmp_path: Path) -> None:
    smooth = np.linspace(0, 200, 16 * 16 * 3).reshape(16, 16, 3).astype(np.uint8)
    path = write_png(tmp_path / "tile.jpg", smooth)
    assert np.abs(read(path).astype(int) - smooth).mean() < 12
    assert read_header(path).form == TileForm(3, "uint8")


@pytest.mark.parametrize("kind", ["CMYK", "unmarked", "YCCK"])
def test_jpeg_of_inks_is_read_in_the_colours_that_viewers_show(tmp_path: Path, kind: str) -> None:
    ramp = np.linspace(0, 255, 32)
    colours = np.stack([*np.meshgrid(ramp, ramp), np.full((32, 32), 60)], axis=-1).astype(np.uint8)
    path = jpeg_of_inks(tmp_path / "tile.jpg", colours, kind)
    assert read_header(path) == (TileForm(3, "uint8"), True)
    assert np.abs(read(path).astype(int) - colours).mean() < 2


@pytest.mark.parametrize("bands", [1, 3])
def test_png_of_16_bits_keeps_them(tmp_path: Path, bands: int) -> None:
    values = pixels(bands, "uint16")
    path = tmp_path / "tile.png"
    profile = {"driver": "PNG", "height": 16, "width": 16, "count": bands, "dtype": "uint16"}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.moveaxis(values, -1, 0))
    np.testing.assert_array_equal(read(path), values)
    assert read_header(path).form == TileForm(bands, "uint16")


def test_png_of_16_bits_of_grey_and_alpha_keeps_them(tmp_path: Path) -> None:
    values = pixels(2, "uint16")
    with rasterio.open(tmp_path / "tile.png", "w", driver="PNG", height=16, width=16, count=2, dtype="uint16") as file:
        file.write(np.moveaxis(values, -1, 0))
    np.testing.assert_array_equal(read(tmp_path / "tile.png"), values)
    assert read_header(tmp_path / "tile.png").form == TileForm(2, "uint16")


@pytest.mark.parametrize("options", [{}, {"transparency": bytes(range(0, 256, 16))}])
def test_palette_is_looked_up(tmp_path: Path, options: dict) -> None:
    image = Image.fromarray(pixels(3)).quantize(16)
    image.save(tmp_path / "tile.png", **options)
    np.testing.assert_array_equal(read(tmp_path / "tile.png"), np.asarray(image.convert("RGB")))
    assert read_header(tmp_path / "tile.png").form == TileForm(3, "uint8")


def test_what_a_file_holds_is_recognised_by_its_bytes_not_its_name(tmp_path: Path) -> None:
    path = write_png(tmp_path / "tile.png", pixels(3)).rename(tmp_path / "tile.tif")
    np.testing.assert_array_equal(read(path), pixels(3))


def test_georeference_is_at_hand(tmp_path: Path) -> None:
    found = read_georeference(write_geotiff(tmp_path / "tile.tif", pixels()))
    assert found is not None
    assert found.transform == (0.2, 0.0, 500000.0, 0.0, -0.2, 5800000.0)
    assert "25832" in found.crs
    assert read_georeference(write_png(tmp_path / "tile.png", pixels())) is None


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_resizing_averages_and_keeps_bands_apart(bands: int, dtype: str) -> None:
    values = np.zeros((20, 30, bands), dtype)
    values[..., bands - 1] = 200
    found = resize(values, 8)
    assert (found.shape, found.dtype) == ((8, 8, bands), np.dtype(dtype))
    assert np.all(found[..., bands - 1] == 200)
    assert np.all(found[..., : bands - 1] == 0)
    stripes = np.zeros((16, 16, bands), dtype)
    stripes[::2] = 100
    assert np.all(np.abs(resize(stripes, 4)[1:3].astype(float) - 50) < 3)  # antialiased, not sampled


def test_bands_are_resized_like_those_of_an_rgb_image() -> None:
    values = pixels(3, size=30)
    four = np.concatenate([values, values[..., :1]], axis=-1)
    np.testing.assert_array_equal(resize(four, 12)[..., :3], resize(values, 12))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


def truncated(path: Path, values: np.ndarray, keep: float) -> bytes:
    data = (write_geotiff if path.suffix == ".tif" else write_png)(path, values).read_bytes()
    return data[: int(len(data) * keep)]


def tiff(path: Path, dtype: str) -> bytes:
    return write_geotiff(path, np.zeros((16, 16, 1), dtype)).read_bytes()


def tiff_bomb(path: Path) -> bytes:
    profile = {"driver": "GTiff", "height": 60000, "width": 60000, "count": 1, "dtype": "uint8", "sparse_ok": True}
    with rasterio.open(path, "w", **profile):
        pass
    return path.read_bytes()


def gif() -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "GIF")
    return file.getvalue()


BROKEN = {
    "zero bytes": (lambda d: b"", r"is empty \(0 bytes\)"),
    "text": (lambda d: b"id,label\n", "is not a TIFF, PNG or JPEG image"),
    "gif": (lambda d: gif(), "is not a TIFF, PNG or JPEG image"),
    "truncated tiff": (lambda d: truncated(d / "a.tif", pixels(4, size=64), 0.5), "is not readable as an image"),
    "tiff of a few bytes": (lambda d: truncated(d / "a.tif", pixels(4), 0.01), "is not readable as an image"),
    "truncated png": (lambda d: truncated(d / "a.png", pixels(3, size=64), 0.5), "is not readable as an image"),
    "truncated jpeg": (lambda d: truncated(d / "a.jpg", pixels(3, size=64), 0.5), "is not readable as an image"),
    "png bomb": (lambda d: png_header(60000, 60000), "too many|exceeds limit"),
    "png above the limit": (lambda d: png_header(9000, 9000), "9000 x 9000 pixels, too many for a tile"),
    "tiff bomb": (lambda d: tiff_bomb(d / "a.tif"), "60000 x 60000 pixels, too many for a tile"),
    "int16": (lambda d: tiff(d / "a.tif", "int16"), "is of type int16: convert it"),
    "float64": (lambda d: tiff(d / "a.tif", "float64"), "is of type float64: convert it"),
    "complex": (lambda d: tiff(d / "a.tif", "complex64"), "is of type complex64: convert it"),
    "infinity": (
        lambda d: write_geotiff(d / "a.tif", np.full((4, 4, 1), np.inf, np.float32)).read_bytes(),
        "NaN or infinite",
    ),
    "all nodata": (
        lambda d: write_geotiff(d / "a.tif", np.zeros((4, 4, 2), np.uint8), nodata=0).read_bytes(),
        "no pixel with data",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_not_a_tile_in_full_is_refused_by_name_in_one_line(tmp_path: Path, kind: str, capfd) -> None:
    make, message = BROKEN[kind]
    with pytest.raises(InputError, match=message) as caught:
        decode(make(tmp_path), "tiles/one.tif")
    assert str(caught.value).startswith("tiles/one.tif")
    assert "\n" not in str(caught.value)
    assert not re.search(r"[0-9a-f]{12}|vsimem", str(caught.value))
    assert capfd.readouterr().err == ""  # no library adds lines of its own


def test_tile_that_lost_its_mask_is_refused_by_name(tmp_path: Path, capfd) -> None:
    data = write_masked(tmp_path / "a.tif", pixels(1, size=64)).read_bytes()
    messages = set()
    for length in range(64 * 64, len(data), 7):
        (tmp_path / "cut.tif").write_bytes(data[:length])
        for reading in (read_header, read, read_georeference):
            try:
                reading(tmp_path / "cut.tif")
            except InputError as error:
                messages.add(str(error).partition(" (")[0])
    assert messages == {f"{tmp_path / 'cut.tif'} is not readable as an image"}
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["zero bytes", "text", "gif", "tiff of a few bytes", "png above the limit", "int16"])
def test_header_of_what_is_not_a_tile_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    make, message = BROKEN[kind]
    path = tmp_path / "one.tif"
    path.write_bytes(make(tmp_path))
    with pytest.raises(InputError, match=message) as caught:
        read_header(path)
    assert str(caught.value).startswith(str(path))


def test_bands_in_pages_are_not_lost_in_silence(tmp_path: Path) -> None:
    pages = [Image.fromarray(pixels(1, seed=page)[..., 0]) for page in range(13)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    for reading in (read, read_header):
        with pytest.raises(InputError, match=r"pages\.tif has 13 pages: store its bands in one"):
            reading(tmp_path / "pages.tif")


def test_palette_of_a_geotiff_is_refused(tmp_path: Path) -> None:
    Image.fromarray(pixels(3)).quantize(16).save(tmp_path / "palette.tif")
    with pytest.raises(InputError, match=r"palette\.tif has a palette: convert it to red, green and blue"):
        read(tmp_path / "palette.tif")


@pytest.mark.parametrize("options", [{}, {"compress": "deflate"}, {"interleave": "band"}])
def test_bands_and_type_count_in_what_is_too_large(tmp_path: Path, options: dict, monkeypatch) -> None:
    path = write_geotiff(tmp_path / "tile.tif", pixels(13, "float32"), **options)
    size = 16 * 16 * 13 * 4
    monkeypatch.setattr(decoding, "MAX_BYTES", size)
    assert read(path).shape == (16, 16, 13)
    monkeypatch.setattr(decoding, "MAX_BYTES", size - 1)
    message = rf"tile\.tif has 16 x 16 pixels in 13 bands of float32, {size} bytes, too many for a tile \(at most"
    for reading in (read, read_header):
        with pytest.raises(InputError, match=message):
            reading(path)


def test_blocks_larger_than_their_tile_count_too(tmp_path: Path, monkeypatch) -> None:
    path = write_geotiff(tmp_path / "tile.tif", pixels(2), tiled=True, blockxsize=128, blockysize=64)
    monkeypatch.setattr(decoding, "MAX_BYTES", 128 * 64 * 2 - 1)
    with pytest.raises(InputError, match=r"tile\.tif is stored in blocks of 128 x 64 pixels in 2 bands of uint8, 16"):
        read_header(path)


def test_bands_of_a_png_count_in_what_is_too_large(tmp_path: Path, monkeypatch) -> None:
    path = write_png(tmp_path / "tile.png", pixels(3))
    monkeypatch.setattr(decoding, "MAX_BYTES", 16 * 16 * 3 - 1)
    for reading in (read, read_header):
        with pytest.raises(InputError, match=r"tile\.png has 16 x 16 pixels in 3 bands of uint8, 768 bytes, too many"):
            reading(path)
