"""A short way for plain TIFFs, which most tiles are; GDAL reads all others.

GDAL takes half a millisecond to open a file, of whatever size, and reads one band after the other; this takes less than
a tenth of that. A file is plain if the meaning of each of its tags is known here, and one that is strange or damaged is
not: GDAL decides on it and words the error.
"""

import math
import re
import struct
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

try:  # a third faster; the same numbers
    from isal import isal_zlib as zlib
except ImportError:  # on a machine for which isal has no wheel
    import zlib

# Tags (TIFF 6.0 and GDAL) that say how the pixels are stored; those with a default may be missing.
TAGS = {
    **{254: "kind", 256: "width", 257: "height", 258: "bits", 259: "compression", 262: "colours", 266: "bit_order"},
    **{273: "strip_starts", 274: "orientation", 277: "bands", 278: "strip_height", 279: "strip_sizes", 284: "planes"},
    **{317: "predictor", 322: "tile_width", 323: "tile_height", 324: "tile_starts", 325: "tile_sizes"},
    **{338: "further_bands", 339: "number_format", 42112: "metadata", 42113: "nodata"},
}
TEXTS = {"metadata", "nodata"}
DEFAULTS = {"kind": 0, "compression": 1, "bit_order": 1, "orientation": 1, "bands": 1, "planes": 1, "predictor": 1}
# Texts, resolution and georeference: they say nothing about the stored numbers.
OTHERS = {269, 270, 271, 272, 282, 283, 285, 296, 305, 306, 315, 316, 700, 33432, 33550, 33922, 34264, 34735}
OTHERS |= {34736, 34737}
TYPES = {2: "s", 3: "H", 4: "I"}  # of the values of tags
DTYPES = {(8, 1): "u1", (16, 1): "u2", (32, 3): "f4"}  # by bits and number format
UNCOMPRESSED, DEFLATE = 1, {8, 32946}
COLOURS = {1: 1, 2: 3}  # bands of grey and RGB; all others are further ones, transparency too
DIFFERENCES, FLOAT_DIFFERENCES = 2, 3  # of neighbours, as predictors store them
NUMBER = re.compile(rb"-?\d+(\.\d*)?(e[+-]?\d+)?|nan")  # what Python and GDAL read alike
SPECIAL = (b"NODATA_VALUES", b"scale", b"offset")  # metadata that GDAL heeds


class PlainTiff(NamedTuple):
    """How the pixels of a plain TIFF are stored."""

    height: int
    width: int
    bands: int
    dtype: np.dtype
    """Of the stored numbers, in the byte order of the file."""
    block_height: int
    block_width: int
    is_tiled: bool
    """Whether blocks are whole at the lower edge."""
    is_planar: bool
    """Whether each band has blocks of its own."""
    is_compressed: bool
    predictor: int
    starts: Sequence[int]
    """First byte of each block in the file."""
    sizes: Sequence[int]
    """Stored bytes of each block."""
    nodata: float | None


def parse(start: bytes, length: int) -> PlainTiff | None:
    """How a TIFF of `length` bytes is stored, by those at its start; None if it is not plain or they do not tell."""
    try:
        return _plain(_tags(start), start[:2] == b"MM", length)
    except (struct.error, LookupError, ValueError, ArithmeticError):
        return None


def _tags(data: bytes) -> dict[str, tuple]:
    """The values of all tags by name. Raises KeyError or struct.error for a file that is not plain."""
    order = {b"II*\0": "<", b"MM\0*": ">"}[data[:4]]
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    tags: dict[str, tuple] = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", data, place)
        if tag in OTHERS:
            continue
        values = struct.Struct(f"{order}{number}{TYPES[kind]}")
        if values.size > 4:
            (place,) = struct.unpack_from(f"{order}I", data, place + 8)
        else:
            place += 8
        name = TAGS[tag]
        if name in tags or (TYPES[kind] == "s") != (name in TEXTS):
            raise KeyError(name)
        tags[name] = values.unpack_from(data, place)
    if struct.unpack_from(f"{order}I", data, start + 2 + 12 * count) != (0,):  # more pages: a mask, overviews
        raise KeyError("pages")
    return tags


