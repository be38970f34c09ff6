"""The page on which a person labels tiles: what it shows, and that what it saves is read back as it was answered."""

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import make_archive

from aljax.contact_sheet import stretch
from aljax.data.labels import SKIPPED, read_csv
from aljax.label_page import Form, label_page

IDS = ("<i>.png", 'b, "2".png', "ü c.png")
CLASSES = ("trees", "</script><b>", 'a "quoted", name')
ARCHIVE = replace(make_archive(3), ids=IDS)


def make_page(folder: Path, bands: tuple[int, ...] = (0, 1, 2)) -> str:
    """Writes the page of three tiles, the last one first, with names that CSV or HTML take for something else."""
    rows = [(tile, "pool") for tile in reversed(IDS)]
    form = Form(folder / "to_label.csv", ("id", "split"), rows, CLASSES)
    label_page(folder / "label.html", ARCHIVE, np.array([2, 1, 0]), bands, form)
    form.path.write_text(form.blank(), encoding="utf-8")
    return (folder / "label.html").read_text(encoding="utf-8")


def script(page: str, name: str) -> str:
    (found,) = re.findall(rf'<script [^>]*id="{name}">(.*?)</script>', page, re.DOTALL)
    return found


def decode(url: str) -> np.ndarray:
    kind, _, data = url.partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        return np.asarray(picture)


def test_page_shows_the_tiles_in_the_forms_order_and_loads_nothing(tmp_path) -> None:
    page = make_page(tmp_path)
    content = json.loads(script(page, "round"))
    assert content["classes"] == list(CLASSES)
    assert [tile["id"] for tile in content["tiles"]] == list(reversed(IDS))
    shown = np.stack([decode(tile["picture"]) for tile in content["tiles"]])
    expected = 255 * stretch(np.asarray(ARCHIVE.images)[::-1])
    assert np.abs(shown - expected).mean() < 8  # JPEG of noise
    assert np.abs(shown[::-1] - expected).mean() > 20
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=|https?://", page)


def test_names_cannot_end_the_element_that_they_stand_in(tmp_path) -> None:
    page = make_page(tmp_path)
    assert page.count("</script>") == page.count("<script") == 3
    assert "<b>" not in page
    assert "<i>" not in page


def test_one_band_is_shown_in_grey(tmp_path) -> None:
    content = json.loads(script(make_page(tmp_path, bands=(1,)), "round"))
    assert decode(content["tiles"][0]["picture"]).shape == ARCHIVE.images.shape[1:3]


def test_same_tiles_give_the_same_page_and_others_do_not_find_its_answers(tmp_path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    page = make_page(first)
    assert make_page(first) == page
    assert json.loads(script(make_page(second, bands=(0,)), "round"))["key"] != json.loads(script(page, "round"))["key"]


@pytest.mark.skipif(shutil.which("node") is None, reason="runs the page's script in Node")
def test_what_the_page_saves_is_read_back_as_it_was_answered(tmp_path) -> None:
    page = make_page(tmp_path)
    answers = [
        {"done": True, "cells": [1, 0, 1]},
        {"done": True, "cells": [0, 0, 0]},
        {"done": True, "skipped": True, "cells": [0, 1, 1]},
    ]

    def save(given: list[dict[str, object]]) -> str:
        program = (
            f"{script(page, 'text')}\nprocess.stdout.write(formText({script(page, 'round')}, {json.dumps(given)}))"
        )
        return subprocess.run(["node", "-"], input=program, capture_output=True, encoding="utf-8", check=True).stdout

    (tmp_path / "saved.csv").write_text(save(answers), encoding="utf-8")
    saved = read_csv(tmp_path / "saved.csv")
    assert saved.ids == tuple(reversed(IDS))
    assert saved.class_names == CLASSES
    assert saved.labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert saved.parts.tolist() == [0, 0, SKIPPED]
    # A tile that is switched about but not done counts as not labelled.
    nothing = [{**answer, "done": False, "skipped": False} for answer in answers]
    assert save(nothing) == (tmp_path / "to_label.csv").read_text(encoding="utf-8")
