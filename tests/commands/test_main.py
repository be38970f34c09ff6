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
    result = aljax("--help")
    lines = result.stdout.splitlines()
    assert (result.returncode, result.stderr, result.stdout) == (0, "", aljax().stdout)
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in COMMANDS)


def test_version_and_unknown_command() -> None:
    assert aljax("--version").stdout == f"aljax {__version__}\n"
    result = aljax("anotate")
    assert result.returncode == 2
    assert result.stderr == f"error: aljax has no command 'anotate': use one of {', '.join(COMMANDS)}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_uses_the_shared_names_of_options(name: str) -> None:
    assert find_spec(f"aljax.commands.{name.replace('-', '_')}") is not None
    result = aljax(name, "--help")
    assert result.returncode == 0
    assert f"usage: aljax {name} " in result.stdout
    assert "--data-dir" not in result.stdout.replace("--data-dir is then that folder", "")


def test_help_whose_reader_leaves_is_no_traceback() -> None:
    result = subprocess.run(
        f"{sys.executable} -m aljax --help | true", shell=True, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in result.stderr
