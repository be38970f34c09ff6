"""A round of annotation for tests of what other tools make of it, with names that formats could stumble over."""

import csv
import json
from pathlib import Path

import numpy as np
from tiles_on_disk import pixels, write_geotiff

from aljax.annotation.labelling import Assignment, split_labelled
from aljax.annotation.round_files import write_round
from aljax.data.archives.folder import open_folder
from aljax.data.labels import to_text

CLASSES = ("trees & <b>", "water, deep", "1", "[x]", 'the "so called"')
TILES = ("a.tif", "b.tif", "north/a.tif", "north/é ü.tif", "c.d.tif", "e.tif", "f.tif", "g.tif")


def make_round(folder: Path) -> Path:
    """A run directory whose first round waits for one person."""
    for number, tile in enumerate(TILES):
        write_geotiff(folder / "tiles" / tile, pixels(seed=number))
    archive = open_folder(folder / "tiles", None, 16)
    rows = np.array([archive.ids.index(tile) for tile in TILES])
    parts = np.array([2, 2, *[0] * (len(TILES) - 2)])
    write_round(folder / "run/round-1", split_labelled(archive), Assignment(rows, parts), CLASSES, (0, 1, 2))
    return folder / "run"


def for_two(run_dir: Path) -> Path:
    """The same round, for ana and ben: two tiles are for both."""
    folder = run_dir / "round-1"
    with (folder / "to_label.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    for name, own in (("ana", rows[:5]), ("ben", rows[3:])):
        (folder / f"to_label-{name}.csv").write_text(to_text(header, own), encoding="utf-8")
        (folder / f"label-{name}.html").write_bytes((folder / "label.html").read_bytes())
    dealt = ((row[0], row[1], int(number < 5), int(number >= 3)) for number, row in enumerate(rows))
    (folder / "dealt.csv").write_text(to_text(("id", "split", "ana", "ben"), dealt), encoding="utf-8")
    for name in ("to_label.csv", "label.html"):
        (folder / name).unlink()
    return run_dir


def cells(run_dir: Path, name: str = "to_label") -> dict[str, list[str]]:
    """The cells of a form by tile."""
    with (run_dir / "round-1" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: [row[name] for name in CLASSES] for row in csv.DictReader(file)}


def parts(run_dir: Path) -> dict[str, str]:
    """What each tile is for."""
    with (run_dir / "round-1/to_label.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["split"] for row in csv.DictReader(file)}


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
