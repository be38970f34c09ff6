"""Rounds on tiles with a place: test tiles in blocks, batches apart, one place on one side, and a map of the round."""

import base64
import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyproj
import pytest
from on_the_ground import GEOD, write_mosaic, write_tile
from run_command import run
from tiles_on_disk import pixels, write_geotiff

from aljax.annotation.round_map import STATES
from aljax.annotation.test_blocks import find_metres
from aljax.commands import annotate
from aljax.data.archives.folder import open_folder
from aljax.data.features.geometry import with_footprints
from aljax.data.space.distances import closer_than, gaps
from aljax.errors import InputError

SMALL = ["--test", 10, "--initial", 6, "--budget", 4, "--query", "boundary"]
SIDE = 100.0


@pytest.fixture
def call(tmp_path: Path, monkeypatch):
    """The command on a mosaic and features of it; gives its exit status."""
    ids = write_mosaic(tmp_path / "tiles", "EPSG:32633", (500_000, 7.9e6), 12, 12, SIDE)
    vectors = np.random.default_rng(0).normal(size=(160, 8)).astype(np.float32)
    np.savez(tmp_path / "f.npz", ids=np.array([*ids, *(f"later/{n}.tif" for n in range(16))]), embeddings=vectors)

    def call(*arguments: object, run_dir: str = "run") -> int:
        folders = ["--images", tmp_path / "tiles", "--features", tmp_path / "f.npz", "--run-dir", tmp_path / run_dir]
        return run(monkeypatch, annotate.main, *folders, "--classes", "a,b", *SMALL, *arguments)

    return call


def read(form: Path) -> list[dict[str, str]]:
    with form.open(newline="") as file:
        return list(csv.DictReader(file))


def fill(form: Path) -> list[dict[str, str]]:
    rows = read(form)
    answers = [f"{row['id']},{row['split']},{number % 2},{number % 3 // 2}" for number, row in enumerate(rows)]
    form.write_text("\n".join(["id,split,a,b", *answers]) + "\n")
    return rows


def placed(folder: Path):
    archive = with_footprints(open_folder(folder / "tiles", None, 16))
    return archive.footprints, {tile: row for row, tile in enumerate(archive.ids)}


def test_blocks_are_kept_by_later_rounds_and_batches_are_apart(call, tmp_path: Path, capsys) -> None:
    footprints, rows = placed(tmp_path)
    assert call("--test-blocks", 150, "--min-distance", 120) == 0
    left_out = re.search(r"(\d+) of 144 tiles are nearer than 150 m to test or validation", capsys.readouterr().err)
    assert left_out
    first = fill(tmp_path / "run/round-1/to_label.csv")
    tests = np.array([rows[row["id"]] for row in first if row["split"] == "test"])
    near = closer_than(footprints, tests, 150.0)
    assert len(tests) == 10
    assert int(left_out[1]) == near.sum() - 10
    later = [row["id"] for row in first if row["split"] == "pool"]
    for number, metres in ((2, 120), (3, 400)):  # without the option; the last from beyond the clustered candidates
        assert call("--min-distance", metres) == 0
        batch = np.array([rows[row["id"]] for row in fill(tmp_path / f"run/round-{number}/to_label.csv")])
        one, other = np.triu_indices(len(batch), 1)
        assert gaps(footprints.corners, footprints.of[batch[one]], footprints.of[batch[other]]).min() >= metres
        later += [tile for tile, row in rows.items() if row in batch]
    assert len(later) == 6 + 4 + 4
    assert not near[[rows[tile] for tile in later]].any()
    predicted = [rows[row["id"]] for row in read(tmp_path / "run/round-3/predictions.csv")]
    assert not near[predicted].any()
    assert call("--test-blocks", 151) == 2
    assert (
        f"--test-blocks is 151, and the rounds in {tmp_path / 'run'} keep 150 m: leave it out"
        in capsys.readouterr().err
    )
    assert call("--test-blocks", 150) == 0


def test_same_call_draws_the_same_blocks_and_none_without_the_option(call, tmp_path: Path) -> None:
    for run_dir, arguments in (("a", ["--test-blocks", 150]), ("b", ["--test-blocks", 150]), ("c", [])):
        assert call(*arguments, run_dir=run_dir) == 0
    forms = [(tmp_path / run_dir / "round-1/to_label.csv").read_bytes() for run_dir in "abc"]
    assert forms[0] == forms[1] != forms[2]
    assert not (tmp_path / "c/test-blocks.json").exists()


