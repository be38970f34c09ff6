"""`jax.jit` with this project's compiler options, and reports of programs that take long to compile."""

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

# Compiler options by backend. On CPUs YNNPACK runs products and sums faster than XLA's own kernels, but convolutions
# slower, so this is the default list without convolutions. On GPUs the autotuner would build and time two versions of
# each of the step's many hundred fusions, a good part of the compilation; the second version wins for one in 25.
OPTIONS: dict[str, dict[str, Any]] = {
    "cpu": {
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE",
    },
    "gpu": {"xla_gpu_experimental_enable_fusion_autotuner": False},
}

# A flag in XLA_FLAGS: no GPU kernels that add in any order, and no choice of kernels by timing.
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"

# A program that compiles for longer is reported.
SECONDS_UNTIL_REPORT = 5.0
# Events that JAX records when a program is lowered, just before XLA compiles it, and when XLA is done.
LOWERED, COMPILED = "/jax/core/compile/jaxpr_to_mlir_module_duration", "/jax/core/compile/backend_compile_duration"


def jit(
    static: tuple[str, ...] = (), donated: tuple[str, ...] = (), on_gpu: tuple[tuple[str, Any], ...] = ()
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """`jax.jit` with `compiler_options` and results replicated on all devices. Not for use inside another jit.

    Both depend on the backend, so `jax.jit` is called at the first call: importing a module must not start a backend.
    `on_gpu` are further options for GPUs.
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
    """`OPTIONS` of this backend and `more`; none at all if this version of XLA does not know one of them."""
    options = {**OPTIONS.get(jax.default_backend(), {}), **dict(more)}
    try:
        if options:
            jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def report_slow_compiling(report: Callable[[str], None]) -> None:
    """Calls `report`, in another thread, with the name of each program that takes long to compile."""
    compiling: dict[int, threading.Timer] = {}

    def listen(event: str, duration_secs: float, **about: str | int) -> None:
        if event == LOWERED:
            timer = threading.Timer(SECONDS_UNTIL_REPORT, report, (str(about.get("fun_name", "a program")),))
            timer.daemon = True
            timer.start()
            compiling[threading.get_ident()] = timer
        elif event == COMPILED and threading.get_ident() in compiling:
            compiling.pop(threading.get_ident()).cancel()

    jax.monitoring.register_event_duration_secs_listener(listen)


@functools.cache
def fuses_into_products() -> bool:
    """Whether XLA fuses the operations around a matrix product into it.

    It does so in its own kernels, on NVIDIA GPUs since Ampere (compute capability 8.0), if it may choose kernels by
    timing; otherwise it calls cuBLAS.
    """
    if DETERMINISTIC in os.environ.get("XLA_FLAGS", ""):
        return False
    capability = getattr(jax.local_devices()[0], "compute_capability", "")
    with suppress(ValueError):  # those of AMD are no numbers
        return float(capability) >= 8.0
    return False
