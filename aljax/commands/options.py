"""Options of a command line from the fields of settings or the arguments of a function."""

import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

WIDEST = 100  # characters of a line of help


def read_options(of: Callable[..., T], program: str, description: str | None, config: Sequence[Any] = ()) -> T:
    """Makes the settings, or calls the function, that the command line of `program` asks for."""
    import tyro

    return tyro.cli(of, prog=program, description=wrapped(description or ""), config=config)


def wrapped(description: str) -> str:
    """Paragraphs wrapped to the terminal; commands, which are indented, as they are.

    Tyro joins lines that begin with a letter and never wraps them: so every line begins with a blank.
    """
    width = min(shutil.get_terminal_size().columns, WIDEST)
    wrap = textwrap.TextWrapper(
        width, initial_indent=" ", subsequent_indent=" ", break_long_words=False, break_on_hyphens=False
    )
    blocks = [
        block if block.startswith("    ") else wrap.fill(" ".join(block.split()))
        for block in description.strip().split("\n\n")
    ]
    return "\n\n".join(blocks)
