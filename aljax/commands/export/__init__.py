"""The command `aljax export`: what a run has learnt as a file for other tools, such as one in ONNX."""

from aljax.commands.export.main import main

__all__ = ["main"]
