"""The page on which a person labels tiles: what it shows, and that what it saves is read back as it was answered."""

import base64
import html
import io
import json
import os
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


def make_page(
    folder: Path, bands: tuple[int, ...] = (0, 1, 2), classes: tuple[str, ...] = CLASSES, reasons: object = REASONS
) -> str:
    """Writes the page of three tiles, the last one first, with names that CSV or HTML take for something else."""
    rows = [(tile, "pool") for tile in reversed(IDS)]
    form = Form(folder / "to_label.csv", ("id", "split"), rows, classes, reasons)
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
  replaceChildren(...children) { this.children = children; },
  focus() {}, blur() {},
  closest(kind) { return this.onclick ? this : null; },
});
globalThis.addEventListener = (kind, listener) => { listeners[kind] = listener; };
globalThis.document = {createElement: make, getElementById: (id) => (elements[id] ??= make())};
globalThis.localStorage = {
  getItem: (key) => kept[key] ?? null,
  setItem(key, value) { if (this.full) throw new Error("full"); kept[key] = value; },
};
const cardAt = (place) => elements.grid.children[place];
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
        # The first and the last tile are alike.
        ("press(','); press('1'); press('Enter'); press('2')", "D100 .010 D100"),
        ("press(','); press('0')", "S000 .000 S000"),
        ("press(','); press('?'); press('2')", ".0?0 .000 .0?0"),
        ("press(','); press('ArrowRight'); press('1'); press('ArrowLeft'); press('3')", ".001 .100 .001"),
        # A tile that is left out comes after the others of its group.
        ("press(','); cardAt(1).onclick({}); press('1'); press('Enter'); press('3')", "D100 .000 .001"),
        ("press(','); cardAt(1).onclick({}); press('1'); cardAt(1).onclick({}); press('1')", ".100 .000 .100"),
        ("press(','); cardAt(0).onclick({detail: 1}); cardAt(0).onclick({detail: 2}); press('1')", ".100 .000 .000"),
        ("press(','); press(','); press('1')", ".100 .000 .000"),
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
def test_click_leaves_the_keyboard_alone_and_storage_that_is_full_is_reported(tmp_path) -> None:
    page = make_page(tmp_path)
    taken = "let taken = true; const event = {target: %s, preventDefault() { taken = false; }};"
    clicked = "listeners.mousedown(event); process.stdout.write(String(taken))"
    assert run_page(page, taken % "find('skip')" + clicked) == "false"
    assert run_page(page, taken % "make()" + clicked) == "true"
    code = "localStorage.full = %s; press('1'); process.stdout.write(find('message').textContent ?? '')"
    assert run_page(page, code % "false") == ""
    assert run_page(page, code % "true") == "This browser keeps no labels: save before you close the page."


@pytest.mark.skipif(shutil.which("node") is None, reason="runs the page's script in Node")
def test_reasons_are_shown_by_their_key_and_not_before(tmp_path) -> None:
    told = "const told = () => find('why').hidden ? '' : find('why').children.map((one) => one.textContent).join('|');"
    page = make_page(tmp_path)
    code = f"{told} process.stdout.write([told(), (press('.'), told()), (press('.'), told())].join('\\n'))"
    before, shown, after = run_page(page, code).split("\n")
    names = [name.removeprefix("why: ") for name in REASON_COLUMNS]
    pairs = [part for pair in zip(names, REASONS[0], strict=True) for part in pair]
    assert (before, shown, after) == ("", "|".join(pairs), "")
    state = "process.stdout.write([find('reasons').hidden, find('group').hidden].join(' '))"
    assert run_page(page, state) == "false false"
    for empty in ([("",) * 8] * 3, ()):  # a round that was drawn by chance, and a form without reasons
        page = make_page(tmp_path, reasons=empty)
        assert run_page(page, f"press('.'); press(','); {state}") == "true true"


