"""The command `aljax` as it is installed: help on one screen, every subcommand, clear refusals."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from aljax.commands.main import COMMANDS
from aljax.version import __version__


def aljax(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "aljax", *arguments], capture_output=True, text=True, check=False)


def test_help_fits_a_screen_and_names_every_command() -> None:
    told = aljax("--help")
    lines = told.stdout.splitlines()
    assert (told.returncode, told.stderr, told.stdout) == (0, "", aljax().stdout)
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in COMMANDS)


def test_version_and_unknown_command() -> None:
    assert aljax("--version").stdout == f"aljax {__version__}\n"
    told = aljax("anotate")
    assert told.returncode == 2
    assert told.stderr == f"error: aljax has no command 'anotate': use one of {', '.join(COMMANDS)}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_uses_the_shared_names_of_options(name: str) -> None:
    assert find_spec(f"aljax.commands.{name.replace('-', '_')}") is not None
    told = aljax(name, "--help")
    assert told.returncode == 0
    assert f"usage: aljax {name} " in told.stdout
    assert "--data-dir" not in told.stdout.replace("--data-dir is then that folder", "")


def test_help_whose_reader_leaves_is_no_traceback() -> None:
    told = subprocess.run(
        f"{sys.executable} -m aljax --help | true", shell=True, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in told.stderr
