"""Label Studio's files, in the form that version 1.23.2 writes them, come back as the cells that were meant."""

import base64
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from exchanged import CLASSES, TILES, cells, for_two, parts, write_json
from PIL import Image

from aljax.annotation.label_page import read_pictures
from aljax.annotation.round_files import read_tables
from aljax.arrays import UNKNOWN
from aljax.data.labels import SKIPPED, merge

TREES, WATER, ONE, BRACKET, SO = CLASSES
BLANK = [""] * 5
HEADER = (
    '"annotation_id","annotator","classes","created_at","id","image","lead_time","state","tile","unsure","updated_at"'
)


def chosen(control: str, *classes: str) -> dict:
    return {"from_name": control, "to_name": "image", "type": "choices", "value": {"choices": [*classes]}}


def annotation(*results: dict, by: object = 1, second: int = 0, **more: object) -> dict:
    time = f"2026-11-28T05:26:{second:02d}.079170Z"
    basis = {"completed_by": by, "was_cancelled": False, "created_at": time, "updated_at": time}
    return {**basis, "result": [*results], **more}


@pytest.fixture
def task(names):
    def task(tile: str, *annotations: dict, number: int = 7) -> dict:
        image = f"https://pictures.example.org/{names(tile)}"
        return {"id": number, "annotations": [*annotations], "data": {"image": image, "tile": tile}}

    return task


@pytest.fixture
def row(names):
    """A row of JSON-MIN."""

    def row(tile: str, second: int = 0, annotator: object = 1, **controls: object) -> dict:
        time = f"2026-11-28T05:26:{second:02d}.079170Z"
        ends = {"annotator": annotator, "annotation_id": 3, "created_at": time, "updated_at": time, "lead_time": None}
        return {"image": f"/data/upload/1/ab12cd34-{names(tile)}", "tile": tile, "id": 1, **controls, **ends}

    return row


@pytest.fixture
def take(exchange, tmp_path):
    def take(content: object, *arguments: object) -> tuple[int, str]:
        path = write_json(tmp_path / "answers.json", content)
        status, _, error = exchange("import", "--from", "label-studio", *arguments, path)
        return status, error

    return take


def test_export_has_tasks_pictures_and_a_configuration_with_every_name_whole(
    exchange, names, run_dir, tmp_path
) -> None:
    out = tmp_path / "out.json"
    assert exchange("export", "--to", "label-studio", "--out", out)[0] == 0
    tasks = json.loads(out.read_text())
    assert [task["data"] for task in tasks] == [
        {"image": f"/data/local-files/?d=images/{names(tile)}", "tile": tile} for tile in TILES
    ]
    assert all("predictions" not in task for task in tasks)
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    controls = {control.get("name"): [choice.get("value") for choice in control] for control in root.iter("Choices")}
    assert controls == {"classes": [*CLASSES], "unsure": [*CLASSES], "state": ["cannot be labelled"]}
    shown = read_pictures(run_dir / "round-1/label.html")
    for tile in TILES:
        assert np.array_equal(np.asarray(Image.open(tmp_path / "images" / names(tile))), np.asarray(shown[tile]))


def test_pictures_can_have_an_address(exchange, names, tmp_path) -> None:
    out = tmp_path / "out.json"
    assert exchange("export", "--to", "label-studio", "--out", out, "--images-url", "https://x.org/p/")[0] == 0
    assert json.loads(out.read_text())[3]["data"]["image"] == f"https://x.org/p/{names(TILES[3])}"


def test_predictions_are_offered_where_there_are_some(exchange, run_dir, tmp_path) -> None:
    status, _, error = exchange("export", "--to", "label-studio", "--out", tmp_path / "out.json", "--predictions")
    assert (status, "has predictions yet: leave out --predictions" in error) == (2, True)
    assert not (tmp_path / "out.json").exists()
    header = 'id,trees & <b>,"water, deep",1,[x],"the ""so called"""'
    (run_dir / "round-1/predictions.csv").write_text(f"{header}\na.tif,0.5,0.51,0,0,1\nb.tif,0,0,0,0,0\n")
    assert exchange("export", "--to", "label-studio", "--out", tmp_path / "out.json", "--predictions")[0] == 0
    first, second, third, *_ = json.loads((tmp_path / "out.json").read_text())
    assert first["predictions"] == [{"model_version": "aljax", "result": [chosen("classes", WATER, SO)]}]
    assert second["predictions"] == [{"model_version": "aljax", "result": []}]
    assert "predictions" not in third


