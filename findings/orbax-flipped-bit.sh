#!/bin/sh
# Orbax 0.12.8 (TensorStore 0.1.86): a checkpoint with a flipped bit is restored without a word, with other weights.
#
# Checkpoints lie on disks for months and are copied between machines. Their indices (manifest.ocdbt) carry a checksum,
# and a bit that flips there is noticed. One would guess the same of the arrays, which are nearly all of the bytes.
# They have none: a flipped bit in a file of arrays gives other numbers and no error.
#
# Why it matters: a run goes on from weights that are not those it had, or weights that are published predict something
# else. A checkpoint needs checksums of its own beside it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet orbax-checkpoint==0.12.8 tensorstore==0.1.86 \
    jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu venv/bin/python - <<'END'
import collections
import importlib.metadata
import logging
import pathlib
import sys

import numpy as np
import orbax.checkpoint as ocp

logging.getLogger("absl").setLevel(logging.CRITICAL)
for name in ("orbax-checkpoint", "tensorstore"):
    print(name, importlib.metadata.version(name))
weights = np.random.default_rng(0).standard_normal(4096).astype(np.float32)
folder = pathlib.Path.cwd() / "checkpoint"
with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(folder, {"kernel": weights})
    checkpointer.wait_until_finished()
    arrays = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    sound = arrays.read_bytes()
    found = collections.Counter()
    for position in range(500, len(sound) - 500, 499):
        damaged = bytearray(sound)
        damaged[position] ^= 4
        arrays.write_bytes(damaged)
        try:
            restored = checkpointer.restore(folder)["kernel"]
            found["as they were" if np.array_equal(restored, weights) else "other weights, no error"] += 1
        except ValueError:
            found["error"] += 1
print(f"a bit flipped at {found.total()} places of {len(sound)} bytes of arrays, one at a time: {dict(found)}")
if found["other weights, no error"] < found.total() / 2:
    sys.exit("changed: most flipped bits are noticed")
END
