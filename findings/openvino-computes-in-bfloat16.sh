#!/bin/sh
# OpenVINO 2026.4.1, CPU: whether a float32 model is computed in float32 depends on the processor.
#
# One would guess that a model whose weights, inputs and outputs are float32 is computed in float32 unless one asks for
# less. On a processor that has instructions for bfloat16 it is computed in bfloat16: inputs and outputs stay float32 and
# nothing is said. Asked for float32 (INFERENCE_PRECISION_HINT), the same model differs from the third digit on.
#
# Why it matters: the same file and tile give other probabilities on two machines, tiles near a threshold change sides,
# and scores that compare two iterations compare roundings.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 numpy==2.4.6
cd "$folder"
HOME=$folder venv/bin/python - <<'END'
import sys
from importlib.metadata import version

sys.modules["openvino_telemetry"] = None
import numpy as np
import openvino
from openvino import opset13 as opset

rng = np.random.default_rng(0)
pixels = opset.parameter([1, 8, 32, 32], np.float32)
kernel = rng.normal(size=(16, 8, 3, 3)).astype(np.float32)
maps = opset.convolution(pixels, opset.constant(kernel), [1, 1], [0, 0], [0, 0], [1, 1])
model = openvino.Model([maps], [pixels])
tile = rng.normal(size=(1, 8, 32, 32)).astype(np.float32)
core = openvino.Core()
can = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def run(**hints: str) -> tuple[str, np.ndarray]:
    compiled = core.compile_model(model, "CPU", hints)
    return compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(), compiled(tile)[0]


name, out = run()
_, exact = run(INFERENCE_PRECISION_HINT="f32")
error = float(np.abs(out - exact).max() / np.abs(exact).max())
print("openvino", version("openvino"), f"a processor {'with' if can else 'without'} bfloat16: {name} without being asked,")
print(f"output {out.dtype}, largest difference from float32 {error:.1e} of the largest value")
if can != (name == "bf16") or can != (error > 1e-4):
    sys.exit("changed: the precision does not follow the processor")
END
