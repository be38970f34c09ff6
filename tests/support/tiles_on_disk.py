"""Writing tiles for tests."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image

from aljax.data.archive import Archive
from aljax.data.tiles.decoding import TileForm
from aljax.data.tiles.files import digest_tiles, read_file
from aljax.data.tiles.images import EncodedImages


def pixels(bands: int = 3, dtype: str = "uint8", seed: int = 0, size: int = 16) -> np.ndarray:
    """(size, size, bands) of noise."""
    noise = np.random.default_rng(seed).integers(0, 250, (size, size, bands))
    return (noise * (100 if dtype == "uint16" else 1)).astype(dtype)


def write_geotiff(path: Path, values: np.ndarray, **profile: object) -> Path:
    """A GeoTIFF of (h, w, bands) with a georeference unless the profile says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, bands = values.shape
    where = {"crs": "EPSG:25832", "transform": rasterio.Affine(0.2, 0.0, 500000.0, 0.0, -0.2, 5800000.0)}
    kind = {"driver": "GTiff", "height": height, "width": width, "count": bands, "dtype": values.dtype.name}
    with rasterio.open(path, "w", **{**where, **kind, **profile}) as file:
        file.write(np.moveaxis(values, -1, 0))
    return path


def write_masked(path: Path, values: np.ndarray) -> Path:
    """A GeoTIFF of one band without data in its upper half, as its mask tells."""
    height, width, _ = values.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8"}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as file:
        file.write(values[..., 0], 1)
        file.write_mask(np.arange(height * width).reshape(height, width) >= height * width // 2)
    return path


def write_png(path: Path, values: np.ndarray) -> Path:
    """An 8-bit PNG (JPEG for a name that ends so) of one, three or four bands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.squeeze()).save(path)
    return path


def cut(path: Path) -> None:
    """Leaves half of a file, as an interrupted copy does."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def on_disk(archive: Archive, folder: Path) -> Archive:
    """The archive with its tiles in PNG files, which are read whenever they are needed."""
    files = [write_png(folder / f"{name}.png", image) for name, image in zip(archive.ids, archive.images, strict=True)]
    form = TileForm(archive.images.shape[-1], "uint8")
    images = EncodedImages(lambda index: read_file(files[index]), list(map(str, files)), archive.images.shape[1], form)
    return replace(
        archive,
        images=images,
        digest=digest_tiles((hashlib.sha256(path.read_bytes()).digest() for path in files), len(files), 0),
    )


def jpeg_of_inks(path: Path, colours: np.ndarray, kind: str) -> Path:
    """A JPEG of four components: `CMYK`, the same `unmarked` by Adobe, or `YCCK`, as Photoshop writes them."""
    inks = np.array(Image.fromarray(colours).convert("CMYK"))
    if kind == "YCCK":  # brightness and hue in place of cyan, magenta and yellow; stored inverted, as all of them are
        inks[..., :3] = 255 - np.asarray(Image.fromarray(inks[..., :3]).convert("YCbCr"))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.merge("CMYK", [Image.fromarray(band) for band in np.moveaxis(inks, -1, 0)]).save(
        path, "JPEG", quality=95, subsampling=0
    )
    data = path.read_bytes()
    start = data.index(b"\xff\xee\0\x0eAdobe")
    marker = data[start : start + 16]
    path.write_bytes(data.replace(marker, {"CMYK": marker, "YCCK": marker[:-1] + b"\2", "unmarked": b""}[kind], 1))
    return path
