"""What a command says of its options."""

import sys

import pytest

from aljax.commands import options


def test_help_is_wrapped_to_the_terminal_and_commands_are_left_as_they_are(monkeypatch, capsys) -> None:
    example = "    python -m tools.some " + "x" * 120
    for columns, widest in ((70, 70), (200, options.WIDEST)):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["some", "--help"])
        with pytest.raises(SystemExit):
            options.read_options(lambda: None, "tools.some", f"One, two. {'(three) ' * 40}\n\n{example}")
        lines = capsys.readouterr().out.splitlines()
        usage_lines = [line for line in lines if "(three)" in line]
        assert widest - 8 <= max(map(len, usage_lines)) <= widest
        assert example in lines
