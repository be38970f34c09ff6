"""Declared pixels without data get the mean of their band; undeclared nodata values are warned of."""

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from tiles_on_disk import pixels, write_geotiff, write_masked

from aljax.data.archive import band_statistics
from aljax.data.archives.folder import open_folder
from aljax.data.tiles.decoding import decode
from aljax.data.tiles.nodata import find_lone_value, is_nodata
from aljax.errors import InputError, InputWarning


def read(path: Path) -> np.ndarray:
    return decode(path.read_bytes(), str(path))


@pytest.mark.parametrize("nodata", [0, 255])
def test_nodata_pixels_get_the_mean_of_the_others_of_their_band(tmp_path: Path, nodata: int) -> None:
    values = np.clip(pixels(2), 1, 249)
    values[:4, :, 0] = nodata
    found = read(write_geotiff(tmp_path / "tile.tif", values, nodata=nodata))
    assert np.all(found[:4, :, 0] == round(values[4:, :, 0].mean()))
    np.testing.assert_array_equal(found[4:, :, 0], values[4:, :, 0])
    np.testing.assert_array_equal(found[..., 1], values[..., 1])


def test_nan_as_declared_nodata_is_filled_and_undeclared_is_refused(tmp_path: Path) -> None:
    values = pixels(1, "float32")
    values[3, 5] = np.nan
    found = read(write_geotiff(tmp_path / "tile.tif", values, nodata=np.nan))
    assert found[3, 5, 0] == pytest.approx(np.nanmean(values), rel=1e-6)
    with pytest.raises(
        InputError, match=r"bare\.tif has NaN or .*: fill them, or declare NaN as nodata \(rio edit-info"
    ):
        read(write_geotiff(tmp_path / "bare.tif", values))
    with rasterio.open(tmp_path / "bare.tif", "r+") as file:  # as that command does
        file.nodata = np.nan
    np.testing.assert_array_equal(read(tmp_path / "bare.tif"), found)


@pytest.mark.parametrize("nodata", ["-1.79769313486232e+308", "-inf", "-3.4028234663852886e+38"])
def test_nodata_value_beyond_the_type_is_the_largest_of_the_type(tmp_path: Path, nodata: str) -> None:
    values = pixels(1, "float32")
    values[:4] = np.finfo(np.float32).min
    path = write_geotiff(tmp_path / "tile.tif", values)
    with rasterio.open(path, "r+") as file:  # refuses less than when it writes a file
        file.nodata = float(nodata)
    found = read(path)
    assert np.all(found[:4] == pytest.approx(values[4:].mean(), rel=1e-6))


def test_mask_of_the_whole_tile_is_nodata_too(tmp_path: Path) -> None:
    values = pixels(1)
    found = read(write_masked(tmp_path / "tile.tif", values))
    assert np.all(found[:8] == round(values[8:].mean()))
    np.testing.assert_array_equal(found[8:], values[8:])


def test_mask_counts_beside_a_nodata_value(tmp_path: Path) -> None:
    values = np.full((16, 16, 1), 100, np.uint8)
    values[0], values[1] = 7, 50  # by value, and by mask
    path = write_geotiff(tmp_path / "tile.tif", values, nodata=7)
    mask = np.full((16, 16), 255, np.uint8)
    mask[1] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as target:
        target.write_mask(mask)
    np.testing.assert_array_equal(read(path), np.full((16, 16, 1), 100))


def test_band_without_data_is_refused(tmp_path: Path) -> None:
    values = np.full((16, 16, 3), 100, np.uint16)
    values[..., 2] = 0
    path = write_geotiff(tmp_path / "tile.tif", values, nodata=0)
    with pytest.raises(InputError, match="has no pixel with data in band 3"):
        read(path)


def declare(path: Path, nodata: float) -> Path:
    with rasterio.open(path, "r+") as file:  # refuses less than when it writes a file
        file.nodata = nodata
    return path


SMALLEST = float(np.finfo(np.float32).min)
FLOATS = [SMALLEST, -3.4e38, -3.39e38, -2e38, -1.7e38, -1e38, -9999, -9999.002, -9999.004, -9999.005, -9998, 0, 0.1]
FLOATS += [1e-45, 120, -SMALLEST]


@pytest.mark.parametrize("nodata", [-3.4e38, -3.4028235e38, SMALLEST, -SMALLEST, 3.4e38, -9999, 0.1, 0.0, -1e37])
def test_float32_pixels_are_nodata_where_gdal_masks_them(tmp_path: Path, nodata: float) -> None:
    values = np.array(FLOATS, np.float32).reshape(4, 4, 1)
    path = declare(write_geotiff(tmp_path / "tile.tif", values), nodata)
    with rasterio.open(path) as file:
        masked = file.read_masks(1) == 0
    np.testing.assert_array_equal(is_nodata(values[..., 0], nodata), masked)


def test_nodata_written_short_covers_the_limit_of_float32(tmp_path: Path) -> None:
    values = pixels(1, "float32")
    values[:12] = SMALLEST
    found = read(declare(write_geotiff(tmp_path / "tile.tif", values), -3.4e38))
    assert np.all(found[:12] == pytest.approx(values[12:].mean(), rel=1e-6))


@pytest.mark.parametrize("nodata", [-9999.0, 256.0, np.nan, np.inf, 1e300])
def test_nodata_outside_a_whole_number_type_is_no_pixel(nodata: float) -> None:
    assert not is_nodata(np.arange(256, dtype=np.uint8).reshape(16, 16), nodata).any()


def edged(value: float, dtype: str = "float32", size: int = 32, seed: int = 0) -> np.ndarray:
    """A tile from 0 to 1 (uint16: to 4000) with an edge of the value, in the second of two bands."""
    values = np.random.default_rng(seed).random((size, size, 2)) * (1 if dtype == "float32" else 4000)
    values[:, :4, 1] = value
    return values.astype(dtype)


@pytest.mark.parametrize(("dtype", "value"), [("float32", -9999), ("float32", SMALLEST), ("uint16", 65535)])
def test_value_that_lost_its_tag_is_reported_once_with_tile_and_value(tmp_path: Path, dtype: str, value: float) -> None:
    for seed, name in enumerate(("a", "b")):
        write_geotiff(tmp_path / f"{name}.tif", edged(value, dtype, seed=seed))
    images = open_folder(tmp_path, None, 20).images  # resizing would mix the edge with what is beside it
    message = re.escape(f"tif has the value {value:g} in 128 of 1024 pixels of band 2, far from all others (")
    with pytest.warns(InputWarning, match=message) as caught:
        band_statistics(images, np.array([0, 0, 1, 1]))
    assert len(caught) == 1


@pytest.mark.parametrize(
    "values",
    [
        edged(-9999)[:, 4:],
        edged(0.0),
        edged(1.5),  # not farther than the others are apart
        np.where(np.arange(1024).reshape(32, 32, 1) < 20, np.float32(-9999), edged(0.5)),  # less than a side of them
        np.full((8, 8, 1), -9999.0, np.float32),  # nothing to compare with
        np.where(np.arange(64).reshape(8, 8, 1) < 30, np.float32(-1), np.float32(3)),  # two classes
        np.where(np.arange(64).reshape(8, 8, 1) < 30, 255, pixels(1, size=8) % 9 + 1).astype(np.uint8),
    ],
)
def test_other_pixels_are_not_taken_for_lost_nodata(values: np.ndarray) -> None:
    assert find_lone_value(values) is None


def test_declared_nodata_is_not_reported(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "tile.tif", edged(-9999), nodata=-9999)
    assert open_folder(tmp_path, None, 32).images[0].min() >= 0
