"""The rooms of the package: each imports only from those above it in the list of its README, and no two modules from
each other."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

from places import ROOT

PACKAGE = ROOT / "aljax"


def rooms() -> list[str]:
    """As `aljax/README.md` lists them."""
    return re.findall(r"^\| `([a-z_/]+)/` \|", (PACKAGE / "README.md").read_text(), re.MULTILINE)


def modules() -> dict[str, Path]:
    files = (path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files}


def imported(file: Path) -> set[str]:
    """Modules of aljax that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & set(modules())


def room_of(module: str) -> str:
    """The folder that a module lies in, "" for what lies above all rooms."""
    return "/".join(module.split(".")[1:-1])


def test_every_folder_is_a_room_on_the_list() -> None:
    assert {room_of(module) for module in modules()} - {""} == set(rooms())


def test_rooms_import_only_from_those_above_them() -> None:
    order = {room: place for place, room in enumerate(rooms())}
    foundation = {name for name in modules() if room_of(name) == ""} - {"aljax.__main__"}
    for module, file in modules().items():
        if module == "aljax.__main__":
            continue
        for other in imported(file):
            if module in foundation:
                assert other in foundation, (module, other)
            elif other not in foundation:
                assert order[room_of(other)] <= order[room_of(module)], (module, other)


def test_no_modules_import_each_other() -> None:
    TopologicalSorter({module: imported(file) for module, file in modules().items()}).prepare()


def test_about_a_dozen_modules_at_most_lie_flat() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 8
    assert all(len(list((PACKAGE / room).glob("*.py"))) <= 14 for room in rooms())


def test_every_room_says_what_is_in_it() -> None:
    for room in rooms():
        text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())) or ""
        assert len(text) > 60, room
