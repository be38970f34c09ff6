"""An ONNX graph as it grows: each call adds a node or a constant and returns the name of what it gives."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from aljax.version import __version__

# Of 2022, which every engine of today reads; nothing newer is needed.
OPSET, IR_VERSION = 17, 8
ROWS = "tiles"  # the free dimension

Shape = Sequence[int | str]


class Graph:
    """Nodes and constants, named by the layers that they are of."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def constant(self, name: str, values: np.ndarray) -> str:
        """A tensor that the file holds; floating point is stored as float32."""
        values = values.astype(np.float32) if values.dtype.kind == "f" else values
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def add(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        """A node of this kind with one output, which has its name."""
        self._nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def to_bytes(
        self, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape], about: Mapping[str, str], text: str
    ) -> bytes:
        """The file, checked, with metadata and a description; equal graphs give equal bytes."""
        given, made = (
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in each.items()]
            for each in (inputs, outputs)
        )
        graph = helper.make_graph(self._nodes, "aljax", given, made, list(self._constants.values()))
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="aljax",
            producer_version=__version__,
            doc_string=text,
        )
        helper.set_model_props(model, dict(about))
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString(deterministic=True)
        return content
