"""Tiles at places on the Earth, and the way between them by another implementation."""

import itertools
import zlib
from pathlib import Path

import numpy as np
import pyproj
import rasterio
from tiles_on_disk import pixels, write_geotiff

GEOD = pyproj.Geod(ellps="WGS84")


def squares(crs: str, places: list[tuple[float, float]], side: float) -> list[np.ndarray]:
    """Outlines in degrees of squares with these upper left corners."""
    to_degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    steps = np.array([(0, 0), (0, -1), (1, -1), (1, 0), (0, 0)]) * side
    return [np.stack(to_degrees.transform(*(steps + place).T), -1) for place in places]


def grid(crs: str, corner: tuple[float, float], rows: int, columns: int, step: float, side: float) -> list[np.ndarray]:
    places = [(corner[0] + step * column, corner[1] - step * row) for row in range(rows) for column in range(columns)]
    return squares(crs, places, side)


def geodesic_gap(one: np.ndarray, other: np.ndarray, points: int = 41) -> float:
    """The least way along the ellipsoid between points on the edges of two outlines that are apart."""
    shares = np.linspace(0.0, 1.0, points)[:, None]
    first, second = (
        np.concatenate([a + shares * (b - a) for a, b in itertools.pairwise(ring)]) for ring in (one, other)
    )
    east, north = (np.repeat(first[:, axis], len(second)) for axis in (0, 1))
    return float(GEOD.inv(east, north, np.tile(second[:, 0], len(first)), np.tile(second[:, 1], len(first)))[2].min())


def write_tile(path: Path, crs: str, left: float, top: float, side: float, seed: int, size: int = 16) -> Path:
    place = rasterio.Affine(side / size, 0.0, left, 0.0, -side / size, top)
    return write_geotiff(path, pixels(seed=seed, size=size), crs=crs, transform=place)


def write_mosaic(
    folder: Path, crs: str, corner: tuple[float, float], rows: int, columns: int, side: float
) -> list[str]:
    """Tiles that touch each other; their ids. Seeds follow the ids, so no two tiles are alike."""
    ids = []
    for number in range(rows * columns):
        row, column = divmod(number, columns)
        name = f"{crs.rpartition(':')[2]}-{row:02d}-{column:02d}.tif"
        seed = zlib.crc32(name.encode())
        write_tile(folder / name, crs, corner[0] + side * column, corner[1] - side * row, side, seed)
        ids.append(name)
    return ids
