#!/bin/sh
# Orbax 0.12.8 (with absl-py 2.5.1): importing it configures Python's logging, and a later basicConfig does nothing.
#
# One would guess that importing a library leaves the root logger as it is, as Python's documentation asks of libraries.
# While orbax.checkpoint is imported it writes a line by absl's logging, and absl calls logging.basicConfig() where the
# root logger has no handler yet. From then on the root logger has one on standard error, so that logging.basicConfig
# with a file or a level, which does nothing where there is a handler, is passed over without a word.
#
# Why it matters: a training script that imports its libraries and then opens its log has an empty log, and what GDAL
# tells rasterio of every other tile, which nobody sees without a handler, is suddenly on standard error.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet orbax-checkpoint==0.12.8 absl-py==2.5.1 jax==0.10.2 jaxlib==0.10.2
cd "$folder"
venv/bin/python - <<'END'
import logging
import sys
from importlib.metadata import version
from pathlib import Path

before = list(logging.root.handlers)
import orbax.checkpoint  # noqa: E402, F401

after = list(logging.root.handlers)
logging.basicConfig(filename="run.log", level=logging.INFO)
logging.getLogger("mine").info("the first step")
written = Path("run.log").read_text() if Path("run.log").exists() else ""
print("orbax-checkpoint", version("orbax-checkpoint"), "absl-py", version("absl-py"))
print(f"handlers of the root logger before the import {before}, after it {after}; in the log: {written!r}")
if before or len(after) != 1 or written:
    sys.exit("changed: importing Orbax leaves the root logger as it is")
END