def test_json_fills_in_the_form(take, task, run_dir) -> None:
    tasks = [
        task("a.tif", annotation(chosen("classes", TREES, WATER), chosen("unsure", SO))),
        task("b.tif", annotation()),
        task("north/a.tif"),
        task("north/é ü.tif", annotation(was_cancelled=True)),
        task("c.d.tif", annotation(chosen("classes", ONE), chosen("classes", BRACKET))),
        task("e.tif", annotation(chosen("state", "cannot be labelled"))),
        {**task("f.tif"), "annotations": None},
        {key: value for key, value in task("g.tif").items() if key != "annotations"},
    ]
    assert take(tasks) == (0, "")
    assert cells(run_dir) == {
        "a.tif": ["1", "1", "0", "0", "?"],
        "b.tif": ["0"] * 5,
        "north/a.tif": BLANK,
        "north/é ü.tif": BLANK,
        "c.d.tif": ["0", "0", "1", "1", "0"],
        "e.tif": BLANK,
        "f.tif": BLANK,
        "g.tif": BLANK,
    }
    assert parts(run_dir) == {**dict.fromkeys(TILES, "pool"), "a.tif": "test", "b.tif": "test", "e.tif": "skip"}


def test_a_class_that_is_chosen_and_doubted_is_unknown(take, task, run_dir) -> None:
    assert take([task("a.tif", annotation(chosen("classes", ONE), chosen("unsure", ONE)))])[0] == 0
    assert cells(run_dir)["a.tif"] == ["0", "0", "?", "0", "0"]


def test_annotate_reads_what_was_filled_in(take, task, run_dir) -> None:
    answers = {tile: annotation(chosen("classes", TREES)) for tile in TILES}
    answers["b.tif"] = annotation(chosen("classes", ONE), chosen("unsure", TREES, SO))
    answers["e.tif"] = annotation(chosen("unsure", *CLASSES))
    answers["f.tif"] = annotation(chosen("state", "cannot be labelled"))
    assert take([task(*pair) for pair in answers.items()]) == (0, "")
    read = merge(read_tables(run_dir, {}))
    assert read is not None
    rows = dict(zip(read.ids, zip(read.labels.tolist(), read.parts, strict=True), strict=True))
    assert rows["a.tif"] == ([1, 0, 0, 0, 0], 2)
    assert rows["b.tif"] == ([UNKNOWN, 0, 1, 0, UNKNOWN], 2)
    assert [rows[tile][1] for tile in ("c.d.tif", "e.tif", "f.tif")] == [0, SKIPPED, SKIPPED]
    assert cells(run_dir)["e.tif"] == ["?"] * 5


def test_json_min_has_one_class_several_or_several_results(take, row, run_dir) -> None:
    rows = [
        row("a.tif", classes=TREES),
        row("b.tif", classes={"choices": [TREES, WATER]}, unsure=ONE),
        row("north/a.tif", classes=[WATER, {"choices": [ONE, BRACKET]}]),
        row("c.d.tif"),
        row("e.tif", classes=BRACKET),
        {**row("f.tif"), "annotation_id": None, "annotator": None, "updated_at": None, "created_at": None},
    ]
    assert take(rows) == (0, "")
    found = cells(run_dir)
    assert found["a.tif"] == ["1", "0", "0", "0", "0"]
    assert found["b.tif"] == ["1", "1", "?", "0", "0"]
    assert found["north/a.tif"] == ["0", "1", "1", "1", "0"]
    assert found["c.d.tif"] == ["0"] * 5
    assert found["e.tif"] == ["0", "0", "0", "1", "0"]
    assert found["f.tif"] == BLANK


def test_newest_annotation_counts_whatever_the_order(take, row, run_dir) -> None:
    rows = [row("a.tif", 9, classes=TREES), row("a.tif", 3, classes=WATER)]
    tile = ["1", "0", "0", "0", "0"]
    assert take(rows) == (0, "")
    assert cells(run_dir)["a.tif"] == tile
    assert take(rows[::-1]) == (0, "")
    assert cells(run_dir)["a.tif"] == tile


def test_two_answers_of_one_person_at_no_known_time_are_refused(take, row, run_dir) -> None:
    rows = [{**row("a.tif", classes=name), "updated_at": None} for name in (TREES, WATER)]
    status, error = take(rows)
    assert status == 2
    assert "tile a.tif has two answers by one person, in" in error
    assert "entry 1 and" in error
    assert cells(run_dir)["a.tif"] == BLANK
    assert take([rows[0], rows[0]]) == (0, "")


