"""Decoding of tiles: plain GeoTIFFs here, all others with all bands by rasterio, PNG and JPEG by Pillow.

The format is recognised by the first bytes of a file, not by its name.
"""

import functools
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from aljax.data.tiles import plain_tiff
from aljax.data.tiles.nodata import Masks, fill
from aljax.errors import InputError

# A tile is a small image; a larger one is a whole scene, or a malicious file.
MAX_PIXELS = 8192 * 8192
MAX_BYTES = 2**30  # decoded or encoded; several are read at once
HEADER_BYTES = 2**14  # at the start of a file, where nearly all programs write the tags of a TIFF
DTYPES = ("uint8", "uint16", "float32")
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PILLOW_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
# Number of bands by Pillow's mode, for modes that lose nothing; palettes and CMYK are converted to RGB.
PILLOW_BANDS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 3, "P": 3}
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)


class TileForm(NamedTuple):
    """Number of bands and type, which all tiles of an archive share."""

    bands: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.bands} {'band' if self.bands == 1 else 'bands'} of {self.dtype}"


def decode(data: bytes, name: str, expected: TileForm | None = None) -> Shaped[np.ndarray, "h w bands"]:
    """Pixels (h, w, bands) of an encoded tile, in the stored type: uint8, uint16 or float32.

    Pixels without data (by a declared nodata value or mask) get the mean of the band's other pixels, which stays
    inconspicuous after standardisation. Raises InputError, with `name`, for a tile that is empty, truncated, too large,
    of another format, without valid pixels or with NaN, or not of the form `expected`.
    """
    with _naming(name):
        pixels = _decode_tiff(data, name) if _is_tiff(data, name) else _decode_pillow(data, name)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise InputError(
            f"{name} has NaN or infinite pixels and no nodata value that would explain them: fill them, or declare NaN "
            "as nodata (rio edit-info --nodata nan FILE)"
        )
    form = TileForm(pixels.shape[-1], pixels.dtype.name)
    if form != (expected or form):
        raise InputError(f"{name} has {form} where the archive has {expected}: replace the file")
    return pixels


class Header(NamedTuple):
    """Properties of a tile from the header of its file."""

    form: TileForm
    is_cmyk: bool
    """Whether it is a CMYK JPEG, which is converted to RGB."""


def read_header(path: Path) -> Header:
    """Bands and type of a tile from its header alone. Raises InputError."""
    name = str(path)
    try:
        with path.open("rb") as file:
            start, length = file.read(HEADER_BYTES), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise InputError(f"{name} is not readable ({error.strerror}): check its permissions") from error
    with _naming(name):
        if _is_tiff(start, name):
            with plain_tiff.plain_page(start, length) as page:
                if page is not None:
                    return Header(_plain_form(page, name), False)
            with _rasterio().open(path, driver="GTiff") as source:
                return Header(_tiff_form(source, name), False)
        with Image.open(path) as image:
            return Header(_pillow_form(image, name), image.mode == "CMYK")


def _is_tiff(data: bytes, name: str) -> bool:
    """Whether data with these first bytes is a TIFF, not PNG or JPEG. Raises InputError for other formats."""
    if not data:
        raise InputError(f"{name} is empty (0 bytes): replace the file")
    if not data.startswith((*TIFF_SIGNATURES, *PILLOW_SIGNATURES)):
        raise InputError(f"{name} is not a TIFF, PNG or JPEG image: replace the file")
    return data.startswith(TIFF_SIGNATURES)


class Georeference(NamedTuple):
    """Georeference of a tile: reference system, affine transform and size."""

    crs: str
    """Coordinate reference system as well-known text."""
    transform: tuple[float, ...]
    """(a, b, c, d, e, f): x = a * column + b * row + c, y = d * column + e * row + f."""
    height: int
    """In pixels."""
    width: int


def read_georeference(path: Path) -> Georeference | None:
    """Georeference of a GeoTIFF, or None for a file without one. Raises InputError."""
    with _naming(str(path)), _rasterio().open(path) as source:
        # For a file with a reference system but no transform, rasterio gives the identity.
        if not source.crs or source.transform.is_identity:
            return None
        return Georeference(source.crs.to_wkt(), tuple(source.transform)[:6], source.height, source.width)


@functools.cache
def _rasterio() -> ModuleType:
    """rasterio, imported and configured at its first use."""
    import rasterio
    import rasterio._err
    import rasterio.errors

    # GDAL's log messages about a broken tile are in the error as well; without a handler Python would print them.
    logging.getLogger("rasterio").addHandler(logging.NullHandler())
    # Tiles need no georeference.
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    return rasterio


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Turns errors of Pillow and rasterio into InputError with the tile's name."""
    try:
        yield
    except InputError:
        raise
    # rasterio does not wrap all errors of GDAL, for instance that of a truncated second directory.
    except (_rasterio().errors.RasterioError, _rasterio()._err.CPLE_BaseError) as error:
        raise _unreadable(name, error.__cause__ or error) from error
    except PILLOW_ERRORS as error:
        raise _unreadable(name, error) from error


