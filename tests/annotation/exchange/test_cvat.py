"""CVAT for images 1.1: tags of images come back as the cells that were meant."""

import json
import zipfile
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pytest
from exchanged import CLASSES, TILES, cells, for_two, parts
from PIL import Image

TREES, WATER, ONE, BRACKET, SO = CLASSES


def tag(label: str, source: str = "manual", unsure: str | None = None) -> str:
    """As CVAT writes it."""
    inside = "" if unsure is None else f'<attribute name="unsure">{escape(unsure)}</attribute>'
    return f'    <tag label={quoteattr(label)} source="{source}">{inside}</tag>'


@pytest.fixture
def take(exchange, names, tmp_path):
    def take(tags: dict[str, list[str]], *arguments: object) -> tuple[int, str]:
        images = [
            f'  <image id="{number}" name="{names(tile)}" width="256" height="256">\n'
            + "\n".join(inside)
            + "\n  </image>"
            for number, (tile, inside) in enumerate(tags.items())
        ]
        start = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta/>\n'
        (tmp_path / "annotations.xml").write_text(start + "\n".join(images) + "\n</annotations>\n", encoding="utf-8")
        with zipfile.ZipFile(tmp_path / "annotations.zip", "w") as file:
            file.write(tmp_path / "annotations.xml", "annotations.xml")
        status, _, error = exchange("import", "--from", "cvat", *arguments, tmp_path / "annotations.zip")
        return status, error

    return take


def test_tags_fill_in_the_form(take, run_dir) -> None:
    tags = {
        "a.tif": [tag(TREES, unsure="false"), tag(SO, unsure="true")],
        "b.tif": [tag("answered")],
        "north/a.tif": [],
        "north/é ü.tif": [tag("cannot be labelled")],
        "c.d.tif": [tag(WATER, "auto"), tag(ONE, "file")],
        "e.tif": [tag(WATER, "file"), tag("answered", "file")],
        "f.tif": [tag(WATER, "file"), tag(BRACKET)],
    }
    assert take(tags) == (0, "")
    assert cells(run_dir) == {
        "a.tif": ["1", "0", "0", "0", "?"],
        "b.tif": ["0"] * 5,
        "north/a.tif": [""] * 5,
        "north/é ü.tif": [""] * 5,
        "c.d.tif": [""] * 5,  # predicted, and nobody has said so
        "e.tif": ["0", "1", "0", "0", "0"],
        "f.tif": ["0", "1", "0", "1", "0"],
        "g.tif": [""] * 5,
    }
    assert parts(run_dir)["north/é ü.tif"] == "skip"


def test_bad_files_are_one_line(take, exchange, tmp_path) -> None:
    assert "tile a.tif: the class 'gras' is unknown to the round" in take({"a.tif": [tag("gras")]})[1]
    assert "has no answers yet" in take({"a.tif": []})[1]
    other = tmp_path / "x.xml"
    other.write_text('<annotations><image name="elsewhere.png"/></annotations>')
    assert "elsewhere.png is no tile of" in exchange("import", "--from", "cvat", other)[2]
    other.write_text("<annotations/>")
    assert "has no images: export the format CVAT for images 1.1" in exchange("import", "--from", "cvat", other)[2]
    other.write_text("<annotations>")
    assert "is not readable as XML" in exchange("import", "--from", "cvat", other)[2]
    missing = tmp_path / "missing"
    for tool in ("cvat", "coco"):
        error = exchange("import", "--from", tool, missing)[2]
        assert error == f"error: {missing} is not readable (No such file or directory): name the file of an export\n"
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a.txt", "")
    assert "has 0 files .xml" in exchange("import", "--from", "cvat", tmp_path / "x.zip")[2]


def test_a_tile_twice_with_other_tags_is_refused(exchange, names, tmp_path) -> None:
    image = '<image name="{}"><tag label="{}"/></image>'
    two = [image.format(names("a.tif"), label) for label in ("1", "[x]")]
    (tmp_path / "x.xml").write_text(f"<annotations>{''.join(two)}</annotations>")
    status, _, error = exchange("import", "--from", "cvat", tmp_path / "x.xml")
    assert (status, "tile a.tif has two answers by one person" in error) == (2, True)


def test_answers_without_a_name_are_those_of_the_annotator_given(take, run_dir) -> None:
    for_two(run_dir)
    assert "the answers are by the users without a name" in take({"f.tif": [tag(ONE)]})[1]
    assert take({"f.tif": [tag(ONE)]}, "--annotator", "ben") == (0, "")
    assert cells(run_dir, "to_label-ben")["f.tif"] == ["0", "0", "1", "0", "0"]


def test_export_has_labels_pictures_and_predictions_that_are_no_answers(exchange, names, run_dir, tmp_path) -> None:
    header = 'id,trees & <b>,"water, deep",1,[x],"the ""so called"""'
    (run_dir / "round-1/predictions.csv").write_text(f"{header}\na.tif,0.9,0.1,0,0,1\n")
    out = tmp_path / "cvat.xml"
    assert exchange("export", "--to", "cvat", "--out", out, "--predictions")[0] == 0
    labels = json.loads((tmp_path / "cvat.labels.json").read_text())
    assert [label["name"] for label in labels] == [*CLASSES, "answered", "cannot be labelled"]
    assert {label["type"] for label in labels} == {"tag"}
    root = ElementTree.parse(out).getroot()
    assert [image.get("name") for image in root.iter("image")] == [names(tile) for tile in TILES]
    assert [found.get("label") for found in root.iter("tag")] == [TREES, SO]
    sizes = {np.asarray(Image.open(tmp_path / "images" / names(tile))).shape[1::-1] for tile in TILES}
    assert {(int(image.get("width", 0)), int(image.get("height", 0))) for image in root.iter("image")} == sizes
    assert "has no answers yet" in exchange("import", "--from", "cvat", out)[2]


def test_classes_called_as_a_label_of_ours_are_refused(exchange, run_dir: Path, tmp_path) -> None:
    form = run_dir / "round-1/to_label.csv"
    form.write_text(form.read_text().replace("[x]", "answered"))
    status, _, error = exchange("export", "--to", "cvat", "--out", tmp_path / "x.xml")
    assert (status, "a class is called 'answered'" in error) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