def test_data_in_place_of_an_empty_answer_are_refused(take, row) -> None:
    answer = row("a.tif")
    status, error = take([{"classes": TREES, **answer}])  # before id: data, where an answer would come after it
    assert status == 2
    assert "the task has data called 'classes', which JSON-MIN shows in place of an empty answer" in error
    assert take([row("a.tif", classes=TREES)])[0] == 0


def test_data_of_the_name_of_a_control_stand_elsewhere_in_csv(exchange, names, run_dir, tmp_path) -> None:
    time = "2026-11-28T05:26:52.647812Z"
    row = f'"water, deep","4","1","","{time}","3","x/{names("a.tif")}","","","a.tif","","{time}"'
    (tmp_path / "x.csv").write_text(f'"_data_classes",{HEADER}\n{row}\n')
    assert exchange("import", "--from", "label-studio", tmp_path / "x.csv")[0] == 0
    assert cells(run_dir)["a.tif"] == ["0"] * 5


def test_csv_of_another_project_is_refused(exchange, tmp_path) -> None:
    (tmp_path / "other.csv").write_text("id,text,sentiment\n1,hello,good\n")
    error = exchange("import", "--from", "label-studio", tmp_path / "other.csv")[2]
    assert error.endswith("other.csv has no column 'image': the file is of another project\n")


def test_csv_fills_in_the_form(exchange, names, run_dir, tmp_path) -> None:
    time = "2026-11-28T05:26:52.233482Z"
    answers = [
        ("a.tif", '"trees & <b>"', '""'),
        ("b.tif", '"{""choices"":[""trees & <b>"",""the \\""so called\\""""]}"', '"1"'),
        ("north/a.tif", '"[""water, deep"",""1""]"', '""'),
        ("c.d.tif", '""', '""'),
        ("e.tif", '"[x]"', '"{""choices"":[""1"",""water, deep""]}"'),
    ]
    rows = [
        f'{number},"1",{classes},"{time}",{number},"x/{names(tile)}","","","{tile}",{unsure},"{time}"'
        for number, (tile, classes, unsure) in enumerate(answers)
    ]
    untouched = f'"","","","","4","x/{names("f.tif")}","","","f.tif","",""'
    (tmp_path / "x.csv").write_text("\n".join([HEADER, *rows, untouched]) + "\n")
    assert exchange("import", "--from", "label-studio", tmp_path / "x.csv")[0] == 0
    found = cells(run_dir)
    assert found["a.tif"] == ["1", "0", "0", "0", "0"]
    assert found["b.tif"] == ["1", "0", "?", "0", "1"]
    assert found["north/a.tif"] == ["0", "1", "1", "0", "0"]
    assert found["c.d.tif"] == ["0"] * 5
    assert found["e.tif"] == ["0", "?", "?", "1", "0"]
    assert found["f.tif"] == BLANK


@pytest.mark.parametrize("name", ["gras", "t"])  # a class from elsewhere, and the alias of one
def test_unknown_classes_and_aliases_are_refused(name: str, take, task, run_dir) -> None:
    status, error = take([task("a.tif", annotation(chosen("classes", TREES, name)))])
    assert status == 2
    assert f"task 7, tile a.tif: the class {name!r} is unknown to the round, which has trees & <b>, water" in error
    assert error.count("\n") == 1
    assert cells(run_dir)["a.tif"] == BLANK


def test_exports_of_other_projects_are_refused(take, task, row) -> None:
    foreign = task("a.tif", annotation({**chosen("sentiment", "good")}))
    assert "the answer is in the control 'sentiment', not in classes, unsure or state" in take([foreign])[1]
    assert "the answer is in the control 'sentiment', not in" in take([row("a.tif", sentiment="good")])[1]
    other = task("a.tif", annotation())
    other["data"]["image"] = "x/aljax-00000000-000000000000-a.png"
    assert "aljax-00000000-000000000000-a.png is no tile of" in take([other])[1]
    other["data"] = {"text": "hello"}
    assert "task 1 has no 'image': the file is of another project" in take([other])[1]
    assert "task 7: annotations is no list of objects" in take([{**task("a.tif"), "annotations": [1, 2]}])[1]
    assert "task 7: result is no list of objects" in take([task("a.tif", {**annotation(), "result": 3})])[1]
    assert "is no list of tasks" in take({"a": 1})[1]
    twice = {**annotation(chosen("classes", TREES)), "updated_at": None}, {**annotation(), "updated_at": None}
    assert "by one person, in" in (error := take([task("a.tif", *twice)])[1])
    assert error.count("task 7") == 1
    assert "has no answers yet" in take([task("a.tif")])[1]