def _decode_tiff(data: bytes, name: str) -> Shaped[np.ndarray, "h w bands"]:
    with plain_tiff.plain_page(data, len(data)) as page:
        if page is not None:
            form = _plain_form(page, name)
            pixels = _laid_out(plain_tiff.read(page))
            fill(pixels, [plain_tiff.nodata(page)] * form.bands, {}, name)
            return pixels
    with _rasterio().MemoryFile(data) as file, file.open(driver="GTiff") as source:
        _tiff_form(source, name)
        pixels = _laid_out(np.moveaxis(source.read(), 0, -1))
        fill(pixels, source.nodatavals, _masks(source), name)
        return pixels


def _laid_out(pixels: Shaped[np.ndarray, "h w bands"]) -> Shaped[np.ndarray, "h w bands"]:
    """The same pixels as they are checked and resized fastest: bytes with the bands side by side, all others apart."""
    if pixels.dtype.itemsize == 1:
        return np.ascontiguousarray(pixels)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(pixels, -1, 0)), 0, -1)


def _masks(source: Any) -> Masks:
    """Masks of the bands of a rasterio dataset that have one. An alpha band is no mask, but a normal band."""
    kinds = ({flag.name for flag in flags} for flags in source.mask_flag_enums)
    bands = (band for band, names in enumerate(kinds) if "per_dataset" in names and "alpha" not in names)
    return {band: source.read_masks(band + 1) > 0 for band in bands}


def _tiff_form(source: Any, name: str) -> TileForm:
    _check_size(source.width, source.height, name)
    if source.subdatasets:
        raise InputError(f"{name} has {len(source.subdatasets)} pages: store its bands in one")
    if any(band.name == "palette" for band in source.colorinterp):
        raise InputError(f"{name} has a palette: convert it to red, green and blue")
    types = sorted(set(source.dtypes))
    if len(types) > 1:
        raise InputError(f"{name} mixes bands of {' and '.join(types)}: give all bands one type")
    if types[0] not in DTYPES:
        raise InputError(f"{name} is of type {types[0]}: convert it to {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    form = TileForm(source.count, types[0])
    _check_blocks((source.width, source.height), source.block_shapes[0], form, name)
    return form


def _plain_form(page: Any, name: str) -> TileForm:
    size, form = (page.imagewidth, page.imagelength), TileForm(page.samplesperpixel, page.dtype.name)
    _check_size(*size, name)
    block = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    _check_blocks(size, block, form, name)
    return form


def _check_blocks(size: tuple[int, int], block: tuple[int, int], form: TileForm, name: str) -> None:
    _check_bytes(*size, form, f"{name} has")
    _check_bytes(block[1], block[0], form, f"{name} is stored in blocks of")  # each is read whole


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{name} has {width} x {height} pixels, too many for a tile (at most {MAX_PIXELS}): cut it into tiles"
        )


def _check_bytes(width: int, height: int, form: TileForm, what: str) -> None:
    size = width * height * form.bands * np.dtype(form.dtype).itemsize
    if size > MAX_BYTES:
        raise InputError(
            f"{what} {width} x {height} pixels in {form}, {size} bytes, too many for a tile (at most {MAX_BYTES}): "
            "cut it into tiles, or leave out bands"
        )


def _decode_pillow(data: bytes, name: str) -> Shaped[np.ndarray, "h w bands"]:
    with Image.open(io.BytesIO(data)) as image:
        form = _pillow_form(image, name)
        if form.dtype == "uint8":
            image.info.pop("transparency", None)  # of a palette; Pillow would warn of it
            pixels = np.asarray(image.convert("RGB") if image.mode in ("P", "CMYK") else image)
            return pixels.reshape(*pixels.shape[:2], form.bands)
    with _rasterio().MemoryFile(data) as file, file.open(driver="PNG") as source:
        return np.ascontiguousarray(np.moveaxis(source.read(), 0, -1))


def _pillow_form(image: Image.Image, name: str) -> TileForm:
    _check_size(*image.size, name)
    # Pillow opens a 16-bit PNG of several bands with 8 bits; only the arguments of its decoder show the difference.
    stored = (str(part[3]).partition(";") for part in getattr(image, "tile", ()))
    if sixteen := next((mode for mode, _, layout in stored if layout == "16B"), None):
        form = TileForm(1 if sixteen == "I" else PILLOW_BANDS[sixteen], "uint16")
    elif image.mode in PILLOW_BANDS:
        form = TileForm(PILLOW_BANDS[image.mode], "uint8")
    else:
        raise InputError(f"{name} has the pixel type {image.mode}: convert it to 8 or 16 bits per band")
    _check_bytes(*image.size, form, f"{name} has")
    return form


def _unreadable(name: str, error: BaseException) -> InputError:
    # GDAL's messages have line breaks and the name of the file in memory: both are removed.
    reason = re.sub(r"\S*[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\S*\s*", "", " ".join(str(error).split()))
    return InputError(f"{name} is not readable as an image ({reason}): replace the file")
