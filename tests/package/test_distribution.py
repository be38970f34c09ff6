"""What pip installs: the package and its command, with all of its files, and nothing else."""

import tomllib
from pathlib import Path

from places import ROOT
from setuptools import find_packages

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_pip_installs_aljax_alone_with_every_folder() -> None:
    found = find_packages(str(ROOT), include=PROJECT["tool"]["setuptools"]["packages"]["find"]["include"])
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "aljax").rglob("*.py")}
    assert set(found) == folders


def test_files_that_are_no_modules_are_in_the_package() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["aljax"]
    others = [path for path in (ROOT / "aljax").rglob("*") if path.suffix in (".html", ".typed")]
    assert others
    assert all(any(path.relative_to(ROOT / "aljax").match(pattern) for pattern in patterns) for path in others)


def test_command_is_there() -> None:
    module, _, function = PROJECT["project"]["scripts"]["aljax"].partition(":")
    assert Path(ROOT, *module.split(".")).with_suffix(".py").exists()
    assert function == "main"


def test_the_source_distribution_has_no_tests_that_would_lack_their_helpers() -> None:
    # setuptools takes along what matches this, and nothing else of the folder.
    assert not list((ROOT / "tests").glob("test*.py"))
