"""The README lists the parts of the package from the ground up; each imports only from those before it."""

import ast
import re
from pathlib import Path

from places import ROOT


def listed() -> list[str]:
    text = " ".join((ROOT / "README.md").read_text().split("## Layout")[1].split())
    parts = text.split("each file one concern")[0]
    return [name.rstrip("/") for name in re.findall(r"`([a-z_]+/?)`", parts)][1:]


def files_of(part: str) -> list[Path]:
    path = ROOT / "aljax" / part
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def imported(file: Path) -> set[str]:
    """Parts of aljax that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("aljax.")}


def test_every_part_is_listed_once() -> None:
    there = {path.stem for path in (ROOT / "aljax").iterdir() if path.suffix == ".py" or path.name == "data"}
    assert sorted(listed()) == sorted(there - {"__init__"})


def test_parts_import_only_from_those_before_them() -> None:
    order = listed()
    for place, part in enumerate(order):
        for file in files_of(part):
            assert imported(file) <= set(order[: place + 1]), file
