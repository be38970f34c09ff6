"""Compiler options by backend, products that XLA fuses, and reports of programs that take long to compile."""

import threading
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from aljax.training.recipe import Recipe, compiled_part
from aljax.training.steps import ON_GPU
from aljax.xla import compiling


def test_options_that_xla_does_not_know_are_left_out(monkeypatch) -> None:
    backend = jax.default_backend()
    try:
        for options, is_known in (({"xla_cpu_enable_fast_math": False}, True), ({"xla_of_another_day": False}, False)):
            monkeypatch.setattr(compiling, "OPTIONS", {backend: options})
            compiling.compiler_options.cache_clear()
            assert compiling.compiler_options() == (options if is_known else {})
    finally:
        compiling.compiler_options.cache_clear()


def test_training_takes_its_products_from_cublas_on_gpus_alone(monkeypatch) -> None:
    given = {}
    monkeypatch.setattr(jax, "jit", lambda function, **options: lambda: options)
    monkeypatch.setattr(compiling, "compiler_options", dict)
    for backend in ("cpu", "gpu", "tpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        given[backend] = compiling.jit(on_gpu=ON_GPU)(lambda: None)().get("compiler_options", {})
    assert given == {"cpu": {}, "gpu": {"xla_gpu_enable_triton_gemm": False}, "tpu": {}}


def test_recipes_that_differ_in_what_no_step_reads_share_their_programs() -> None:
    first = compiled_part(Recipe(epochs=3, batch_size=7, learning_rate=0.5, decay_at=0.1, cut_at=0.2, momentum=0.5))
    assert first == compiled_part(Recipe(momentum=0.5)) != compiled_part(Recipe())


def test_program_that_takes_long_to_compile_is_reported(monkeypatch) -> None:
    listeners, reported, called = [], [], threading.Event()
    monkeypatch.setattr(jax.monitoring, "register_event_duration_secs_listener", listeners.append)
    compiling.report_slow_compiling(lambda name: (reported.append(name), called.set()))
    (listen,) = listeners
    monkeypatch.setattr(compiling, "SECONDS_UNTIL_REPORT", 0.05)
    listen(compiling.LOWERED, 0.1, fun_name="train_on_batch")
    assert called.wait(60)
    listen(compiling.COMPILED, 60.0)
    monkeypatch.setattr(compiling, "SECONDS_UNTIL_REPORT", 60.0)
    listen(compiling.LOWERED, 0.1, fun_name="predict_batch")
    listen(compiling.COMPILED, 0.1)
    assert reported == ["train_on_batch"]
    assert not any(
        isinstance(thread, threading.Timer) and not thread.finished.is_set() for thread in threading.enumerate()
    )


def test_jax_records_what_says_that_a_program_is_compiled() -> None:
    events: dict[str, dict] = {}
    jax.monitoring.register_event_duration_secs_listener(lambda event, seconds, **about: events.update({event: about}))

    def some_function(x: jax.Array) -> jax.Array:
        return x + 1

    jax.jit(some_function)(jnp.zeros(3))
    assert "some_function" in events[compiling.LOWERED]["fun_name"]
    assert compiling.COMPILED in events


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="of the CPU backend")
def test_convolutions_are_left_to_xla_and_products_are_not() -> None:
    assert compiling.compiler_options()

    def convolve(images: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def in_library(function, *shapes: tuple[int, ...]) -> bool:
        arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        compiled = jax.jit(function, compiler_options=compiling.compiler_options()).lower(*arguments).compile()
        return "__ynn_fusion" in compiled.as_text()

    assert not in_library(convolve, (4, 32, 32, 64), (3, 3, 64, 32))
    assert in_library(jnp.matmul, (4096, 256), (256, 128))


@pytest.mark.parametrize(
    ("device", "flags", "joined"),
    [
        ({"compute_capability": "9.0"}, "", True),
        ({"compute_capability": "12.0"}, "--xla_gpu_autotune_level=4", True),
        ({"compute_capability": "9.0"}, f"--xla_dump_to=/tmp {compiling.DETERMINISTIC}", False),
        ({"compute_capability": "7.5"}, "", False),
        ({"compute_capability": "gfx942"}, "", False),
        ({}, "", False),
    ],
    ids=["H200", "Blackwell", "deterministic", "T4", "AMD", "CPU"],
)
def test_products_are_joined_where_xla_has_kernels_for_it(device, flags: str, joined: bool, monkeypatch) -> None:
    monkeypatch.setattr(jax, "local_devices", lambda: [SimpleNamespace(**device)])
    monkeypatch.setenv("XLA_FLAGS", flags)
    try:
        compiling.fuses_into_products.cache_clear()
        assert compiling.fuses_into_products() is joined
    finally:
        compiling.fuses_into_products.cache_clear()
