"""The map of the round, filled in with QGIS and the like."""

import json
from pathlib import Path
from typing import Any

import pytest
from exchanged import CLASSES, TILES, cells, parts, write_json


@pytest.fixture
def exported(exchange, tmp_path) -> dict[str, Any]:
    assert exchange("export", "--to", "geojson", "--out", tmp_path / "tiles.geojson")[0] == 0
    return json.loads((tmp_path / "tiles.geojson").read_text())


@pytest.fixture
def take(exchange, tmp_path):
    def take(content: object) -> tuple[int, str]:
        status, _, error = exchange("import", "--from", "geojson", write_json(tmp_path / "filled.geojson", content))
        return status, error

    return take


def test_export_is_the_map_with_a_property_to_fill_in_for_each_class(exported, run_dir) -> None:
    before = json.loads((run_dir / "round-1/to_label.geojson").read_text())
    assert [feature["geometry"] for feature in exported["features"]] == [f["geometry"] for f in before["features"]]
    assert [feature["properties"]["id"] for feature in exported["features"]] == [*TILES]
    for feature in exported["features"]:
        assert {name: feature["properties"][name] for name in CLASSES} == dict.fromkeys(CLASSES)


def test_filled_in_it_fills_in_the_form(exported, take, run_dir) -> None:
    values = [(1, 0, 1.0, "0", True), ("?", "1", None, "", False), (None,) * 5, (0, 0, 0, 0, 0)]
    for feature, row in zip(exported["features"], values, strict=False):
        feature["properties"] |= {**dict(zip(CLASSES, row, strict=True)), "fid": 3}
    exported["features"][5]["properties"]["split"] = "skip"
    assert take(exported) == (0, "")
    found = cells(run_dir)
    assert found["a.tif"] == ["1", "0", "1", "0", "1"]
    assert found["b.tif"] == ["?", "1", "?", "?", "0"]
    assert found["north/a.tif"] == [""] * 5
    assert found["north/é ü.tif"] == ["0"] * 5
    assert parts(run_dir)["e.tif"] == "skip"


def test_predictions_stand_beside_and_are_no_answers(exchange, run_dir, tmp_path) -> None:
    header = 'id,trees & <b>,"water, deep",1,[x],"the ""so called"""'
    (run_dir / "round-1/predictions.csv").write_text(f"{header}\na.tif,0.9,0.1,0,0,1\n")
    out = tmp_path / "x.geojson"
    assert exchange("export", "--to", "geojson", "--out", out, "--predictions")[0] == 0
    first, second, *_ = json.loads(out.read_text())["features"]
    assert first["properties"]["trees & <b> predicted"] == 0.9
    assert "trees & <b> predicted" not in second["properties"]
    assert "has no answers yet" in exchange("import", "--from", "geojson", out)[2]


def test_bad_files_are_one_line(exported, take) -> None:
    first = exported["features"][0]["properties"]
    first["1"] = "yes"
    assert "feature a.tif: 1 is 'yes': write 1, 0 or, if you are not sure, ?" in take(exported)[1]
    first["1"] = [1]
    assert "feature a.tif: 1 is '[1]'" in take(exported)[1]
    first["1"] = 1
    exported["features"].append(json.loads(json.dumps(exported["features"][0])))
    assert take(exported) == (0, "")
    exported["features"][-1]["properties"]["1"] = 0
    assert "tile a.tif has two answers by one person" in take(exported)[1]
    first["id"] = "z.tif"
    assert "z.tif is no tile of" in take(exported)[1]
    for feature in exported["features"]:
        del feature["properties"]["water, deep"]
    assert "has no property 'water, deep'" in take(exported)[1]
    assert "is no GeoJSON of a round" in take({"features": [{}]})[1]
    assert take([1])[1].endswith("is no GeoJSON of a round: name the file that `export` wrote, filled in\n")


def test_a_map_that_is_filled_in_is_not_written_over(exported, exchange, tmp_path) -> None:
    arguments = ("export", "--to", "geojson", "--out", tmp_path / "tiles.geojson")
    assert exchange(*arguments)[0] == 0
    exported["features"][0]["properties"]["1"] = 1
    text = write_json(tmp_path / "tiles.geojson", exported).read_text()
    status, _, error = exchange(*arguments)
    assert (status, "tiles.geojson is there, and may have answers" in error) == (2, True)
    assert (tmp_path / "tiles.geojson").read_text() == text


def test_tiles_without_a_place_have_no_map(exchange, run_dir: Path, tmp_path) -> None:
    (run_dir / "round-1/to_label.geojson").unlink()
    status, _, error = exchange("export", "--to", "geojson", "--out", tmp_path / "x.geojson")
    assert (status, "to_label.geojson is not there: the tiles have no georeference" in error) == (2, True)