def _plain(tags: Mapping[str, tuple], is_big_endian: bool, length: int) -> PlainTiff | None:
    """What the tags say of a file of `length` bytes. Raises KeyError or ValueError, too, if it is not plain."""

    def single(name: str) -> int:
        (value,) = tags[name] if name in tags else (DEFAULTS[name],)
        return value

    height, width, bands, predictor = map(single, ("height", "width", "bands", "predictor"))
    compression, colours, planes = map(single, ("compression", "colours", "planes"))
    bits = tags["bits"]
    if len(bits) != bands:  # before anything is as long as a damaged number says
        return None
    formats = tags.get("number_format", (1,) * bands)
    further = tags.get("further_bands", (0,) * (bands - COLOURS[colours]))
    dtype = np.dtype(DTYPES[bits[0], formats[0]]).newbyteorder(">" if is_big_endian else "<")
    is_tiled, is_planar, is_compressed = "tile_width" in tags, planes == 2 and bands > 1, compression != UNCOMPRESSED
    kind, other = ("tile", "strip") if is_tiled else ("strip", "tile")
    block_height = single("tile_height") if is_tiled else min(single("strip_height"), height)
    block_width = single("tile_width") if is_tiled else width
    starts, sizes = tags[f"{kind}_starts"], tags[f"{kind}_sizes"]
    blocks = math.ceil(height / block_height) * math.ceil(width / block_width) * (bands if is_planar else 1)
    is_plain = (
        (single("kind"), single("bit_order"), single("orientation")) == (0, 1, 1)
        and not any(name.startswith(other) for name in tags)
        and len(further) == bands - COLOURS[colours]
        and set(further) <= {0, 1, 2}
        and planes in (1, 2)
        and (not is_compressed or compression in DEFLATE)
        and (predictor in (1, DIFFERENCES) or (predictor == FLOAT_DIFFERENCES and dtype.kind == "f"))
        and (bits, formats) == (bits[:1] * bands, formats[:1] * bands)
        and len(starts) == len(sizes) == blocks > 0
        and min(starts) > 0 < min(sizes)
        and max(map(sum, zip(starts, sizes, strict=True))) <= length
        and not any(word in tags.get("metadata", (b"",))[0] for word in SPECIAL)
    )
    if not is_plain:
        return None
    nodata = _nodata(tags["nodata"][0], dtype) if "nodata" in tags else None
    layout = (block_height, block_width, is_tiled, is_planar, is_compressed, predictor if is_compressed else 1)
    return PlainTiff(height, width, bands, dtype, *layout, starts, sizes, nodata)


def _nodata(text: bytes, dtype: np.dtype) -> float:
    """The declared nodata value. Raises ValueError for one that the type does not have: GDAL knows what then counts."""
    text = text.rstrip(b"\0 ")
    value = float(text) if NUMBER.fullmatch(text) else math.inf
    if dtype.kind == "f":
        is_value = math.isnan(value) or abs(value) <= float(np.finfo(dtype).max)
    else:
        is_value = value % 1 == 0 and 0 <= value <= np.iinfo(dtype).max
    if not is_value:
        raise ValueError(value)
    return value


def read(data: bytes, tiff: PlainTiff) -> Shaped[np.ndarray, "h w bands"] | None:
    """The stored pixels, or None if a block is damaged."""
    stored, tiff = memoryview(data), _in_one_block(tiff)
    pixels = _empty(tiff)
    per_block = 1 if tiff.is_planar else tiff.bands
    tops, lefts = range(0, tiff.height, tiff.block_height), range(0, tiff.width, tiff.block_width)
    places = product(range(0, tiff.bands, per_block), tops, lefts)
    for (band, top, left), start, size in zip(places, tiff.starts, tiff.sizes, strict=True):
        rows = tiff.block_height if tiff.is_tiled else min(tiff.block_height, tiff.height - top)
        block = _unpacked(stored[start : start + size], (rows, tiff.block_width, per_block), tiff)
        if block is None:
            return None
        inside = pixels[top : top + rows, left : left + tiff.block_width, band : band + per_block]
        inside[:] = block[: inside.shape[0], : inside.shape[1]]
    return pixels


def _empty(tiff: PlainTiff) -> Shaped[np.ndarray, "h w bands"]:
    """An array for the pixels, laid out as `resize` wants them: bands of bytes side by side, all others apart."""
    dtype = tiff.dtype.newbyteorder("=")
    if dtype.itemsize == 1:
        return np.empty((tiff.height, tiff.width, tiff.bands), dtype)
    return np.moveaxis(np.empty((tiff.bands, tiff.height, tiff.width), dtype), 0, -1)


def _in_one_block(tiff: PlainTiff) -> PlainTiff:
    """A layout of one block for strips that follow each other uncompressed: GDAL makes strips of a few rows."""
    follow = all(
        start + size == after for start, size, after in zip(tiff.starts, tiff.sizes, tiff.starts[1:], strict=False)
    )
    if tiff.is_tiled or tiff.is_planar or tiff.is_compressed or not follow:
        return tiff
    return tiff._replace(block_height=tiff.height, starts=tiff.starts[:1], sizes=(sum(tiff.sizes),))


def _unpacked(
    stored: bytes | memoryview, shape: tuple[int, int, int], tiff: PlainTiff
) -> Shaped[np.ndarray, "rows columns bands"] | None:
    """The numbers of one block, or None if it is not of this shape."""
    size = math.prod(shape) * tiff.dtype.itemsize
    if tiff.is_compressed:
        try:
            stream = zlib.decompressobj()
            stored = stream.decompress(stored, size + 1)  # no more, whatever the block claims
        except zlib.error:
            return None
        if not stream.eof:
            return None
    if len(stored) != size:
        return None
    rows, _, bands = shape
    if tiff.predictor == FLOAT_DIFFERENCES:  # of bytes, and in each row all first bytes are before all second ones
        whole = np.add.accumulate(np.frombuffer(stored, np.uint8).reshape(rows, -1, bands), axis=1, dtype=np.uint8)
        return whole.reshape(rows, 4, -1).swapaxes(1, 2).copy().view(">f4").reshape(shape)
    numbers = np.frombuffer(stored, tiff.dtype).reshape(shape)
    if tiff.predictor != DIFFERENCES:
        return numbers
    whole = numbers.astype(tiff.dtype.newbyteorder("="), copy=False).view(f"u{tiff.dtype.itemsize}")
    return np.add.accumulate(whole, axis=1, dtype=whole.dtype).view(numbers.dtype.newbyteorder("="))
