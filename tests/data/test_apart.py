"""No tile of the pool is near to a held-out one, or shows its place, in whatever reference systems the tiles are."""

import json
import math
import re
import shutil
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from on_the_ground import geodesic_gap, write_mosaic, write_tile
from run_command import run as run_command
from tiles_on_disk import pixels, write_geotiff
from tiny import tiny_network

from aljax.commands import on_features, run
from aljax.commands.run import OwnArchiveSettings, choose_split, split_of_run
from aljax.data.apart import split_apart
from aljax.data.archive import random_split
from aljax.data.archives.folder import open_folder
from aljax.data.features.geometry import with_footprints
from aljax.data.geojson import outline_of, read_outlines
from aljax.errors import InputError, InputWarning
from aljax.runs.experiment import split_digest

# Mosaics of 8 by 10 tiles that meet: at the border of two zones, at 180 degrees, and in degrees at high latitude.
WHERE = {
    "two zones": [("EPSG:32632", (669_000, 5.6e6)), ("EPSG:32633", (327_500, 5.6e6))],
    "over 180 degrees": [("EPSG:32660", (831_000, 2e5)), ("EPSG:32601", (166_500, 2e5))],
    "degrees": [("EPSG:4326", (25.0, 71.0)), ("EPSG:4326", (25.06, 71.0))],
}


@pytest.mark.parametrize("where", WHERE)
def test_pool_is_as_far_from_the_held_out_tiles_as_asked_for(where: str, tmp_path: Path) -> None:
    for crs, corner in WHERE[where]:
        write_mosaic(tmp_path / f"{corner[0]:g}", crs, corner, 8, 10, 0.006 if crs == "EPSG:4326" else 300)
    archive = with_footprints(open_folder(tmp_path, None, 16))
    split = split_apart(archive, 0, 8, 12, 400.0)
    assert [len(split.validation), len(split.test)] == [8, 12]
    assert 60 < len(split.pool) < 140
    outlines = read_outlines(archive)
    held = np.concatenate([split.validation, split.test])

    def nearest(row: int) -> float:  # neighbours touch, and far tiles need no fine comparison
        apart = [(outlines[row] - outlines[one]).mean(0) for one in held]
        centres = [math.hypot((east + 180) % 360 - 180, north) for east, north in apart]
        near = held[np.argsort(centres)[:6]]
        return min(geodesic_gap(outlines[row], outlines[one], 9) for one in near)

    assert min(nearest(row) for row in split.pool) >= 400.0 * 0.999
    left_out = np.setdiff1d(np.arange(160), np.concatenate(split))
    assert len(left_out)
    assert max(nearest(row) for row in left_out) < 400.0 * 1.001


def test_same_seed_gives_the_same_blocks_and_another_gives_others(tmp_path: Path) -> None:
    write_mosaic(tmp_path, "EPSG:32633", (500_000, 6.5e6), 12, 12, 100)
    archive = with_footprints(open_folder(tmp_path, None, 16))
    splits = [np.concatenate(split_apart(archive, seed, 8, 12, 50.0)).tolist() for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]
    with pytest.raises(InputError, match="every tile of the pool is nearer than 5000 m to a test or validation tile"):
        split_apart(archive, 0, 8, 12, 5000.0)


def two_years(folder: Path) -> list[str]:
    """A mosaic twice, the second time with other pixels and a step aside."""
    ids = [f"2020/{tile}" for tile in write_mosaic(folder / "2020", "EPSG:32633", (500_000, 6.5e6), 5, 8, 100)]
    for number, tile in enumerate(ids):
        row, column = divmod(number, 8)
        name = folder / tile.replace("2020", "2023")
        write_tile(name, "EPSG:32633", 500_010 + 100 * column, 6.5e6 - 5 - 100 * row, 100, seed=1000 + number)
    return [*ids, *(tile.replace("2020", "2023") for tile in ids)]


def write_labels(path: Path, ids: list[str], parts: list[str] | None = None) -> Path:
    rows = [f"{tile},{number % 2},{parts[number] if parts else ''}" for number, tile in enumerate(ids)]
    path.write_text("\n".join(["id,tree,split" if parts else "id,tree", *(row.rstrip(",") for row in rows)]) + "\n")
    return path


