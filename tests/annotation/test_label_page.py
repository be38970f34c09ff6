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

from aljax.annotation.label_page import Form, label_page
from aljax.arrays import UNKNOWN
from aljax.data.label_rows import REASON_COLUMNS
from aljax.data.labels import SKIPPED, read_csv, read_form
from aljax.errors import InputWarning
from aljax.reports.contact_sheet import stretch

IDS = ("<i>.png", 'b, "2".png', "ü c.png")
CLASSES = ("trees", "</script><b>", 'a "quoted", name')
ARCHIVE = replace(make_archive(3), ids=IDS)
REASONS = [
    ("2.5", "1", "1", "7", "other, tile.png", "0.5", '0.48 a "quoted", name, 0.60 trees', "1"),
    ("1.5", "3", "2", "1", "<i>.png", "0.5", "0.51 trees", "2"),
    ("", "", "", "", "", "", "", "1"),
]


def make_page(folder: Path, bands: tuple[int, ...] = (0, 1, 2)) -> str:
    """Writes the page of three tiles, the last one first, with names that CSV or HTML take for something else."""
    rows = [(tile, "pool") for tile in reversed(IDS)]
    form = Form(folder / "to_label.csv", ("id", "split"), rows, CLASSES, REASONS)
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

    def save(answers: list[dict[str, object]]) -> str:
        program = (
            f"{script(page, 'text')}\nprocess.stdout.write(formText({script(page, 'round')}, {json.dumps(answers)}))"
        )
        return subprocess.run(["node", "-"], input=program, capture_output=True, encoding="utf-8", check=True).stdout

    (tmp_path / "saved.csv").write_text(save(answers), encoding="utf-8")
    saved = read_csv(tmp_path / "saved.csv")
    assert saved.ids == tuple(reversed(IDS))
    assert saved.class_names == CLASSES
    assert saved.labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert saved.parts.tolist() == [0, 0, SKIPPED]
    header, rows = read_form(tmp_path / "saved.csv")
    assert header == ["id", "split", *CLASSES, *REASON_COLUMNS]
    assert [tuple(row[-8:]) for row in rows] == REASONS
    # An open cell stays empty, and a tile of these alone is skipped.
    opened = [{"done": True, "cells": cells} for cells in ([1, "", 0], ["", "", ""], [0, 0, ""])]
    (tmp_path / "saved.csv").write_text(save(opened), encoding="utf-8")
    with pytest.warns(InputWarning, match="2 cells of 2 tiles are empty"):
        saved = read_csv(tmp_path / "saved.csv")
    assert saved.labels.tolist() == [[1, UNKNOWN, 0], [0, 0, 0], [0, 0, UNKNOWN]]
    assert saved.parts.tolist() == [0, SKIPPED, 0]
    # A tile that is switched about but not done counts as not labelled.
    nothing = [{**answer, "done": False, "skipped": False} for answer in answers]
    assert save(nothing) == (tmp_path / "to_label.csv").read_text(encoding="utf-8")


# As much of a browser as the page needs; an element is a button where it has a click.
BROWSER = """
const listeners = {}, elements = {}, kept = {};
const make = () => ({
  append() {}, setAttribute() {}, scrollIntoView() {}, classList: {toggle() {}},
  closest(kind) { return this.onclick ? this : null; },
});
globalThis.addEventListener = (kind, listener) => { listeners[kind] = listener; };
globalThis.document = {createElement: make, getElementById: (id) => (elements[id] ??= make())};
globalThis.localStorage = {
  getItem: (key) => kept[key] ?? null,
  setItem(key, value) { if (this.full) throw new Error("full"); kept[key] = value; },
};
const press = (key, more = {}) => listeners.keydown({key, target: make(), preventDefault() {}, ...more});
"""
MARKS = (
    "answers.map(({done, skipped, cells}) => (skipped ? 'S' : done ? 'D' : '.')"
    " + cells.map((cell) => cell === '' ? '?' : cell).join('')).join(' ')"
)


@pytest.mark.skipif(shutil.which("node") is None, reason="runs the page's script in Node")
@pytest.mark.parametrize(
    ("done", "expected"),
    [
        ("press('1'); press('Enter'); press('3'); press('Enter')", "D100 D001 .000"),
        ("press('2'); press('0'); press('ArrowLeft'); press('3')", "D011 .000 .000"),
        # A key that is held answers for one tile.
        ("for (let i = 0; i < 3; i++) press('Enter', {repeat: i > 0})", "D000 .000 .000"),
        ("press('0'); press('0', {repeat: true}); press('ArrowRight', {repeat: true}); press('1')", "S000 .000 .100"),
        # A class that nobody is sure of: by ? and its key, by the button, by Shift and a click.
        ("press('?'); press('2'); press('1'); press('Enter'); press('2')", "D1?0 .010 .000"),
        ("press('?'); press('2'); press('2'); press('?'); press('3'); press('?'); press('3')", ".010 .000 .000"),
        ("press('?'); press('?'); press('1'); find('unsure').onclick(); toggles[2].onclick({})", ".10? .000 .000"),
        ("toggles[0].onclick({shiftKey: true}); toggles[1].onclick({})", ".?10 .000 .000"),
        ("press('?'); press('ArrowRight'); press('1')", ".000 .100 .000"),
        # The same page in another tab.
        (
            "press('1'); const other = answers.map((one) => ({...one, done: true, cells: [0, 1, 0]}));"
            "listeners.storage({key: round.key, newValue: JSON.stringify(other)}); press('1')",
            "D110 D010 D010",
        ),
        ("listeners.storage({key: 'another page', newValue: '[]'}); press('1')", ".100 .000 .000"),
    ],
)
def test_keys_answer_for_the_tile_that_is_shown(done: str, expected: str, tmp_path) -> None:
    assert run_page(make_page(tmp_path), f"{done}; process.stdout.write({MARKS})") == expected


@pytest.mark.skipif(shutil.which("node") is None, reason="runs the page's script in Node")
def test_click_leaves_the_keyboard_alone_and_storage_that_is_full_is_told(tmp_path) -> None:
    page = make_page(tmp_path)
    taken = "let taken = true; const event = {target: %s, preventDefault() { taken = false; }};"
    clicked = "listeners.mousedown(event); process.stdout.write(String(taken))"
    assert run_page(page, taken % "find('skip')" + clicked) == "false"
    assert run_page(page, taken % "make()" + clicked) == "true"
    code = "localStorage.full = %s; press('1'); process.stdout.write(find('told').textContent ?? '')"
    assert run_page(page, code % "false") == ""
    assert run_page(page, code % "true") == "This browser keeps no labels: save before you close the page."


def run_page(page: str, program: str) -> str:
    """What a program prints that runs after the page's own."""
    (own,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    content = f"document.getElementById('round').textContent = {json.dumps(script(page, 'round'))};"
    lines = "\n".join([BROWSER, content, script(page, "text"), own, program])
    return subprocess.run(["node", "-"], input=lines, capture_output=True, encoding="utf-8", check=True).stdout