def test_place_of_a_test_tile_in_another_year_is_not_trained_on(call, tmp_path: Path, capsys) -> None:
    for number in range(16):
        row, column = divmod(number, 4)
        write_tile(
            tmp_path / f"tiles/later/{number}.tif",
            "EPSG:32633",
            500_005 + SIDE * column,
            7.9e6 - SIDE * row,
            SIDE,
            number,
        )
    assert call("--test", 100) == 0
    said = capsys.readouterr().err
    count = re.search(
        r"warning: (\d+) of 160 tiles show the place of test or validation tiles: they are left out", said
    )
    assert count
    fill(tmp_path / "run/round-1/to_label.csv")
    assert call("--test", 100, "--budget", 100) == 0
    assert capsys.readouterr().err.count(f"{count[1]} of 160 tiles show the place of test or validation tiles") == 1

    def place(tile: str) -> tuple[int, int]:
        return divmod(int(Path(tile).stem), 4) if "later" in tile else tuple(map(int, Path(tile).stem.split("-")[1:]))

    first, second = (read(tmp_path / f"run/round-{number}/to_label.csv") for number in (1, 2))
    tests = {place(row["id"]) for row in first if row["split"] == "test"}
    trained = [place(row["id"]) for row in [*first, *second] if row["split"] == "pool"]
    assert len(trained) == 160 - 100 - int(count[1])
    assert not tests & {*trained}


def test_distances_without_a_place_are_one_line(call, tmp_path: Path, capsys) -> None:
    for number, file in enumerate(sorted((tmp_path / "tiles").iterdir())):
        write_geotiff(file, pixels(seed=number), crs=None, transform=None)
    assert call("--test-blocks", 100) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: no tile has a georeference, and --test-blocks needs to know where tiles are: leave it out"
    assert call() == 0
    assert not (tmp_path / "run/round-1/round.html").exists()


def test_too_few_tiles_apart_from_the_test_are_one_line(call, capsys) -> None:
    assert call("--test-blocks", 5000) == 2
    said = capsys.readouterr().err
    assert "error: 0 tiles are not too near to the 10 test tiles, and 6 are to begin with: lower --test" in said


def test_damaged_distance_is_reported(tmp_path: Path) -> None:
    assert find_metres(tmp_path, 7.0) == 7.0
    for text in ("", "[]", '{"metres": null}', '{"metres": "far"}', "{}"):
        (tmp_path / "test-blocks.json").write_text(text)
        with pytest.raises(InputError, match=r"test-blocks\.json is damaged .*remove it and repeat --test-blocks"):
            find_metres(tmp_path, 7.0)


