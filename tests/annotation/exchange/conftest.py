"""A round that waits, and the command on it."""

import shutil
from pathlib import Path

import pytest
from exchanged import make_round
from run_command import run

from aljax.annotation.exchange.rounds import open_round
from aljax.commands.exchange.main import main


@pytest.fixture(scope="session")
def made_round(tmp_path_factory) -> Path:
    """Written once; tests get copies."""
    patch = pytest.MonkeyPatch()
    patch.setattr("aljax.annotation.round_files.contact_sheet", lambda *arguments: None)
    folder = make_round(tmp_path_factory.mktemp("round"))
    patch.undo()
    return folder


@pytest.fixture
def run_dir(made_round: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_round, tmp_path / "run"))


@pytest.fixture
def exchange(run_dir: Path, monkeypatch, capsys):
    """The command; gives exit status, output and messages."""

    def call(direction: str, *arguments: object) -> tuple[int, str, str]:
        status = run(monkeypatch, main, direction, "--run-dir", run_dir, *arguments)
        return (status, *capsys.readouterr())

    return call


@pytest.fixture
def names(run_dir: Path):
    """The names of the pictures of tiles."""
    return open_round(run_dir).picture
