"""Two people who know what tiles show, but slip, are not sure, and skip; on pages, in Label Studio and in CVAT."""

import csv
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from aljax.annotation.annotators import Dealt
from aljax.annotation.exchange.answers import ANSWERED, NO, SKIP, UNSURE, YES
from aljax.annotation.exchange.rounds import open_round
from aljax.data.labels import to_text
from tools.annotation_tools import TOKEN, label_studio, result

NAMES = ("ana", "ben")
SLIPS, DOUBTS = 0.02, 0.02  # shares of cells that are wrong, and that are left open
SKIPS = 0.02  # share of tiles that somebody calls impossible to label


@dataclass
class People:
    """What tiles show in truth, and what people have said so far."""

    seed: int
    truth: Mapping[str, Mapping[str, int]]
    """By tile, its classes."""
    classes: list[str]
    """Those that the people are asked for."""
    said: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    """By person and tile the newest cells; none for a tile that was skipped."""

    def answer(self, name: str, tile: str, number: int) -> dict[str, str]:
        """What a person says of a tile in a round: YES, NO or UNSURE for each class; nothing to skip it."""
        rng = np.random.default_rng([self.seed, number, zlib.crc32(f"{name} {tile}".encode())])
        cells = {}
        if rng.random() >= SKIPS:
            for each in self.classes:
                slips, doubts = rng.random(2) < (SLIPS, DOUBTS)
                cells[each] = UNSURE if doubts else (NO, YES)[self.truth[tile][each] ^ int(slips)]
        self.said[name, tile] = cells
        return cells

    def known(self, tile: str, each: str) -> list[str]:
        """The newest answers of those who know whether a tile shows a class."""
        cells = (self.said.get((name, tile), {}).get(each, UNSURE) for name in NAMES)
        return [cell for cell in cells if cell != UNSURE]

    def disputed(self) -> set[str]:
        """The tiles on which people differ."""
        tiles = {tile for _, tile in self.said}
        return {tile for tile in tiles if any(len({*self.known(tile, each)}) > 1 for each in self.classes)}


def chosen(cells: Mapping[str, str], sign: str) -> list[str]:
    """The classes whose cell has this sign."""
    return [name for name, cell in cells.items() if cell == sign]


def answer_form(people: People, name: str, path: Path, number: int) -> None:
    """Fills in a form, as the page does."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row |= people.answer(name, row["id"], number) or {"split": "skip"}
    path.write_text(to_text(rows[0], (row.values() for row in rows)), encoding="utf-8")


def add_class(people: People, name: str, path: Path, number: int) -> None:
    """Adds a column for the newest class to an older form, with answers for its test tiles."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    newest = people.classes[-1]
    for row in rows:
        before = people.said[name, row["id"]]
        asked = people.answer(name, row["id"], number).get(newest, "") if row["split"] == "test" else ""
        row[newest] = asked
        people.said[name, row["id"]] = {**before, newest: asked or UNSURE} if before else {}
    path.write_text(to_text(rows[0], (row.values() for row in rows)), encoding="utf-8")


def results(cells: Mapping[str, str]) -> list[dict[str, Any]]:
    """An answer as Label Studio's page sends it: nothing for a control without a choice."""
    controls = {"classes": chosen(cells, YES), "unsure": chosen(cells, UNSURE), "state": [] if cells else [SKIP]}
    return [result(control, *choices) for control, choices in controls.items() if choices]


def answer_tasks(people: People, folder: Path, dealt: Dealt, number: int) -> dict[str, int]:
    """Writes answers to exported tasks in the form of Label Studio's JSON; the users by name."""
    users = {name: user for user, name in enumerate(NAMES, start=1)}
    tasks = json.loads((folder / "tasks.json").read_text())
    for task in tasks:
        tile, when = task["data"]["tile"], "2024-01-01T00:00:00Z"
        task["annotations"] = [
            {"completed_by": user, "updated_at": when, "result": results(people.answer(name, tile, number))}
            for name, user in users.items()
            if tile in dealt[name]
        ]
    (folder / "answers.json").write_text(json.dumps(tasks))
    return users


def label_on_server(people: People, folder: Path, dealt: Dealt, number: int) -> dict[str, int]:
    """Has a Label Studio of this machine show the exported tasks, and two users answer; their numbers by name."""
    data = folder.parent / "label-studio-data"
    data.mkdir()
    print("   starting Label Studio; it takes a minute or two", flush=True)
    with label_studio(data.resolve(), folder.resolve()) as server:
        second, token = server.sign_up("ben@example.org")
        first = server.call("GET", "/api/current-user/whoami")["id"]
        project, tasks = server.open_project(folder.resolve())
        for name, key in zip(NAMES, (TOKEN, token), strict=True):
            for tile in dealt[name]:
                said = {"result": results(people.answer(name, tile, number))}
                server.call("POST", f"/api/tasks/{tasks[tile]}/annotations", said, key)
        server.export(project, "JSON", folder / "answers.json")
    return dict(zip(NAMES, (first, second), strict=True))


def answer_cvat(people: People, name: str, path: Path, run_dir: Path, number: int) -> None:
    """Answers in annotations of CVAT, in place of what was predicted."""
    document, round_ = ElementTree.parse(path), open_round(run_dir)
    tiles = {round_.picture(tile): tile for tile in round_.tiles}
    for image in document.iter("image"):
        for tag in image.findall("tag"):
            image.remove(tag)
        cells = people.answer(name, tiles[image.get("name", "")], number)
        there, unsure = chosen(cells, YES), chosen(cells, UNSURE)
        for label in [*there, *unsure] or [ANSWERED if cells else SKIP]:
            tag = ElementTree.SubElement(image, "tag", label=label, source="manual")
            if cells and label != ANSWERED:
                ElementTree.SubElement(tag, "attribute", name="unsure").text = str(label in unsure).lower()
    document.write(path, encoding="utf-8", xml_declaration=True)
