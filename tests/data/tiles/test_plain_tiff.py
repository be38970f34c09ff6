"""The short way for plain TIFFs gives what GDAL gives, to the bit, and leaves to GDAL what is not plain or damaged."""

import re
import struct
import tracemalloc
from contextlib import nullcontext
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from tifffile import TiffFile
from tiles_on_disk import pixels, write_geotiff, write_masked

from aljax.data.tiles import plain_tiff
from aljax.data.tiles.decoding import decode, read_header
from aljax.data.tiles.plain_tiff import plain_page
from aljax.errors import InputError

LAYOUTS = {
    "strips": {"blockysize": 7},
    "one strip": {"blockysize": 40},
    "tiles": {"tiled": True, "blockxsize": 16, "blockysize": 32},
    "planes of strips": {"interleave": "band", "blockysize": 7},
    "planes of tiles": {"interleave": "band", "tiled": True, "blockxsize": 16, "blockysize": 32},
}
PACKINGS = [
    {},
    {"compress": "deflate"},
    {"compress": "deflate", "predictor": 2},  # differences of neighbours
    {"compress": "deflate", "predictor": 3},  # the same, of the bytes of floats
]


def by_gdal(data: bytes, monkeypatch: pytest.MonkeyPatch) -> np.ndarray | str:
    """What the way through GDAL makes of a file: pixels or a message."""
    with monkeypatch.context() as patch:
        patch.setattr(plain_tiff, "plain_page", lambda start, length: nullcontext())
        return outcome(data)


def outcome(data: bytes) -> np.ndarray | str:
    try:
        return decode(data, "a.tif")
    except InputError as error:
        return str(error)


def read_pixels(path: Path) -> np.ndarray:
    return decode(path.read_bytes(), path.name)


def is_plain(path: Path) -> bool:
    with plain_page(path.read_bytes(), path.stat().st_size) as page:
        return page is not None