def test_one_place_in_two_years_is_on_one_side(tmp_path: Path) -> None:
    ids = two_years(tmp_path / "tiles")
    archive = with_footprints(open_folder(tmp_path / "tiles", write_labels(tmp_path / "labels.csv", ids), 16))
    places = np.arange(80) % 40
    for seed in range(5):
        split = split_apart(archive, seed, 12, 16)
        assert sorted(np.concatenate(split).tolist()) == [*range(80)]
        assert [len(part) for part in split] == [52, 12, 16]
        assert len(np.intersect1d(places[split.pool], places[np.concatenate([split.validation, split.test])])) == 0
    blind = random_split(0, 80, 12, 16)
    assert len(np.intersect1d(places[blind.pool], places[blind.test]))


def test_users_split_is_reported_of_one_place_on_both_sides_and_thinned_if_asked(tmp_path: Path) -> None:
    ids = two_years(tmp_path / "tiles")
    parts = ["test" if number < 5 else "validation" if number == 5 else "pool" for number in range(80)]
    labels = write_labels(tmp_path / "labels.csv", ids, parts)
    settings = OwnArchiveSettings(images=tmp_path / "tiles", labels=labels)
    archive = with_footprints(open_folder(settings.images, labels, 16))
    with pytest.warns(
        InputWarning, match=r"6 tiles of the pool show the place of test or validation .*2023/32633-00-00"
    ):
        assert len(choose_split(settings, archive).pool) == 74
    settings = OwnArchiveSettings(images=tmp_path / "tiles", labels=labels, test_blocks=10.0)
    with pytest.warns(InputWarning, match=r"20 of 80 tiles are nearer than 10 m to test or validation tiles: they are"):
        pool = choose_split(settings, archive).pool
    assert len(pool) == 54


def test_run_of_an_older_version_goes_on_with_its_split(tmp_path: Path) -> None:
    ids = two_years(tmp_path / "tiles")
    labels = write_labels(tmp_path / "labels.csv", ids)
    settings = OwnArchiveSettings(images=tmp_path / "tiles", labels=labels, run_dir=tmp_path / "run")
    archive = with_footprints(open_folder(settings.images, labels, 16))
    before = random_split(0, 80, 12, 16)
    assert split_digest(choose_split(settings, archive)) != split_digest(before)
    assert split_of_run(settings.run_dir) is None


COMMAND = (
    "--epochs",
    1,
    "--batch-size",
    4,
    "--initial",
    8,
    "--max-labels",
    12,
    "--budget",
    4,
    "--image-size",
    32,
    "--trials",
    1,
)


def test_command_draws_blocks_and_goes_on_with_them(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(on_features, "DenseNet121", tiny_network)
    ids = write_mosaic(tmp_path / "tiles", "EPSG:32633", (500_000, 6.5e6), 12, 12, 100)
    write_tile(tmp_path / "tiles/again.tif", "EPSG:32633", 500_020, 6.5e6, 100, seed=5)
    labels = write_labels(tmp_path / "labels.csv", [*ids, "again.tif"])
    call = (
        "--images",
        tmp_path / "tiles",
        "--labels",
        labels,
        "--run-dir",
        tmp_path / "run",
        "--query",
        "random",
        *COMMAND,
    )
    blocks = ("--test-blocks", 50, "--min-distance", 50)
    assert run_command(monkeypatch, run.main, *call, *blocks) == 0
    said = capsys.readouterr().err
    assert re.search(r"warning: \d+ of 145 tiles are nearer than 50 m to test or validation tiles: they are left", said)
    config = (tmp_path / "run/config.json").read_bytes()
    assert json.loads(config)["min_distance"] == 50
    shutil.rmtree(tmp_path / "run/checkpoints")
    (tmp_path / "run/history.jsonl").unlink()
    assert run_command(monkeypatch, run.main, *call, *blocks) == 0
    assert run_command(monkeypatch, run.main, *call, "--min-distance", 50) == 2
    assert "other tiles are in the pool, for validation or for the test" in capsys.readouterr().err
    # What an older version began without a look at where tiles are goes on.
    assert run_command(monkeypatch, run.main, *call[:5], tmp_path / "older", *call[6:]) == 0
    older = json.loads((tmp_path / "older/config.json").read_text())
    assert "min_distance" not in older
    archive = with_footprints(open_folder(tmp_path / "tiles", labels, 32))
    (tmp_path / "older/config.json").write_text(
        json.dumps({**older, "split": split_digest(random_split(0, 145, 22, 29))})
    )
    settings = OwnArchiveSettings(images=tmp_path / "tiles", labels=labels, run_dir=tmp_path / "older")
    for part, other in zip(choose_split(settings, archive), random_split(0, 145, 22, 29), strict=True):
        np.testing.assert_array_equal(part, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--test-blocks", "100"], "1 of 17 tiles lack a georeference, as plain.tif, and --test-blocks needs to know"),
        (
            ["--min-distance", "100"],
            "1 of 17 tiles lack a georeference, as plain.tif, and --min-distance needs to know",
        ),
        (["--test-blocks", "-1"], "--test-blocks is -1.0: it is a distance in metres, at least 0"),
        (["--min-distance", "nan"], "--min-distance is nan: it is a distance in metres, at least 0"),
    ],
)
def test_distances_that_cannot_be_kept_are_one_line(arguments, message, tmp_path, monkeypatch, capsys) -> None:
    ids = write_mosaic(tmp_path / "tiles", "EPSG:32633", (500_000, 6.5e6), 4, 4, 100)
    write_tile(tmp_path / "tiles/plain.tif", "EPSG:32633", 0, 0, 100, 1)
    write_geotiff(tmp_path / "tiles/plain.tif", pixels(seed=9), crs=None, transform=None)
    labels = write_labels(tmp_path / "labels.csv", [*ids, "plain.tif"])
    call = ("--images", tmp_path / "tiles", "--labels", labels, "--run-dir", tmp_path / "run", *arguments)
    assert run_command(monkeypatch, run.main, *call, *COMMAND) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert not (tmp_path / "run").exists()


