"""Tiles lie on the map where they lie on the Earth."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from run_command import run as run_command
from small_runs import run, settings
from tiles_on_disk import pixels, write_geotiff, write_png

import aljax
from aljax.annotation.labelling import Assignment, split_labelled
from aljax.annotation.round_files import write_round
from aljax.commands import predict
from aljax.data.archives.folder import open_folder
from aljax.data.geojson import geojson_text, read_outlines
from aljax.errors import InputError, InputWarning

NOWHERE = 'LOCAL_CS["site",UNIT["metre",1]]'
SPHERE = 6378137.0  # metres, the radius of web Mercator


def mercator(longitude: float, latitude: float) -> tuple[float, float]:
    """Web Mercator (EPSG:3857) by its formula."""
    return SPHERE * math.radians(longitude), SPHERE * math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2))


def area(ring: np.ndarray) -> float:
    """Positive if counterclockwise."""
    (x, y), (next_x, next_y) = ring[:-1].T, ring[1:].T
    return float((x * next_y - next_x * y).sum() / 2)


def write_mercator(path: Path, west: float, north: float, east: float, south: float) -> Path:
    (left, top), (right, bottom) = mercator(west, north), mercator(east, south)
    place = rasterio.Affine((right - left) / 16, 0.0, left, 0.0, (bottom - top) / 16, top)
    return write_geotiff(path, pixels(), crs="EPSG:3857", transform=place)


def polygons(outline: np.ndarray | None) -> list[np.ndarray]:
    """The outer rings of a tile in the file."""
    (feature,) = json.loads(geojson_text(["a.tif"], [outline], [{}]))["features"]
    geometry = feature["geometry"]
    parts = {"Polygon": [geometry["coordinates"]], "MultiPolygon": geometry["coordinates"]}[geometry["type"]]
    assert all(len(part) == 1 for part in parts)
    return [np.array(part[0]) for part in parts]


def test_outlines_are_the_corners_counterclockwise(tmp_path: Path) -> None:
    write_mercator(tmp_path / "a.tif", 9.5, 52.0, 9.75, 51.5)
    write_mercator(tmp_path / "b.tif", -71.25, -33.0, -71.0, -33.5)
    degrees = rasterio.Affine(0.01, 0.0, 20.0, 0.0, 0.02, -10.0)  # rows run north
    write_geotiff(tmp_path / "c.tif", pixels(), crs="EPSG:4326", transform=degrees)
    a, b, c = read_outlines(open_folder(tmp_path, None, 16))
    assert a is not None
    assert b is not None
    assert c is not None
    np.testing.assert_allclose(a, [(9.5, 52.0), (9.5, 51.5), (9.75, 51.5), (9.75, 52.0), (9.5, 52.0)], atol=1e-8)
    np.testing.assert_allclose(b[[0, 2]], [(-71.25, -33.0), (-71.0, -33.5)], atol=1e-8)
    np.testing.assert_allclose(c[[0, 2]], [(20, -10), (20.16, -9.68)], atol=1e-8)
    for outline in (a, b, c):
        (ring,) = polygons(outline)
        assert {*map(tuple, ring)} == {*map(tuple, outline.round(8))}
        assert area(ring) > 0


@pytest.mark.parametrize("crs", ["EPSG:32660", "EPSG:3857", "EPSG:4326"])
def test_outline_over_180_degrees_is_cut_there(crs: str, tmp_path: Path) -> None:
    left, top, side = {
        "EPSG:32660": (833_000.0, 102_000.0, 2000.0),
        "EPSG:3857": (SPHERE * math.pi - 1000.0, 2000.0, 2000.0),
        "EPSG:4326": (179.99, 0.02, 0.02),
    }[crs]
    place = rasterio.Affine(side / 16, 0.0, left, 0.0, -side / 16, top)
    write_geotiff(tmp_path / "a.tif", pixels(), crs=crs, transform=place)
    (outline,) = read_outlines(open_folder(tmp_path, None, 16))
    east, west = polygons(outline)
    assert 179.98 < east[:, 0].min() < east[:, 0].max() == 180.0
    assert -180.0 == west[:, 0].min() < west[:, 0].max() < -179.98
    assert area(east) > 0
    assert area(west) > 0
    assert outline is not None
    assert area(east) + area(west) == pytest.approx(abs(area(outline)), rel=1e-4)


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3413", 90.0), ("EPSG:3031", -90.0)])
def test_outline_around_a_pole_holds_it(crs: str, pole: float, tmp_path: Path) -> None:
    place = rasterio.Affine(125.0, 0.0, -800.0, 0.0, -125.0, 1100.0)  # metres from the pole
    write_geotiff(tmp_path / "a.tif", pixels(), crs=crs, transform=place)
    (outline,) = read_outlines(open_folder(tmp_path, None, 16))
    rings = polygons(outline)
    assert all(area(ring) > 0 for ring in rings)
    assert all(np.abs(ring[:, 0]).max() <= 180.0 for ring in rings)
    assert all(pole in ring[:, 1] for ring in rings)
    # Every longitude is in it once.
    assert sum(np.ptp(ring[:, 0]) for ring in rings) == pytest.approx(360.0, abs=1e-6)


def test_longitudes_up_to_360_are_those_west_of_greenwich(tmp_path: Path) -> None:
    place = rasterio.Affine(0.01, 0.0, 200.0, 0.0, -0.01, 10.0)
    write_geotiff(tmp_path / "a.tif", pixels(), crs="EPSG:4326", transform=place)
    (ring,) = polygons(read_outlines(open_folder(tmp_path, None, 16))[0])
    np.testing.assert_allclose([ring[:, 0].min(), ring[:, 0].max()], [-160.0, -159.84], atol=1e-8)


def test_system_without_a_place_in_it_is_no_georeference(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "a.tif", pixels(), transform=None)
    assert read_outlines(open_folder(tmp_path, None, 16)) == [None]


def test_tiles_without_a_place_are_left_out_and_reported(tmp_path: Path) -> None:
    write_mercator(tmp_path / "a.tif", 9.5, 52.0, 9.75, 51.5)
    write_png(tmp_path / "b.png", pixels())
    archive = open_folder(tmp_path, None, 16)
    outlines = read_outlines(archive)
    with pytest.warns(InputWarning, match=r"1 of 2 tiles have no georeference and are left out, as b\.png"):
        written = json.loads(geojson_text(archive.ids, outlines, ({"wood": value} for value in (0.25, 0.5))))
    assert written["type"] == "FeatureCollection"
    (feature,) = written["features"]
    assert feature["type"] == "Feature"
    assert feature["properties"] == {"id": "a.tif", "wood": 0.25}
    assert feature["geometry"]["type"] == "Polygon"
    assert outlines[0] is not None
    np.testing.assert_allclose(feature["geometry"]["coordinates"], [outlines[0].round(8)], atol=1e-8)
    with pytest.raises(InputError, match="no tile has a georeference"):
        geojson_text(["b.png"], read_outlines(archive, np.array([1])), [{}])


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"crs": 'LOCAL_CS["site",UNIT["metre",1]]'}, "leads to no longitude and latitude"),
        (
            {"crs": "EPSG:3035", "transform": rasterio.Affine(1e9, 0.0, 1e12, 0.0, -1e9, 1e12)},
            r"leads to no|nowhere on",
        ),
        ({"crs": "EPSG:4326", "transform": rasterio.Affine(0.1, 0.0, 10.0, 0.0, -0.1, 120.0)}, "nowhere on the Earth"),
    ],
)
def test_place_that_is_nowhere_is_refused_by_name(where: dict[str, object], said: str, tmp_path: Path) -> None:
    write_geotiff(tmp_path / "a.tif", pixels(), **where)
    with pytest.raises(InputError, match=rf"a\.tif.*{said}|{said}.*a\.tif"):
        read_outlines(open_folder(tmp_path, None, 16))


def test_round_of_annotation_has_a_map_where_its_tiles_have_a_place(tmp_path: Path) -> None:
    for index in range(4):
        write_mercator(tmp_path / "tiles" / f"{index}.tif", 9.0 + index, 52.0, 9.5 + index, 51.5)
        write_geotiff(tmp_path / "elsewhere" / f"{index}.tif", pixels(seed=index), crs=NOWHERE)
        write_png(tmp_path / "pictures" / f"{index}.png", pixels(seed=index))
    drawn = Assignment(np.array([2, 0]), np.array([0, 2]))
    for name in ("tiles", "pictures"):
        write_round(
            tmp_path / name / "round",
            split_labelled(open_folder(tmp_path / name, None, 16)),
            drawn,
            ("wood",),
            (0, 1, 2),
        )
    features = json.loads((tmp_path / "tiles/round/to_label.geojson").read_text())["features"]
    assert [one["properties"] for one in features] == [
        {"id": "2.tif", "split": "pool"},
        {"id": "0.tif", "split": "test"},
    ]
    assert [one["geometry"]["coordinates"][0][0][0] for one in features] == pytest.approx([11.0, 9.0])
    assert not (tmp_path / "pictures/round/to_label.geojson").exists()
    elsewhere = split_labelled(open_folder(tmp_path / "elsewhere", None, 16))
    with pytest.warns(InputWarning, match="there is no map of the tiles to label: the georeference of"):
        write_round(tmp_path / "elsewhere" / "round", elsewhere, drawn, ("wood",), (0, 1, 2))
    assert (tmp_path / "elsewhere/round/to_label.csv").exists()


def test_command_draws_what_it_predicts(tmp_path: Path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", max_labels=8)
    run(chosen)
    for index in range(3):
        write_geotiff(tmp_path / "tiles" / f"{index}.tif", pixels(seed=index, size=32))
    arguments = ("--run-dir", chosen.run_dir, "--images", tmp_path / "tiles", "--out", tmp_path / "map.geojson")
    assert run_command(monkeypatch, predict.main, *arguments) == 0
    trained = aljax.load(chosen.run_dir)
    expected = trained.predict(np.stack([pixels(seed=index, size=32) for index in range(3)]))
    features = json.loads((tmp_path / "map.geojson").read_text())["features"]
    assert [feature["properties"]["id"] for feature in features] == ["0.tif", "1.tif", "2.tif"]
    written = [[feature["properties"][name] for name in trained.class_names] for feature in features]
    np.testing.assert_allclose(written, expected, atol=6e-5)
    assert run_command(monkeypatch, predict.main, *arguments, "--threshold", 0.5) == 0
    features = json.loads((tmp_path / "map.geojson").read_text())["features"]
    written = [[feature["properties"][name] for name in trained.class_names] for feature in features]
    np.testing.assert_array_equal(written, (expected > 0.5).astype(int))
    for out in (tmp_path / "map.kml", tmp_path / "none" / "map.csv", tmp_path / "folder.csv"):
        (tmp_path / "folder.csv").mkdir(exist_ok=True)
        assert run_command(monkeypatch, predict.main, *arguments[:-1], out) == 2
