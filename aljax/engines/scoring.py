"""Predictions by OpenVINO in place of XLA: on CPUs faster, above all in bfloat16; they differ by rounding."""

import sys
import warnings
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from aljax.data.archive import Tiles
from aljax.errors import InputError, InputWarning
from aljax.networks.model import Model, Variables
from aljax.system.machine import usable_cores
from aljax.training.prediction import Compute, Predictions

Engine = Literal["xla", "openvino"]
Precision = Literal["float32", "bfloat16"]

HINTS = {"float32": "f32", "bfloat16": "bf16"}


def check_engine(engine: Engine, precision: Precision | None, on_features: bool) -> None:
    """Raises InputError for options that do not go together."""
    if engine == "xla" and precision is not None:
        raise InputError("--precision is for --engine openvino, and a run has its own for XLA: leave one out")
    if engine != "xla" and on_features:
        raise InputError(f"--engine {engine} is for tiles, and a head on features takes no time: leave it out")


def import_openvino() -> Any:
    """The module openvino without its telemetry: it would report its use to a server, from a process that it forks.

    JAX has threads, which a fork may leave locked. Raises ImportError if OpenVINO is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def has_bfloat16(core: Any) -> bool:
    """Whether the processor computes in bfloat16 itself, AMX or AVX512-BF16: then it is what OpenVINO takes unasked.

    Its list of capabilities has bfloat16 on all with AVX-512, which without these instructions is slower than float32.
    """
    return bool(core.get_property("CPU", "INFERENCE_PRECISION_HINT").get_type_name() == HINTS["bfloat16"])


def open_openvino(model: Model, variables: Variables, tiles: Tiles, precision: Precision | None) -> Compute:
    """What predicts batches of tiles such as these, in a precision or (None) that of the network.

    Where the processor has no instructions for bfloat16 it warns and computes in float32, which is faster there. Raises
    InputError if OpenVINO or onnx is not installed, or for networks that are not aljax's own.
    """
    try:
        openvino = import_openvino()

        from aljax.engines.onnx_file import to_onnx
    except ImportError as error:
        raise InputError(f"--engine openvino needs more ({error}): pip install 'aljax[openvino]'") from error
    content, core = to_onnx(model, variables, tiles.statistics, tiles.images.shape[1], {}), openvino.Core()
    precision = precision or jnp.dtype(model.network.dtype).name
    if precision == "bfloat16" and not has_bfloat16(core):
        message = "this processor has no instructions for bfloat16, which would be slower: float32 is computed"
        warnings.warn(InputWarning(message), stacklevel=2)
        precision = "float32"
    hints = {"INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": str(usable_cores())}
    compiled = core.compile_model(core.read_model(content), "CPU", hints)

    def predict_batch(images: Shaped[np.ndarray, "b h w bands"]) -> Predictions:
        found = compiled(np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32))
        probabilities, embeddings, *losses = (jnp.asarray(found[index]) for index in range(len(compiled.outputs)))
        return Predictions(probabilities, embeddings, losses[0] if losses else None)

    return predict_batch
