"""The command `aljax exchange`: rounds of annotation given to other tools, and the answers taken back."""

from aljax.commands.exchange.main import main

__all__ = ["main"]
