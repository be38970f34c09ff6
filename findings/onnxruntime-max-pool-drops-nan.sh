#!/bin/sh
# ONNX Runtime 1.32.0, CPU: max pooling leaves NaN out, while ReLU and average pooling keep it.
#
# One would guess that the largest of some numbers and NaN is NaN, as NumPy and PyTorch have it. In ONNX Runtime it is the
# largest of the others, with one window over the whole map too. ReLU and averages of the same runtime give NaN.
#
# Why it matters: networks for images begin with a max pooling. A pixel without data that came as NaN, or a broken one, is
# gone after it, and its tile gets probabilities like any other.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.22.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'END'
import sys
from importlib.metadata import version

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

KINDS = {
    "Relu": {},
    "AveragePool": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "MaxPool": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "GlobalMaxPool": {},
}
pixels = np.ones((1, 3, 8, 8), np.float32)
pixels[0, 1, 2, 3] = np.nan
print("onnxruntime", version("onnxruntime"), "onnx", version("onnx"))
found = {}
for kind, attributes in KINDS.items():
    node = helper.make_node(kind, ["x"], ["y"], **attributes)
    before = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    after = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "one", [before], [after])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {"x": pixels})
    found[kind] = int(np.isnan(out).sum())
    print(f"{kind}: {found[kind]} NaN in the output")
if found != {"Relu": 1, "AveragePool": 1, "MaxPool": 0, "GlobalMaxPool": 0}:
    sys.exit("changed: ReLU, average and max pooling treat NaN alike")
END