@pytest.mark.parametrize("order", ["LITTLE", "BIG"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_plain_tiles_have_the_pixels_that_gdal_reads(
    tmp_path: Path, dtype: str, layout: str, order: str, monkeypatch
) -> None:
    packings = PACKINGS[: 4 if dtype == "float32" else 3]
    for packing, bands in product(packings, (1, 3, 4, 13)):
        values = pixels(bands, dtype, size=40)[:, :37]
        values[3:9, :, 0] = 7
        options = {**LAYOUTS[layout], **packing, "ENDIANNESS": order, "nodata": 7 if bands == 4 else None}
        data = write_geotiff(tmp_path / "a.tif", values, **options).read_bytes()
        assert is_plain(tmp_path / "a.tif") == (not packing)
        if bands != 4:
            np.testing.assert_array_equal(decode(data, "a.tif"), values)
        np.testing.assert_array_equal(decode(data, "a.tif"), by_gdal(data, monkeypatch))
        assert decode(data, "a.tif").dtype == dtype
        assert read_header(tmp_path / "a.tif").form == (bands, dtype)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBX", "RGBA", "LA", "I;16", "F"])
@pytest.mark.parametrize("compression", [None, "tiff_adobe_deflate", "tiff_deflate"])
def test_tiles_of_another_program_are_plain_too(tmp_path: Path, mode: str, compression: str | None) -> None:
    Image.frombytes(mode, (8, 9), bytes(range(1, 73)) * 4).save(tmp_path / "a.tif", compression=compression)
    assert is_plain(tmp_path / "a.tif") == (compression is None)
    with rasterio.open(tmp_path / "a.tif") as source:
        np.testing.assert_array_equal(read_pixels(tmp_path / "a.tif"), np.moveaxis(source.read(), 0, -1))


@pytest.mark.parametrize("nodata", ["7", "7.", "7.0", " 7", "7.5", "nan", "NAN", "-1", "256", "inf", "7x", "-", ""])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_nodata_values_count_as_with_gdal(tmp_path: Path, dtype: str, nodata: str, monkeypatch) -> None:
    values = pixels(2, dtype, size=20)
    values[:2] = 7
    data = write_geotiff(tmp_path / "a.tif", values, nodata=251).read_bytes()
    data = data.replace(b"251\0", nodata.encode().ljust(4, b"\0"))
    np.testing.assert_array_equal(outcome(data), by_gdal(data, monkeypatch))


@pytest.mark.parametrize(
    "nodata", ["-9999", "1e99", "1e-99", "3.4028234663852886e+38", "-3.40282346638529e+38", "-inf"]
)
def test_nodata_values_of_floats_count_as_with_gdal(tmp_path: Path, nodata: str, monkeypatch) -> None:
    values = pixels(2, "float32", size=20)
    for row, value in enumerate((-9999, 0, np.finfo(np.float32).max, np.finfo(np.float32).min)):
        values[row] = value
    data = write_geotiff(tmp_path / "a.tif", values, nodata=-2.3456543211234567e30).read_bytes()
    (text,) = re.findall(rb"-2\.34565\S*?e\+30\0", data)
    data = data.replace(text, nodata.encode().ljust(len(text), b"\0"))
    np.testing.assert_array_equal(outcome(data), by_gdal(data, monkeypatch))


def make(path: Path, kind: str) -> None:
    """A TIFF that is not plain."""
    options = {
        "LZW": {"compress": "lzw"},
        "JPEG": {"compress": "jpeg"},
        "YCbCr": {"compress": "jpeg", "photometric": "ycbcr"},
        "Zstandard": {"compress": "zstd"},
        "white is zero": {"photometric": "miniswhite"},
        "BigTIFF": {"BIGTIFF": "YES"},
        "12 bits": {"nbits": 12},
        "sparse": {"sparse_ok": True},
    }
    values = pixels(3, "uint16" if kind == "12 bits" else "uint8", size=64)
    values = np.zeros_like(values) if kind == "sparse" else values
    write_geotiff(path, values, **options.get(kind, {}))
    with rasterio.open(path, "r+") as file:
        if kind == "overviews":
            file.build_overviews([2])
        if kind == "scale":
            file.scales = (2.0, 2.0, 2.0)
        if kind == "offset":
            file.offsets = (2.0, 2.0, 2.0)
        if kind == "nodata of all bands together":
            file.update_tags(NODATA_VALUES="1 2 3")
    if kind == "mask":
        write_masked(path, values)
    if kind == "pages":
        Image.fromarray(values).save(path, save_all=True, append_images=[Image.fromarray(values)])
    if kind == "palette":
        Image.fromarray(values).quantize(16).save(path)
    if kind == "turned":
        Image.fromarray(values).save(path, tiffinfo={274: 6})


KINDS = ["LZW", "JPEG", "YCbCr", "Zstandard", "white is zero", "BigTIFF", "12 bits", "sparse", "overviews", "scale"]
KINDS += ["offset", "nodata of all bands together", "mask", "pages", "palette", "turned"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_plain_is_left_to_gdal(tmp_path: Path, kind: str, monkeypatch) -> None:
    make(tmp_path / "a.tif", kind)
    assert not is_plain(tmp_path / "a.tif")
    data = (tmp_path / "a.tif").read_bytes()
    np.testing.assert_array_equal(outcome(data), by_gdal(data, monkeypatch))


@pytest.mark.parametrize("packing", PACKINGS, ids=str)
@pytest.mark.parametrize("layout", ["strips", "planes of tiles"])
def test_damaged_tiles_are_reported_as_by_gdal(tmp_path: Path, layout: str, packing: dict, monkeypatch, capfd) -> None:
    options = {**LAYOUTS[layout], **packing}
    data = write_geotiff(tmp_path / "a.tif", pixels(2, "float32", size=20), **options).read_bytes()
    random = np.random.default_rng(0)
    for length in random.integers(0, len(data), 40):
        found = outcome(data[:length])
        assert isinstance(found, str)
        assert found == by_gdal(data[:length], monkeypatch)
    for place in random.integers(len(data) - 1000, len(data), 40):
        damaged = data[:place] + bytes([data[place] ^ 64]) + data[place + 1 :]
        np.testing.assert_array_equal(outcome(damaged), by_gdal(damaged, monkeypatch))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("layout", ["strips", "tiles", "planes of tiles"])
def test_damaged_tags_count_as_with_gdal(tmp_path: Path, layout: str, monkeypatch, capfd) -> None:
    data = write_geotiff(tmp_path / "a.tif", pixels(3, "uint16", size=20), **LAYOUTS[layout], nodata=7).read_bytes()
    (start,) = struct.unpack_from("<I", data, 4)
    (tags,) = struct.unpack_from("<H", data, start)
    for place in range(start + 2, start + 2 + 12 * tags + 4):
        damaged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        np.testing.assert_array_equal(outcome(damaged), by_gdal(damaged, monkeypatch), str(place))
    assert capfd.readouterr().err == ""


def test_block_that_claims_to_be_huge_is_not_unpacked(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "a.tif", np.zeros((2000, 2000, 1), np.uint8), compress="deflate", blockysize=2000)
    with TiffFile(path, mode="r+b") as file:
        file.pages[0].tags[257].overwrite(2)
        file.pages[0].tags[278].overwrite(2)
    data = path.read_bytes()
    outcome(data)  # what is imported or kept at the first call
    tracemalloc.start()
    outcome(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000 < 2000 * 2000
