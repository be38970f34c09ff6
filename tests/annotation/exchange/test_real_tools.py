"""Rounds go through the tools themselves and come back cell by cell: sh tools/test.sh -m exchange"""

import subprocess

import numpy as np
import pytest
from exchanged import CLASSES, TILES, cells, for_two

from tools.annotation_tools import DATUMARO, TOKEN, Server, install, label_studio, result

pytestmark = pytest.mark.exchange
ANSWERS = np.random.default_rng(0).choice([*"01?"], (2, len(TILES), len(CLASSES))).tolist()
ANSWERS[0][1] = ["0"] * 5  # submitted without a class
UNTOUCHED, SKIPPED = TILES[0], TILES[7]
BLANK = [""] * 5


def answer(row: list[str]) -> list[dict]:
    """As the labelling page sends it: nothing for a control without a choice."""
    cells_of = {
        control: [name for name, cell in zip(CLASSES, row, strict=True) if cell == sign]
        for control, sign in (("classes", "1"), ("unsure", "?"))
    }
    return [result(control, *classes) for control, classes in cells_of.items() if classes]


def label(server: Server, tasks: dict[str, int], second: str) -> dict[str, dict[str, list[str]]]:
    """Both users label their tiles; the cells that are to come back, by form and tile."""
    forms: dict[str, dict[str, list[str]]] = {}
    for name, token, own, rows in (("ana", TOKEN, TILES[:5], ANSWERS[0]), ("ben", second, TILES[3:], ANSWERS[1])):
        forms[name] = dict.fromkeys(own, BLANK)
        for tile, row in zip(TILES, rows, strict=True):
            address = f"/api/tasks/{tasks[tile]}/annotations"
            if tile == SKIPPED and tile in own:
                server.call("POST", address, {"result": [], "was_cancelled": True}, token)
            elif tile in own and tile != UNTOUCHED:
                first = server.call("POST", address, {"result": answer(rows[0])}, token)
                server.call("PATCH", f"/api/annotations/{first['id']}", {"result": answer(row)}, token)
                forms[name][tile] = row
    # The same once more: an older annotation of the same user, which does not count, and several results of a control.
    again = f"/api/tasks/{tasks[TILES[6]]}/annotations"
    several = [result("classes", CLASSES[0]), result("classes", CLASSES[3]), result("unsure", CLASSES[1])]
    server.call("POST", again, {"result": several}, second)
    forms["ben"][TILES[6]] = ["1", "?", "0", "1", "0"]
    return forms


def test_label_studio_gives_back_what_two_users_said(exchange, run_dir, tmp_path) -> None:
    for_two(run_dir)
    header = 'id,trees & <b>,"water, deep",1,[x],"the ""so called"""'
    (run_dir / "round-1/predictions.csv").write_text(f"{header}\na.tif,0.9,0.1,0,0,1\nb.tif,0,0,0,0,0\n")
    files, data = tmp_path / "files", tmp_path / "data"
    files.mkdir()
    data.mkdir()
    assert exchange("export", "--to", "label-studio", "--out", files / "tasks.json", "--predictions")[0] == 0
    before = {path: path.read_bytes() for path in (run_dir / "round-1").glob("to_label-*.csv")}
    with label_studio(data, files) as server:
        number, token = server.sign_up("ben@example.org")
        project, numbers = server.open_project(files)
        expected = label(server, numbers, token)
        for kind, name in (("JSON", "a.json"), ("JSON_MIN", "b.json"), ("CSV", "c.csv"), ("TSV", "d.tsv")):
            for path, content in before.items():
                path.write_bytes(content)
            path = server.export(project, kind, tmp_path / name)
            who = f"ana=1,ben={number}"
            assert exchange("import", "--from", "label-studio", "--annotator", who, path)[0::2] == (0, ""), kind
            assert {form: cells(run_dir, f"to_label-{form}") for form in expected} == expected, kind
        packed = server.export(project, "COCO", tmp_path / "coco.zip")
        assert packed.read_bytes()[:2] == b"PK"
        assert "leaves choices out" in exchange("import", "--from", "coco", "--annotator", "ana", packed)[2]
        server.call("POST", f"/api/tasks/{numbers[TILES[0]]}/annotations", {"result": [result("classes", "gras")]})
        path = server.export(project, "JSON", tmp_path / "e.json")
        assert (
            "the class 'gras' is unknown to the round"
            in exchange("import", "--from", "label-studio", "--annotator", f"ana=1,ben={number}", path)[2]
        )


SCRIPT = """
import sys
from datumaro.components.annotation import Label
from datumaro.components.dataset import Dataset
source, cvat, coco = sys.argv[1:]
data = Dataset.import_from(source, "cvat")
(labels,) = data.categories().values()
names = [label.name for label in labels]
print(names)
rows = [line.split("\\t") for line in sys.stdin.read().splitlines()]
for (chosen, unsure), item in zip(rows, sorted(data, key=lambda item: item.attributes["frame"])):
    found = {name: False for name in chosen.split("|") if name} | {name: True for name in unsure.split("|") if name}
    marks = lambda name: {"unsure": found[name]} if name != "answered" else {}
    data.put(item.wrap(annotations=[Label(names.index(name), attributes=marks(name)) for name in found]))
data.export(cvat, "cvat", save_media=True)
data.export(coco, "coco_labels")
for item in Dataset.import_from(cvat, "cvat"):
    print(item.id, len(item.annotations))
"""


def test_datumaro_reads_the_export_for_cvat_and_what_it_writes_comes_back(exchange, run_dir, tmp_path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    assert exchange("export", "--to", "cvat", "--out", files / "annotations.xml")[0] == 0
    (files / "annotations.labels.json").unlink()
    expected = dict(zip(TILES, [BLANK, *ANSWERS[0][1:]], strict=True))
    lines = []
    for row in expected.values():
        there = (
            ["answered"] if row == ["0"] * 5 else [name for name, cell in zip(CLASSES, row, strict=True) if cell == "1"]
        )
        lines.append(
            f"{'|'.join(there)}\t{'|'.join(name for name, cell in zip(CLASSES, row, strict=True) if cell == '?')}"
        )
    command = [install(DATUMARO) / "python", "-c", SCRIPT, files, tmp_path / "cvat", tmp_path / "coco"]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str([*CLASSES, "answered", "cannot be labelled"])
    before = (run_dir / "round-1/to_label.csv").read_bytes()
    (xml,) = (tmp_path / "cvat").glob("*.xml")
    (coco,) = (tmp_path / "coco/annotations").glob("*.json")
    for kind, path in (("cvat", xml), ("coco", coco)):
        (run_dir / "round-1/to_label.csv").write_bytes(before)
        assert exchange("import", "--from", kind, path)[0::2] == (0, ""), kind
        assert cells(run_dir) == expected, kind
