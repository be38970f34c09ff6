"""Calling a command as the command line does."""

import sys
from collections.abc import Callable

import pytest

from aljax.commands.process import command


def run(monkeypatch: pytest.MonkeyPatch, main: Callable[[], None], *arguments: object) -> int:
    """The exit status of a command with these arguments."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    try:
        command(main)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
