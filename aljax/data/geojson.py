"""Outlines of tiles as GeoJSON (RFC 7946): longitude and latitude in degrees on WGS 84."""

import itertools
import json
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from aljax.data.archive import Archive
from aljax.data.tiles.georeferences import locate
from aljax.data.tiles.images import EncodedImages
from aljax.errors import InputError, InputWarning

DECIMALS = 8  # of a degree: about a millimetre
# Transformed at once: of a few setting the transformation up takes longest, and rasterio makes lists of numbers.
TILES_AT_ONCE = 65_536

Outline = Float[np.ndarray, "5 2"]
"""Closed ring of (longitude, latitude) in degrees of a tile's corners, starting at the first pixel.

Longitudes are continuous, so they may exceed 180 degrees, and around a pole the last differs from the first by 360.
"""

Geometry = dict[str, Any]
"""A GeoJSON geometry object."""


def read_outlines(archive: Archive, rows: Int[np.ndarray, " n"] | None = None) -> list[Outline | None]:
    """Outlines of the tiles `rows` (None: all) from the georeference in their files; None for a tile without one.

    Raises InputError if a georeference cannot be transformed to longitude and latitude.
    """
    rows = np.arange(len(archive.ids)) if rows is None else rows
    if not isinstance(archive.images, EncodedImages):
        return [None] * len(rows)
    images = archive.images.subset(rows)
    systems, places = images.georeferences(np.arange(len(rows))) if images.georeferences else locate(images.names)
    outlines: list[Outline | None] = [None] * len(rows)
    for number in np.unique(places["system"][places["system"] > 0]).tolist():
        there = np.flatnonzero(places["system"] == number)
        for some in np.split(there, range(TILES_AT_ONCE, len(there), TILES_AT_ONCE)):
            found = _to_wgs84(systems[number - 1], _corners(places[some]), images.names[some[0]])
            for index, outline in zip(some.tolist(), found, strict=True):
                outlines[index] = outline
    return outlines


def outline_of(geometry: Geometry | None) -> Outline | None:
    """A geometry's outline: itself if it has four corners, else its bounding box."""
    if geometry is None:
        return None
    rings = geometry["coordinates"] if geometry["type"] == "Polygon" else []
    if len(rings) == 1 and len(rings[0]) == 5:
        return np.array(rings[0], float)[:, :2]
    points = np.array([*_points(geometry.get("coordinates", geometry.get("geometries")))], float)
    points[:, 0] = points[0, 0] + (points[:, 0] - points[0, 0] + 180.0) % 360.0 - 180.0  # parts on both sides of 180
    (west, south), (east, north) = points.min(0), points.max(0)
    return np.array([(west, north), (west, south), (east, south), (east, north), (west, north)])


def _points(part: Any) -> Iterator[Sequence[float]]:
    """All positions in the nested lists of a geometry."""
    if isinstance(part, dict):
        yield from _points(part.get("coordinates", part.get("geometries")))
    elif isinstance(part[0], int | float):
        yield part[:2]
    else:
        for inner in part:
            yield from _points(inner)


def _corners(places: Shaped[np.ndarray, " n"]) -> Float[np.ndarray, "n 5 2"]:
    """The outlines in the tiles' own reference system."""
    a, b, c, d, e, f = places["transform"].T[:, :, None]
    columns = places["width"][:, None] * np.array([0, 0, 1, 1, 0])
    rows = places["height"][:, None] * np.array([0, 1, 1, 0, 0])
    return np.stack([a * columns + b * rows + c, d * columns + e * rows + f], -1)