def test_a_tile_of_another_round_is_refused_by_its_picture(take, task) -> None:
    other = task("a.tif", annotation())
    key = other["data"]["image"].partition("aljax-")[2][:8]
    other["data"]["image"] = other["data"]["image"].replace(key, "0123abcd")
    status, error = take([other])
    assert (status, "the file is of another project, or of a round" in error) == (2, True)


def test_two_users_on_a_tile_of_one_person_are_refused_until_one_is_named(take, task, run_dir) -> None:
    both = task("a.tif", annotation(chosen("classes", TREES)), annotation(chosen("classes", WATER), by=2))
    status, error = take([both])
    assert status == 2
    assert "tile a.tif is answered by the users 1 and 2, and" in error
    assert "--annotator me=1" in error
    status, error = take([both], "--annotator", "me=2")
    assert (status, "1 answers are left out, by users that --annotator does not name, as 1" in error) == (0, True)
    assert cells(run_dir)["a.tif"] == ["0", "1", "0", "0", "0"]
    assert "no answer is by a user that --annotator names" in take([both], "--annotator", "me=9")[1]


def test_users_fill_in_their_own_forms(take, task, run_dir) -> None:
    tasks = [
        task("a.tif", annotation(chosen("classes", TREES))),
        task("c.d.tif", annotation(chosen("classes", TREES)), annotation(by={"id": 2, "email": "ben@example.org"})),
    ]
    for_two(run_dir)
    status, error = take(tasks)
    assert (status, "has forms for ana, ben, and the answers are by the users 1, 2 ben@example.org" in error) == (
        2,
        True,
    )
    assert "the answers are by the users 1, 2 ben" in take(tasks, "--annotator", "ana")[1]
    assert "has no form of that name, only of ana, ben" in take(tasks, "--annotator", "cia=1")[1]
    assert take(tasks, "--annotator", "ana=1,ben=ben@example.org") == (0, "")
    assert cells(run_dir, "to_label-ana")["a.tif"] == ["1", "0", "0", "0", "0"]
    assert cells(run_dir, "to_label-ana")["c.d.tif"] == ["1", "0", "0", "0", "0"]
    assert cells(run_dir, "to_label-ben")["c.d.tif"] == ["0"] * 5
    assert not (run_dir / "round-1/to_label.csv").exists()


def test_answers_about_tiles_of_the_other_annotator_are_reported(take, task, run_dir) -> None:
    for_two(run_dir)
    status, error = take([task("a.tif", annotation()), task("g.tif", annotation())], "--annotator", "ben=1")
    assert (status, "1 tiles that ben has answered are not in" in error) == (0, True)


def test_export_for_one_annotator_has_that_ones_tiles_and_the_round_stays_known(exchange, run_dir, tmp_path) -> None:
    for_two(run_dir)
    status, said, _ = exchange("export", "--to", "label-studio", "--out", tmp_path / "x.json", "--annotator", "ben")
    assert (status, said.endswith("--from label-studio --annotator ben FILE`\n")) == (0, True)
    assert [task["data"]["tile"] for task in json.loads((tmp_path / "x.json").read_text())] == [*TILES[3:]]
    status, said, _ = exchange("export", "--to", "label-studio", "--out", tmp_path / "y.json")
    assert (status, said.endswith("--annotator ana=USER,ben=USER FILE`\n")) == (0, True)
    said = exchange("export", "--to", "cvat", "--out", tmp_path / "z.xml")[1]
    assert said.endswith("--annotator NAME FILE`\n")  # which says nothing of users
    assert len(list((tmp_path / "images").iterdir())) == len(TILES)
    status, _, error = exchange("export", "--to", "label-studio", "--out", tmp_path / "z.json", "--annotator", "cia")
    assert (status, "has forms for ana, ben" in error) == (2, True)


@pytest.mark.parametrize("text", ["ana=1,ana=2", "ana=1,ben=1", "ana,ben", "a b=1", "=1", ","])
def test_unclear_annotators_are_refused(text: str, take, task) -> None:
    status, error = take([task("a.tif", annotation())], "--annotator", text)
    assert (status, f"--annotator is {text!r}: " in error) == (2, True)


