"""A short way for plain TIFFs, as most uncompressed tiles are, by tifffile; GDAL reads all others.

GDAL takes a millisecond to open and read a tile of 256 x 256 x 4, tifffile a tenth of that. A file is plain if it is
uncompressed and the meaning of each of its tags is known here. One that is strange or damaged is not, for tifffile
makes of it what it can: GDAL decides on it and words the error.
"""

import io
import logging
import math
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Shaped

# Tags (TIFF 6.0 and GDAL) that say how the pixels are stored: by one number, by one for each band, and further ones.
SINGLE, OF_BANDS, FURTHER_BANDS = {254, 256, 257, 259, 262, 266, 274, 277, 278, 284, 317, 322, 323}, {258, 339}, 338
STRIPS, TILES, ORIENTATION, METADATA, NODATA = {273, 278, 279}, {322, 323, 324, 325}, 274, 42112, 42113
# Texts, resolution and georeference: they say nothing about the stored numbers, and two are read apart.
OTHERS = {269, 270, 271, 272, 282, 283, 285, 296, 305, 306, 315, 316, 700, 33432, 33550, 33922, 34264, 34735}
OTHERS |= {34736, 34737, METADATA, NODATA}
UNSIGNED = (3, 4)  # types of whole numbers in tags
KINDS = {(8, 1), (16, 1), (32, 3)}  # bits and number format of uint8, uint16 and float32
COLOURS = {1: 1, 2: 3}  # bands of grey and RGB; all others are further ones, transparency too
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?(e[+-]?[0-9]+)?|nan")  # what Python and GDAL read alike
SPECIAL = re.compile("NODATA_VALUES|scale|offset")  # metadata that GDAL heeds
logging.getLogger("tifffile").addHandler(logging.NullHandler())  # or Python prints what it says of damaged files


@contextmanager
def plain_page(start: bytes, length: int) -> Iterator[Any]:
    """The page (a TiffPage) of a plain TIFF of `length` bytes, by those at its start; None if it is not plain."""
    import tifffile  # takes a tenth of a second

    with io.BytesIO(start) as stream:
        try:
            file = tifffile.TiffFile(stream)
            page = file.pages.first
            (tags,) = struct.unpack_from(f"{file.byteorder}H", start, page.offset)
            end = page.offset + 2 + 12 * tags
            is_alone = not file.is_bigtiff and len(page.tags) == tags and start[end : end + 4] == bytes(4)
            is_plain = is_alone and _is_plain(page) and _is_whole(page, length)
        except Exception:  # many kinds, of damaged files
            is_plain = False
        yield page if is_plain else None


def _is_plain(page: Any) -> bool:
    """Whether all tags are known and say that the numbers are stored as they are. Raises an error, too, if not."""
    nodata(page)
    bands, further = page.samplesperpixel, page.extrasamples
    tags = [tag for tag in page.tags if tag.code not in OTHERS]
    counts = dict.fromkeys(SINGLE, 1) | dict.fromkeys(OF_BANDS, bands) | {FURTHER_BANDS: len(further)}
    blocks = {tag.code for tag in tags if tag.code not in counts or tag.code in STRIPS | TILES}
    return (
        (blocks <= STRIPS or blocks <= TILES)
        and all(tag.dtype in UNSIGNED and tag.count == counts.get(tag.code, tag.count) for tag in tags)
        and (page.subfiletype, page.compression, page.predictor, page.fillorder) == (0, 1, 1, 1)
        and (page.tags.valueof(ORIENTATION, 1), page.planarconfig) in ((1, 1), (1, 2))
        and (page.bitspersample, page.sampleformat) in KINDS
        and (len(further) == bands - COLOURS[page.photometric] and set(further) <= {0, 1, 2})
        and not SPECIAL.search(page.tags.valueof(METADATA, ""))
    )


def _is_whole(page: Any, length: int) -> bool:
    """Whether each block is in the file and as long as it must be; tifffile fills up one that is not."""
    offsets, sizes, planes = page.dataoffsets, page.databytecounts, page.shaped[0]
    if not len(offsets) == len(sizes) == math.prod(page.chunked) > 0:
        return False
    size, rows = math.prod(page.chunks) * page.dtype.itemsize, page.rowsperstrip
    last = size if page.is_tiled else size // rows * ((page.imagelength - 1) % rows + 1)
    of_plane = (size,) * (len(sizes) // planes - 1) + (last,)
    ends = map(sum, zip(offsets, sizes, strict=True))
    return sizes == of_plane * planes and min(offsets) > 0 < min(sizes) and max(ends) <= length


def nodata(page: Any) -> float | None:
    """The declared nodata value. Raises ValueError for one that the type does not have: GDAL knows what then counts."""
    if NODATA not in page.tags:
        return None
    text = page.tags.valueof(NODATA).rstrip("\0 ")
    value = float(text) if NUMBER.fullmatch(text) else math.inf
    if page.dtype.kind == "f":
        is_value = math.isnan(value) or abs(value) <= float(np.finfo(page.dtype).max)
    else:
        is_value = value % 1 == 0 and 0 <= value <= np.iinfo(page.dtype).max
    if not is_value:
        raise ValueError(value)
    return value


def read(page: Any) -> Shaped[np.ndarray, "h w bands"]:
    """The stored pixels of a plain page."""
    planes = page.asarray(squeeze=False, maxworkers=1)[:, 0]  # without threads: tiles are read side by side already
    return np.moveaxis(planes, 0, -1).reshape(*planes.shape[1:3], page.samplesperpixel)
