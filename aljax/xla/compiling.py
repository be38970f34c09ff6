"""Compiling: what XLA is told beside its defaults, and who is told that it takes long."""

import functools
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

import jax

from aljax.xla.devices import on_each_device

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# What XLA is told beside its defaults, by backend. On CPUs YNNPACK runs products and sums faster than XLA's own kernels
# and convolutions slower; left out of the default list are the convolutions. On GPUs XLA builds each of the step's many
# hundred fusions in two ways, a good part of compiling, and times both; the second wins for one in 25.
OPTIONS: dict[str, dict[str, Any]] = {
    "cpu": {
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE",
    },
    "gpu": {"xla_gpu_experimental_enable_fusion_autotuner": False},
}

# Of XLA_FLAGS: excludes kernels of a GPU that add in any order, and the choice of kernels by timing them.
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"

# After how long somebody is told that a program is still being compiled.
SECONDS_UNTIL_TOLD = 5.0
# What JAX records when it hands a program to XLA, and when XLA is done.
LOWERED, COMPILED = "/jax/core/compile/jaxpr_to_mlir_module_duration", "/jax/core/compile/backend_compile_duration"


def jit(
    static: tuple[str, ...] = (), donated: tuple[str, ...] = (), on_gpu: tuple[tuple[str, Any], ...] = ()
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """`jax.jit` with `compiler_options`, and results that come whole on each device. Not for use inside of jit.

    Both hang on the backend, which JAX looks up at the first call and not when a module is imported.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @functools.cache
        def jitted() -> Any:
            options = compiler_options(on_gpu if jax.default_backend() == "gpu" else ())
            more: dict[str, Any] = {"compiler_options": options} if options else {}
            if (sharding := on_each_device()) is not None:
                more["out_shardings"] = sharding
            return jax.jit(function, static_argnames=static, donate_argnames=donated, **more)

        @functools.wraps(function)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            result: Result = jitted()(*args, **kwargs)
            return result

        call.jitted = jitted  # type: ignore[attr-defined]
        return call

    return decorate


@functools.cache
def compiler_options(more: tuple[tuple[str, Any], ...] = ()) -> dict[str, Any]:
    """What this backend's XLA is told, with some more; nothing if this version of it does not know the words."""
    options = {**OPTIONS.get(jax.default_backend(), {}), **dict(more)}
    try:
        if options:
            jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def report_slow_compiling(report: Callable[[str], None]) -> None:
    """Has `report` called, in another thread, with the name of each program that takes long to compile."""
    compiling: dict[int, threading.Timer] = {}

    def listen(event: str, duration_secs: float, **about: str | int) -> None:
        if event == LOWERED:
            timer = threading.Timer(SECONDS_UNTIL_TOLD, report, (str(about.get("fun_name", "a program")),))
            timer.daemon = True
            timer.start()
            compiling[threading.get_ident()] = timer
        elif event == COMPILED and threading.get_ident() in compiling:
            compiling.pop(threading.get_ident()).cancel()

    jax.monitoring.register_event_duration_secs_listener(listen)


@functools.cache
def fuses_into_products() -> bool:
    """Whether XLA makes what surrounds a product a part of it.

    It does in kernels of its own, on NVIDIA's GPUs since Ampere, if it may time them; otherwise it takes cuBLAS's.
    """
    if DETERMINISTIC in os.environ.get("XLA_FLAGS", ""):
        return False
    capability = getattr(jax.local_devices()[0], "compute_capability", "")
    with suppress(ValueError):  # AMD's are no numbers
        return float(capability) >= 8.0
    return False
