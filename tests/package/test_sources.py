"""The files of the project are what somebody wrote, whole."""

import re

import pytest
from places import ROOT

WRITTEN = {".py", ".md", ".sh", ".toml", ".html", ".yml"}
# As git writes them around two sides that somebody has to choose from, in a docstring or a text without an error.
MARKS = re.compile(r"^(<{7} |={7}$|>{7} )", re.MULTILINE)


@pytest.mark.parametrize("folder", ["aljax", "experiments", "tools", "findings", "tests", "."])
def test_no_merge_was_left_half_made(folder: str) -> None:
    files = (ROOT / folder).glob("*") if folder == "." else (ROOT / folder).rglob("*")
    texts = {path: path.read_text(encoding="utf-8") for path in files if path.suffix in WRITTEN and path.is_file()}
    assert texts
    assert [str(path) for path, text in texts.items() if MARKS.search(text)] == []
