#!/bin/sh
# Orbax 0.12.8: a checkpoint that is saved below a folder with a bracket in its name is lost.
#
# A path with [ in it is a path like any other, and one would guess that a checkpoint can be saved there, or that
# saving raises an error. Orbax saves it and raises nothing (it logs a warning about a merge that it skips: it looks for
# its own parts with a pattern, in which [1] stands for 1). Restoring raises ValueError. Nor does it help to rename the
# folder: what was to be merged never was. A checkpoint that was saved without a bracket and moved to such a path is
# read. CheckpointManager does the same as the StandardCheckpointer below.
#
# Why it matters: run folders are called by their settings, such as `lr[0.01]` or `trial[3]`. A run saves for days, is
# stopped, and has nothing to go on from.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet orbax-checkpoint==0.12.8 tensorstore==0.1.86 \
    jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu venv/bin/python - <<'END'
import importlib.metadata
import logging
import pathlib
import sys

import numpy as np
import orbax.checkpoint as ocp

logging.getLogger("absl").setLevel(logging.ERROR)
print("Orbax", importlib.metadata.version("orbax-checkpoint"))
weights = {"kernel": np.arange(1000, dtype=np.float32)}
here = pathlib.Path.cwd()


def is_read(folder):
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return np.array_equal(checkpointer.restore(folder / "1")["kernel"], weights["kernel"])
    except ValueError as error:
        print("  ValueError,", str(error)[:70], "...")
        return False


with ocp.StandardCheckpointer() as checkpointer:
    for name in ("plain", "run[1]"):
        checkpointer.save(here / name / "1", weights)
        checkpointer.wait_until_finished()
found = {}
for name in ("plain", "run[1]"):
    found[f"saved in {name}"] = is_read(here / name)
(here / "run[1]").rename(here / "renamed")
(here / "plain").rename(here / "plain[1]")
found["saved in run[1], renamed without a bracket"] = is_read(here / "renamed")
found["saved in plain, renamed with one"] = is_read(here / "plain[1]")
for case, read in found.items():
    print(f"{case}:", "read" if read else "lost")
if list(found.values()) != [True, False, False, True]:
    sys.exit("changed: which of these checkpoints can be read")
END
