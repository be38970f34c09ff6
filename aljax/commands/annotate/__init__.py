"""The subcommand `annotate`: rounds of annotation, and `Session`, the same for a program."""

from aljax.commands.annotate.command import main

__all__ = ["main"]