@pytest.mark.skipif(shutil.which("node") is None, reason="runs the page's script in Node")
def test_class_without_a_key_is_found_by_its_name(tmp_path) -> None:
    page = make_page(tmp_path, classes=tuple(f"class{number}" for number in range(40)))
    typed = "const input = find('search'); input.value = '%s'; input.oninput();"
    enter = "press('Enter', {target: input}); process.stdout.write(answers[0].cells.join(''))"
    assert run_page(page, f"press('/'); {typed % 'ASS37'} {enter}") == "0" * 37 + "100"
    assert run_page(page, f"{typed % 'no such'} {enter}") == "0" * 40
    assert run_page(page, f"{typed % ''} {enter}") == "0" * 40
    # What is typed there are no keys of classes.
    letters = "press('a', {target: input}); press('1', {target: input});"
    assert run_page(page, f"{typed % 'class'} {letters} {enter}") == "1" + "0" * 39
    shown = "process.stdout.write(toggles.filter((button) => !button.hidden).map((_, i) => i).join(' '))"
    assert len(run_page(page, f"{typed % 'class3'} {shown}").split()) == 11
    after = "press('Escape', {target: input});"
    assert len(run_page(page, f"{typed % 'class3'} {after} {shown}").split()) == 40
    assert run_page(make_page(tmp_path), "process.stdout.write(String(find('search').hidden))") == "true"


def run_page(page: str, program: str) -> str:
    """What a program prints that runs after the page's own."""
    (own,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    content = f"document.getElementById('round').textContent = {json.dumps(script(page, 'round'))};"
    lines = "\n".join([BROWSER, content, script(page, "text"), own, program])
    return subprocess.run(["node", "-"], input=lines, capture_output=True, encoding="utf-8", check=True).stdout


CHROMIUM = os.environ.get("ALJAX_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="opens the page in Chromium: install it, or name it by ALJAX_CHROMIUM")
def test_thirty_classes_and_500_tiles_in_a_browser(tmp_path) -> None:
    count, names = 500, tuple(f"class {number}" for number in range(30))
    archive = replace(ARCHIVE, ids=tuple(f"{i}.png" for i in range(3)))
    rows = [(f"{number}.png", "pool") for number in range(count)]
    reasons = [("1.0", *("",) * 6, str(number // 5)) for number in range(count)]
    form = Form(tmp_path / "to_label.csv", ("id", "split"), rows, names, reasons)
    label_page(tmp_path / "label.html", archive, np.arange(count) % 3, (0, 1, 2), form)
    program = """
      const typed = (key) => new KeyboardEvent("keydown", {key, bubbles: true});
      const press = (key, target = document.body) => target.dispatchEvent(typed(key));
      const laid = (id) => document.getElementById(id).getBoundingClientRect();
      press("1"); press("u"); press("Enter"); press("."); press(","); press("t"); press("Enter");
      press("/"); const input = document.activeElement;
      input.value = "class 13"; input.oninput(); press("Enter", input);
      document.title = JSON.stringify({
        answers: [0, 1, 4, 5].map((i) => [answers[i].done, answers[i].cells.flatMap((cell, c) => cell ? [c] : [])]),
        shown: document.querySelectorAll("#grid img").length, strip: document.querySelectorAll("#strip img").length,
        typing: document.activeElement === input,
        wide: document.documentElement.scrollWidth > innerWidth, done: laid("done").bottom < innerHeight,
      });
    """
    page = (tmp_path / "label.html").read_text().replace("</html>", f"<script>{program}</script></html>")
    (tmp_path / "label.html").write_text(page)
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [CHROMIUM, *options, "--window-size=1280,720", "--dump-dom", (tmp_path / "label.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=120).stdout
    (title,) = re.findall(r"<title>(.*?)</title>", dom)
    assert json.loads(html.unescape(title)) == {
        "answers": [[True, [0, 29]], [True, [28]], [True, [28]], [False, [13]]],
        "shown": 5,
        "strip": count,
        "typing": False,
        "wide": False,
        "done": True,
    }