def _to_wgs84(crs: str, corners: Float[np.ndarray, "n 5 2"], file: str) -> Float[np.ndarray, "n 5 2"]:
    from rasterio.warp import transform

    try:
        longitudes, latitudes = transform(crs, "EPSG:4326", *corners.reshape(-1, 2).T)
    except Exception as error:  # what rasterio raises here has no public type
        reason = str(error).partition(" from '")[0]
        raise InputError(
            f"the georeference of {file} leads to no longitude and latitude ({reason}): mend it"
        ) from error
    degrees = np.stack([longitudes, latitudes], -1).reshape(corners.shape)
    if not np.isfinite(degrees).all() or np.abs(degrees[..., 1]).max() > 90.0:
        raise InputError(f"the georeference of {file}, or of a tile like it, is nowhere on the Earth: mend it")
    # A tile is narrower than half the Earth, so a larger step between corners crosses 180 degrees.
    degrees[..., 0] = np.unwrap(degrees[..., 0], period=360.0, axis=-1)
    return degrees


def require_outline(outlines: Sequence[Outline | Geometry | None]) -> None:
    """Raises InputError if no tile has an outline."""
    if all(outline is None for outline in outlines):
        raise InputError("no tile has a georeference, which GeoJSON wants: write a CSV file")


def geojson_text(
    ids: Sequence[str], outlines: Sequence[Outline | Geometry | None], properties: Iterable[Mapping[str, Any]]
) -> str:
    """The text of `geojson_lines`."""
    return "".join(geojson_lines(ids, outlines, properties))


def geojson_lines(
    ids: Sequence[str], outlines: Sequence[Outline | Geometry | None], properties: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    """A GeoJSON feature collection: one feature (and line) per tile with an outline, with its id and properties.

    Warns of tiles without an outline. Raises InputError if none has one.
    """
    require_outline(outlines)
    if missing := [tile for tile, outline in zip(ids, outlines, strict=True) if outline is None]:
        message = f"{len(missing)} of {len(ids)} tiles have no georeference and are left out, as {missing[0]}"
        warnings.warn(InputWarning(message), stacklevel=2)
    before = '{"type": "FeatureCollection", "features": [\n'
    for tile, outline, more in zip(ids, outlines, properties, strict=True):
        if outline is not None:
            feature = {"type": "Feature", "geometry": _geometry(outline), "properties": {"id": tile, **more}}
            yield before + json.dumps(feature, ensure_ascii=False)
            before = ",\n"
    yield "\n]}\n"


def _geometry(outline: Outline | Geometry) -> Geometry:
    """The outline as a polygon, or as two on either side of 180 degrees; a geometry is returned unchanged."""
    if isinstance(outline, dict):
        return outline
    ring = outline
    if abs(ring[-1, 0] - ring[0, 0]) > 180.0:  # the ring goes around a pole: add the pole's latitude as an edge
        pole = math.copysign(90.0, ring[:, 1].mean())
        ring = np.concatenate([ring, [(ring[-1, 0], pole), (ring[0, 0], pole), ring[0]]])
    first, last = math.floor((ring[:, 0].min() + 180.0) / 360.0), math.ceil((ring[:, 0].max() - 180.0) / 360.0)
    turns = (ring - (360.0 * turn, 0.0) for turn in range(first, max(first, last) + 1))
    polygons = [[_counterclockwise(_clip(_clip(turn, 1.0), -1.0)).round(DECIMALS).tolist()] for turn in turns]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _clip(ring: Float[np.ndarray, "n 2"], side: float) -> Float[np.ndarray, "k 2"]:
    """The part of a ring west of longitude 180 (`side` 1), or east of longitude -180 (`side` -1)."""
    inside = side * ring[:, 0] <= 180.0
    if inside.all():
        return ring
    points = []
    for (one, other), (is_in, follows) in zip(itertools.pairwise(ring), itertools.pairwise(inside), strict=True):
        if is_in:
            points.append(one)
        if is_in != follows:
            share = (side * 180.0 - one[0]) / (other[0] - one[0])
            points.append(np.array([side * 180.0, one[1] + share * (other[1] - one[1])]))
    return np.array([*points, points[0]])


def _counterclockwise(ring: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    x, y = (ring - ring[0]).T
    return ring if (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0 else ring[::-1]
