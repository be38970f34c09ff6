#!/bin/sh
# OpenVINO 2026.4.1 on Linux with glibc: freeing a compiled model gives all free memory of the process back to the
# system, not only the model's own.
#
# One would guess that dropping a model of a few kilobytes frees those and touches nothing else. OpenVINO then has malloc
# trim the whole heap: free memory that the process had kept for itself, whoever used it, is gone and comes back page by
# page, zeroed by the kernel.
#
# Why it matters: a loop that trains, scores a pool with a model compiled from the new weights and trains again pays after
# every scoring for the gigabytes of a training step, which malloc had kept.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1
cd "$folder"
HOME=$folder venv/bin/python - <<'END'
import ctypes
import gc
import sys
from importlib.metadata import version

sys.modules["openvino_telemetry"] = None
import numpy as np
import openvino
from openvino import opset13 as opset

C = ctypes.CDLL(None)
C.malloc.restype, C.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
C.free.argtypes = [ctypes.c_void_p]
C.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
BLOCK, COUNT = 65_536, 4_000  # 262 MB below malloc's limit for mappings of their own


def resident() -> int:
    """Megabytes of this process in memory."""
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmRSS")]
    return int(line.split()[1]) // 1000


def keep_freed_memory() -> None:
    """Uses blocks and frees all but the last, so that malloc keeps them."""
    blocks = [C.malloc(BLOCK) for _ in range(COUNT)]
    for block in blocks:
        C.memset(block, 1, BLOCK)
    for block in blocks[:-1]:
        C.free(block)


def tiny_model() -> openvino.CompiledModel:
    pixels = opset.parameter([1, 3, 8, 8], np.float32)
    return openvino.Core().compile_model(openvino.Model([opset.relu(pixels)], [pixels]), "CPU")


model = tiny_model()
model(np.zeros((1, 3, 8, 8), np.float32))
keep_freed_memory()
gc.collect()
before = resident()
del model
gc.collect()
after = resident()
print("openvino", version("openvino"), f"in memory before and after a tiny model is freed: {before} and {after} MB")
if before - after < 200:
    sys.exit("changed: freeing a model leaves the rest of the heap alone")
END
