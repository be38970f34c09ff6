"""Geometries of tiles from GeoParquet files, which store them beside the features."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aljax.data.archive import Archive
from aljax.data.features.parquet import columns_of, find_files, is_parquet
from aljax.data.geojson import DECIMALS, Geometry, outline_of, read_outlines
from aljax.data.label_rows import normal
from aljax.data.space.distances import Footprints
from aljax.data.space.footprints import locate
from aljax.errors import InputError, InputWarning


def has_geometry(path: Path) -> bool:
    """Whether `path` is GeoParquet, a file or a folder of them."""
    return is_parquet(path) and b"geo" in columns_of(find_files(path)[0]).metadata


def read_geometries(path: Path, ids: Sequence[str]) -> list[Geometry | None]:
    """GeoJSON geometries of the tiles `ids`, in degrees on WGS 84; None for a tile without one.

    Raises InputError if the files are no GeoParquet or lack a reference system, or if GeoPandas is not installed.
    """
    if not has_geometry(path):
        raise InputError(f"{path} has no geometry, which GeoJSON wants: give GeoParquet, or write a CSV file")
    found: dict[str, Geometry | None] = {}
    for file in find_files(path):
        found |= _read(file)
    return [found.get(normal(tile)) for tile in ids]


def with_footprints(archive: Archive, features: Path | None = None, required: bool = False) -> Archive:
    """The archive with the places of its tiles, from their files or, if these have none, beside their `features`.

    Raises InputError for places that cannot be read if they are `required`; otherwise warns, and there are none.
    """
    try:
        found: list[Any] = read_outlines(archive)
        if features is not None and has_geometry(features) and all(outline is None for outline in found):
            found = [outline_of(shape) for shape in read_geometries(features, archive.ids)]
        footprints = None if all(one is None for one in found) else locate(found)
        if footprints is not None:
            _refuse_one_place(footprints, archive)
    except InputError as error:
        if required:
            raise
        warnings.warn(InputWarning(f"nobody knows which tiles show the same place: {error}"), stacklevel=2)
        return archive
    return replace(archive, footprints=footprints)


def _refuse_one_place(footprints: Footprints, archive: Archive) -> None:
    """Raises InputError if most tiles have the same outline: software wrote it for want of a better one."""
    count = int(np.bincount(footprints.of[footprints.of >= 0]).max())
    if count > max(1, len(archive.ids) // 2):
        raise InputError(
            f"{count} of {len(archive.ids)} tiles of {archive.name} have one and the same outline: mend their places"
        )


def _read(file: Path) -> Mapping[str, Geometry | None]:
    """Geometries of a file's tiles by id."""
    try:
        import geopandas
        import shapely
    except ImportError as error:
        raise InputError("geometry of GeoParquet is read by GeoPandas: pip install aljax[maps]") from error
    schema = columns_of(file)
    about = json.loads(schema.metadata.get(b"geo", b"{}"))
    if "primary_column" not in about:
        raise InputError(f"{file} has no geometry, and others beside it have one: write them alike")
    try:
        table = geopandas.read_parquet(file, columns=[schema.ids, about["primary_column"]])
        degrees = table.geometry.to_crs(4326)
    except (ValueError, OSError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"the geometry of {file} leads to no longitude and latitude ({reason}): mend it") from error
    rounded = shapely.set_precision(degrees.array, 10.0**-DECIMALS, mode="pointwise")
    geometries = (None if shape is None or shape.is_empty else _as_geojson(shape) for shape in rounded)
    return dict(zip((normal(str(tile)) for tile in table[schema.ids]), geometries, strict=True))


def _as_geojson(shape: Any) -> Geometry:
    import shapely

    found: Geometry = json.loads(shapely.to_geojson(shape))
    return found
