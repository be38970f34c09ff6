"""Command-line options from the fields of a dataclass or the arguments of a function."""

import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import tyro

from aljax.engines.scoring import Precision

# Elsewhere --precision is that of a run; here it is the older name.
EnginePrecision = Annotated[Precision | None, tyro.conf.arg(aliases=["--precision"])]
T = TypeVar("T")

WIDEST = 100  # characters of a line of help


def read_options(of: Callable[..., T], program: str, description: str | None, config: Sequence[Any] = ()) -> T:
    """Parses the command line of `program` and makes the settings, or calls the function, with these options."""
    return tyro.cli(of, prog=program, description=wrapped(description or ""), config=config)


def wrapped(description: str) -> str:
    """The description with paragraphs wrapped to the terminal; indented blocks, which are commands, stay unchanged.

    Every line begins with a space, because Tyro joins lines that begin with a letter and never wraps them.
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
