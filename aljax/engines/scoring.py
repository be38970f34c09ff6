"""Predictions by OpenVINO in place of XLA: on CPUs faster, above all in bfloat16; they differ by rounding."""

import sys
import warnings
from functools import cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from aljax.data.archive import Tiles
from aljax.errors import InputError, InputWarning
from aljax.networks.densenet import DenseNet
from aljax.networks.model import Model, Variables
from aljax.system.machine import usable_cores
from aljax.training.prediction import Compute, Predictions

Engine = Literal["xla", "openvino"]
Precision = Literal["float32", "bfloat16"]

HINTS = {"float32": "f32", "bfloat16": "bf16"}
FREED_AT_ONCE = 8
_held: list[Any] = []


def check_engine(engine: Engine, precision: Precision | None, on_features: bool) -> None:
    """Raises InputError for options that do not go together, and for an engine that is not installed."""
    if engine == "xla":
        if precision is not None:
            raise InputError("--engine-precision is for --engine openvino, and a run has its own for XLA: leave it out")
        return
    if on_features:
        raise InputError(f"--engine {engine} is for tiles, and a head on features takes no time: leave it out")
    _import_both()


def check_passes(engine: Engine, model: Model, precision: Precision | None) -> None:
    """Raises InputError if the engine cannot do the passes of a run: in one process, on a CPU, of aljax's DenseNet.

    Warns of another precision.
    """
    if engine == "xla":
        return
    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        found = f"{jax.device_count()} of {jax.default_backend()}"
        raise InputError(
            f"--engine {engine} computes on one CPU, and JAX has another device or several ({found}): leave it out"
        )
    if not isinstance(model.network, DenseNet):
        raise InputError(
            f"--engine {engine} knows the networks of aljax, and {type(model.network).__name__} is none: leave it out"
        )
    _precision_hint(_import_both()[0].Core(), model, precision)


def _import_both() -> tuple[Any, Any]:
    """The module openvino, and `to_onnx`. Raises InputError if they are not installed."""
    try:
        openvino = import_openvino()

        from aljax.engines.onnx_file import to_onnx
    except ImportError as error:
        raise InputError(f"--engine openvino needs more ({error}): pip install 'aljax[openvino]'") from error
    return openvino, to_onnx


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


def _precision_hint(core: Any, model: Model, precision: Precision | None) -> str:
    """The hint for a precision or (None) that of the network; warns where the processor has another."""
    hint = HINTS[precision or jnp.dtype(model.network.dtype).name]
    if hint == HINTS["bfloat16"] and not has_bfloat16(core):
        _warn_of_float32()
        return HINTS["float32"]
    return hint


@cache
def _warn_of_float32() -> None:
    """Once in a process: a run opens a network in each iteration."""
    message = "this processor has no instructions for bfloat16, which would be slower: float32 is computed"
    warnings.warn(InputWarning(message), stacklevel=4)


def open_engine(
    engine: Engine, model: Model, variables: Variables, tiles: Tiles, precision: Precision | None
) -> Compute | None:
    """What predicts batches of tiles such as these by an engine; None for XLA, which needs nothing."""
    return None if engine == "xla" else open_openvino(model, variables, tiles, precision)


def open_openvino(model: Model, variables: Variables, tiles: Tiles, precision: Precision | None) -> Compute:
    """What predicts batches of tiles such as these, in a precision or (None) that of the network.

    Opening a DenseNet121 takes 0.3 to 0.8 s of one core. Each core computes a part of a batch by itself, which takes
    0.7 to 0.9 of the CPU time of all cores on all of it. Where the processor has no instructions for bfloat16 it warns
    and computes in float32, which is faster there. Raises InputError if OpenVINO or onnx is not installed, or for
    networks that are not aljax's own.
    """
    openvino, to_onnx = _import_both()
    content, core = to_onnx(model, variables, tiles.statistics, tiles.images.shape[1], {}), openvino.Core()
    cores = usable_cores()
    parts = min(cores, tiles.at_once)
    hints = {
        "INFERENCE_PRECISION_HINT": _precision_hint(core, model, precision),
        "INFERENCE_NUM_THREADS": str(cores),
        "NUM_STREAMS": str(parts),
    }
    compiled = core.compile_model(core.read_model(content), "CPU", hints)
    _hold(compiled)
    requests = [compiled.create_infer_request() for _ in range(parts)]

    def predict_batch(images: Shaped[np.ndarray, "b h w bands"]) -> Predictions:
        pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
        running = list(zip(requests, np.array_split(pixels, min(parts, len(pixels))), strict=False))
        for request, part in running:
            request.start_async({0: part}, share_inputs=True)
        for request, _ in running:
            request.wait()
        probabilities, embeddings, *losses = (
            jnp.asarray(np.concatenate([request.get_output_tensor(index).data for request, _ in running]))
            for index in range(len(compiled.outputs))
        )
        return Predictions(probabilities, embeddings, losses[0] if losses else None)

    return predict_batch


def _hold(compiled: Any) -> None:
    """Keeps a network, of which 50 MB for a DenseNet121 stay when its working memory is released, until there are more.

    Whenever OpenVINO frees one it has malloc give all free memory back to the system, also the gigabytes that the next
    training step wants again. So a process frees several at once.
    """
    if len(_held) == FREED_AT_ONCE:
        _held.clear()
    for older in _held:
        older.release_memory()
    _held.append(compiled)