def content_of(page: Path) -> dict:
    (found,) = re.findall(r'<script type="application/json" id="round">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(found)


def test_map_shows_every_tile_with_its_state_where_it_is(call, tmp_path: Path) -> None:
    footprints, rows = placed(tmp_path)
    assert call("--test-blocks", 150) == 0
    first = fill(tmp_path / "run/round-1/to_label.csv")
    form = tmp_path / "run/round-1/to_label.csv"
    skipped = next(row["id"] for row in first if row["split"] == "pool")
    form.write_text(re.sub(rf"{skipped},pool,.,.", f"{skipped},skip,,", form.read_text()))
    assert call("--initial", 5) == 0
    second = {row["id"] for row in read(tmp_path / "run/round-2/to_label.csv")}
    page = tmp_path / "run/round-2/round.html"
    content = content_of(page)
    assert not re.search(r"(src|href)=|https?://", page.read_text())
    states = np.frombuffer(base64.b64decode(content["state"]), np.uint8)
    by_state: dict[str, set[str]] = {name: set() for name in STATES}
    for tile, state in zip(content["ids"], states, strict=True):
        by_state[[*STATES][state]].add(tile)
    assert by_state["to label"] == second
    assert by_state["skipped"] == {skipped}
    assert by_state["test"] == {row["id"] for row in first if row["split"] == "test"}
    assert by_state["labelled"] == {row["id"] for row in first if row["split"] == "pool"} - {skipped}
    tests = np.array([rows[tile] for tile in by_state["test"]])
    near = closer_than(footprints, tests, 150.0)
    assert {rows[tile] for tile in by_state["left out, beside test tiles"]} == {*np.flatnonzero(near)} - {*tests}
    assert sum(map(len, by_state.values())) == 144
    corners = np.frombuffer(base64.b64decode(content["corners"]), "<i4").reshape(-1, 4, 2) * content["unit"]
    a, b = content["ids"].index("32633-00-00.tif"), content["ids"].index("32633-11-11.tif")
    to_degrees = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    ends = to_degrees.transform(500_000, 7.9e6), to_degrees.transform(500_000 + 11 * SIDE, 7.9e6 - 11 * SIDE)
    along = GEOD.inv(*ends[0], *ends[1])[2]
    assert np.linalg.norm(corners[a, 0] - corners[b, 0]) == pytest.approx(along, rel=3e-3)
    first_map = content_of(tmp_path / "run/round-1/round.html")
    counts = np.bincount(np.frombuffer(base64.b64decode(first_map["state"]), np.uint8), minlength=len(STATES))
    assert counts[[*STATES].index("test, to label")] == 10
    assert counts[[*STATES].index("to label")] == 6


# As much of a browser as the page needs.
BROWSER = """
const listeners = {}, elements = {};
const put = (made, name, value) => { made[name] = value; return true; };
const pen = new Proxy({}, {get: (made, name) => made[name] ?? (() => {}), set: put});
const make = () => ({
  style: {}, append() {}, setPointerCapture() {}, clientWidth: 1000, clientHeight: 800, getContext: () => pen,
  getBoundingClientRect: () => ({left: 0, top: 0}), heard: {}, addEventListener(kind, f) { this.heard[kind] = f; },
});
globalThis.devicePixelRatio = 1;
globalThis.requestAnimationFrame = (draw) => draw();
globalThis.addEventListener = (kind, f) => { listeners[kind] = f; };
globalThis.document = {createElement: make, getElementById: (id) => (elements[id] ??= make())};
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="runs the page's script in Node")
def test_pointer_finds_the_tile_under_it_and_its_coordinates(call, tmp_path: Path) -> None:
    assert call() == 0
    page = (tmp_path / "run/round-1/round.html").read_text()
    (own,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    program = """
    const out = [];
    for (const id of ["32633-03-07.tif", "32633-11-00.tif"]) {
      const b = 4 * round.ids.indexOf(id);
      const at = {clientX: across((boxes[b] + boxes[b + 2]) / 2), clientY: down((boxes[b + 1] + boxes[b + 3]) / 2)};
      canvas.heard.pointermove(at);
      out.push([id, elements.tile.textContent, elements.place.textContent]);
      canvas.heard.pointerdown({...at, pointerId: 1});
      canvas.heard.pointerup(at);
      out.push([id, elements.tile.textContent, round.ids[chosen]]);
      choose(-1);
    }
    canvas.heard.wheel({clientX: 300, clientY: 200, deltaY: -600, preventDefault() {}});
    const there = degrees(1234, -5678), back = plane(...there);
    process.stdout.write(JSON.stringify([out, back, view.scale > 0]));
    """
    text = json.dumps(json.dumps(content_of(tmp_path / "run/round-1/round.html")))
    lines = "\n".join([BROWSER, f"document.getElementById('round').textContent = {text};", own, program])
    found = subprocess.run(["node", "-"], input=lines, capture_output=True, encoding="utf-8", check=True).stdout
    out, back, is_sound = json.loads(found)
    assert is_sound
    np.testing.assert_allclose(back, [1234, -5678], rtol=1e-6)
    to_degrees = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    for id_, told, place in out[::2]:
        assert told.startswith(f"{id_} (")
        row, column = map(int, Path(id_).stem.split("-")[1:])
        east, north = to_degrees.transform(500_000 + SIDE * (column + 0.5), 7.9e6 - SIDE * (row + 0.5))
        shown = re.fullmatch(r"([\d.]+)° N, ([\d.]+)° E", place)
        assert shown
        assert (float(shown[1]), float(shown[2])) == pytest.approx((north, east), abs=1.1e-5)
    for id_, told, chosen in out[1::2]:
        assert chosen == id_
        assert re.match(rf"{re.escape(id_)} \(.*\), middle at [\d.]+° N, [\d.]+° E", told)
