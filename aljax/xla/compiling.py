"""Compiling: what XLA is told beside its defaults, and who is told that it takes long."""

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import jax

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
_listeners: list[Callable[[str], None]] = []


def configured(name: str) -> Any:
    """A setting of JAX, also one that its types do not know."""
    return getattr(jax.config, name)


def tell_of_compiling(listener: Callable[[str], None]) -> None:
    """Has the listener told the name of each program that takes long to compile, in another thread."""
    _listeners[:] = [listener]


@contextmanager
def telling(name: str) -> Iterator[None]:
    """Within it the program of this name is compiled."""
    timer = threading.Timer(SECONDS_UNTIL_TOLD, lambda: [listener(name) for listener in _listeners])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@functools.cache
def joins_products() -> bool:
    """Whether XLA makes what surrounds a product a part of it.

    It does in kernels of its own, on NVIDIA's GPUs since Ampere, if it may time them; otherwise it takes cuBLAS's.
    """
    if DETERMINISTIC in os.environ.get("XLA_FLAGS", ""):
        return False
    capability = getattr(jax.local_devices()[0], "compute_capability", "")
    with suppress(ValueError):  # AMD's are no numbers
        return float(capability) >= 8.0
    return False


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