def test_answers_that_are_there_stay_unless_they_are_to_be_replaced(take, task, run_dir) -> None:
    assert take([task("a.tif", annotation(chosen("classes", TREES)))])[0] == 0
    before = (run_dir / "round-1/to_label.csv").read_bytes()
    assert take([task("a.tif", annotation(chosen("classes", TREES)))]) == (0, "")
    assert (run_dir / "round-1/to_label.csv").read_bytes() == before
    two = [task("a.tif", annotation(chosen("classes", WATER))), task("b.tif", annotation())]
    status, error = take(two)
    assert (status, "to_label.csv, tile a.tif: there is another answer than in" in error) == (2, True)
    assert (run_dir / "round-1/to_label.csv").read_bytes() == before
    assert take(two, "--replace") == (0, "")
    assert [cells(run_dir)[tile] for tile in ("a.tif", "b.tif")] == [["0", "1", "0", "0", "0"], ["0"] * 5]
    assert take([task("north/a.tif", annotation(chosen("state", "cannot be labelled")))])[0] == 0
    status, error = take([task("north/a.tif", annotation())], "--replace")
    assert (status, "tile north/a.tif: it was skipped, so what it is for is not known" in error) == (2, True)


def test_answers_that_a_program_has_reported_are_not_passed_over(take, task, run_dir) -> None:
    (run_dir / "round-1/told.json").write_text("{}")
    status, error = take([task("a.tif", annotation())])
    assert (status, "told.json has answers that a program has told" in error) == (2, True)


def test_only_tiles_without_an_answer_are_exported(exchange, take, task, tmp_path) -> None:
    assert take([task("a.tif", annotation()), task("e.tif", annotation(chosen("state", "cannot be labelled")))])[0] == 0
    assert exchange("export", "--to", "label-studio", "--out", tmp_path / "out.json")[0] == 0
    left = [entry["data"]["tile"] for entry in json.loads((tmp_path / "out.json").read_text())]
    assert left == [tile for tile in TILES if tile not in ("a.tif", "e.tif")]
    assert take([task(tile, annotation()) for tile in left])[0] == 0
    status, _, error = exchange("export", "--to", "label-studio", "--out", tmp_path / "out.json")
    assert (status, "no tile of" in error) == (2, True)


@pytest.mark.parametrize("content", [b"", b"[", b"\xff\xfe", b"PK\x03\x04damaged", b"[" * 100_000])
def test_files_that_are_no_exports_are_one_line(content: bytes, exchange, tmp_path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    status, _, error = exchange("import", "--from", "label-studio", tmp_path / "x.json")
    assert (status, error.count("\n"), f"error: {tmp_path / 'x.json'}" in error) == (2, 1, True)


def test_a_page_that_is_gone_is_named(exchange, run_dir, tmp_path) -> None:
    page = run_dir / "round-1/label.html"
    text = page.read_text()
    page.unlink()
    arguments = ("export", "--to", "label-studio", "--out", tmp_path / "out.json")
    assert "has no page with tile a.tif" in exchange(*arguments)[2]
    page.write_text("<html>")
    assert "label.html is not readable as the page of a round" in exchange(*arguments)[2]
    page.write_text(text.replace(base64.b64encode(b"\xff\xd8\xff").decode(), "AAAA"))
    assert "label.html is not readable as the page of a round" in exchange(*arguments)[2]
    assert not (tmp_path / "out.json").exists()


def test_late_answers_go_into_an_earlier_round(exchange, take, task, run_dir) -> None:
    first = [task("a.tif", annotation(chosen("classes", ONE)))]
    shutil.copytree(run_dir / "round-1", run_dir / "round-2")
    form = run_dir / "round-2/to_label.csv"
    form.write_text("".join(form.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    status, error = take(first)
    assert (status, "or of a round that --round is to name" in error) == (2, True)
    assert take(first, "--round", 1) == (0, "")
    assert cells(run_dir)["a.tif"] == ["0", "0", "1", "0", "0"]
    assert "the newest is 2" in take(first, "--round", 3)[1]


def test_rounds_that_are_not_there_are_named(exchange, run_dir: Path, tmp_path) -> None:
    (run_dir / "round-1/to_label.csv").unlink()
    assert "has no round with a form" in exchange("export", "--to", "cvat", "--out", tmp_path / "x.xml")[2]
