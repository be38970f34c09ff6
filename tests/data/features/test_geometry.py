"""Geometry of GeoParquet, as GeoPandas writes it, is where tiles lie on a map."""

import json
import sys
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

from aljax.data.features.geometry import has_geometry, read_geometries
from aljax.data.features.writer import write_features
from aljax.data.geojson import geojson_text
from aljax.errors import InputError

# One hundred metres on the central meridian of zone 32, 9 degrees east, and on its edges.
SQUARES = [shapely.box(500_000, 5e6 + 100 * row, 500_100, 5e6 + 100 * (row + 1)) for row in range(3)]


def write(path: Path, ids: list[str], shapes: list, crs: int | None = 32632, **options: object) -> Path:
    vectors = list(np.arange(2 * len(ids), dtype=np.float32).reshape(-1, 2))
    geopandas.GeoDataFrame({"id": ids, "embedding": vectors}, geometry=shapes, crs=crs).to_parquet(path, **options)
    return path


@pytest.mark.parametrize("options", [{}, {"geometry_encoding": "geoarrow"}])
def test_polygons_come_in_degrees_in_the_order_that_is_asked_for(tmp_path: Path, options: dict[str, str]) -> None:
    path = write(tmp_path / "f.parquet", ["a", "b", "c"], SQUARES, **options)
    last, first = read_geometries(path, ["c", "a"])
    assert last is not None
    assert first is not None
    assert first["type"] == "Polygon"
    (ring,) = first["coordinates"]
    assert min(x for x, _ in ring) == pytest.approx(9.0, abs=1e-7)
    # A second of latitude is 30.9 m, so 200 m are 0.0018 degrees.
    south = [min(y for _, y in shape["coordinates"][0]) for shape in (first, last)]
    assert south[1] - south[0] == pytest.approx(200 / 111_135, rel=1e-3)


def test_points_files_of_a_folder_and_tiles_without_a_place_are_read(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", ["a", "b"], [shapely.Point(9.5, 48.25), None], 4326)
    write(tmp_path / "2.parquet", ["c"], [shapely.Point(10.0, 47.0)], 4326)
    found = read_geometries(tmp_path, ["c", "a", "b", "elsewhere"])
    assert found == [
        {"type": "Point", "coordinates": [10.0, 47.0]},
        {"type": "Point", "coordinates": [9.5, 48.25]},
        None,
        None,
    ]
    features = json.loads(geojson_text(["c"], found[:1], [{"trees": 1}]))["features"]
    assert features[0]["geometry"] == {"type": "Point", "coordinates": [10.0, 47.0]}


def test_features_without_geometry_are_known_and_refused(tmp_path: Path) -> None:
    write_features(tmp_path / "plain.parquet", ["a"], np.ones((1, 2), np.float32), "float32")
    assert not has_geometry(tmp_path / "plain.parquet")
    assert has_geometry(write(tmp_path / "geo.parquet", ["a"], SQUARES[:1]))
    for path in (tmp_path / "plain.parquet", tmp_path / "features.npz"):
        with pytest.raises(InputError, match=r"has no geometry, which GeoJSON wants: give GeoParquet, or write a CSV"):
            read_geometries(path, ["a"])


def test_geometry_of_no_known_system_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f.parquet", ["a"], SQUARES[:1], None)
    with pytest.raises(InputError, match=r"geometry of \S*f.parquet leads to no longitude and latitude \(Cannot trans"):
        read_geometries(path, ["a"])


def test_what_to_install_is_said_where_geopandas_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "f.parquet", ["a"], SQUARES[:1])
    monkeypatch.setitem(sys.modules, "geopandas", None)
    with pytest.raises(InputError, match=r"read by GeoPandas: pip install aljax\[maps\]"):
        read_geometries(path, ["a"])