def test_places_of_features_come_from_geoparquet(tmp_path: Path) -> None:
    ids = [f"tile{number:03d}" for number in range(144)]
    shapes = [
        shapely.box(5e5 + 100 * x, 6.5e6 + 100 * y, 5e5 + 100 * x + 100, 6.5e6 + 100 * y + 100)
        for x in range(12)
        for y in range(12)
    ]
    vectors = list(np.random.default_rng(0).normal(size=(144, 8)).astype(np.float32))
    table = geopandas.GeoDataFrame({"id": ids, "embedding": vectors}, geometry=shapes, crs=32633)
    table.to_parquet(tmp_path / "f.parquet")
    labels = write_labels(tmp_path / "labels.csv", ids)
    settings = OwnArchiveSettings(features=tmp_path / "f.parquet", labels=labels, test_blocks=150.0)
    archive = with_footprints(run.open_own(settings), settings.features)
    with pytest.warns(InputWarning, match=r"of 144 tiles are nearer than 150 m"):
        split = choose_split(settings, archive)
    place = np.array([shape.centroid.coords[0] for shape in shapes])
    held = np.concatenate([split.validation, split.test])
    gap = np.abs(place[split.pool][:, None] - place[held]).max(-1) - 100
    assert gap.min() >= 100.0


def test_outline_that_most_tiles_share_is_no_place(tmp_path: Path) -> None:
    for number in range(6):  # as software writes it that knows no better
        write_geotiff(tmp_path / f"{number}.tif", pixels(seed=number))
    archive = open_folder(tmp_path, None, 16)
    message = "6 of 6 tiles of .* have one and the same outline: mend their places"
    with pytest.warns(InputWarning, match=f"nobody knows which tiles show the same place: {message}"):
        assert with_footprints(archive).footprints is None
    with pytest.raises(InputError, match=message):
        with_footprints(archive, required=True)
    for number in range(3):
        write_tile(tmp_path / f"{number}.tif", "EPSG:32632", 400_000 + 100 * number, 5.8e6, 100, number)
    assert with_footprints(open_folder(tmp_path, None, 16)).footprints is not None


def test_outline_of_any_geometry_holds_it() -> None:
    square = [[9.0, 50.0], [9.0, 49.0], [10.0, 49.0], [10.0, 50.0], [9.0, 50.0]]
    assert outline_of({"type": "Polygon", "coordinates": [square]}).tolist() == square
    assert outline_of(None) is None
    point = outline_of({"type": "Point", "coordinates": [9.5, 48.0, 300.0]})
    assert np.unique(point, axis=0).tolist() == [[9.5, 48.0]]
    halves = [
        [[[179.0, 1.0], [180.0, 1.0], [180.0, 2.0], [179.0, 1.0]]],
        [[[-180.0, 1.0], [-179.0, 3.0], [-180.0, 2.0], [-180.0, 1.0]]],
    ]
    around = outline_of({"type": "MultiPolygon", "coordinates": halves})
    assert [*around.min(0), *around.max(0)] == [179.0, 1.0, 181.0, 3.0]
