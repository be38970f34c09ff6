"""What XLA is told beside its defaults, what it can do with a device's products, and what a trace depends on."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from aljax.training.steps import train_on_batch, train_on_device
from aljax.xla import compiling, traces


def test_xla_that_does_not_know_an_option_is_told_nothing(monkeypatch) -> None:
    backend = jax.default_backend()
    try:
        for options, told in (({"xla_cpu_enable_fast_math": False}, True), ({"xla_of_another_day": False}, False)):
            monkeypatch.setattr(compiling, "OPTIONS", {backend: options})
            compiling.compiler_options.cache_clear()
            assert compiling.compiler_options() == (options if told else {})
    finally:
        compiling.compiler_options.cache_clear()


def test_training_takes_its_products_from_cublas_on_gpus_alone(monkeypatch) -> None:
    programs = train_on_batch, train_on_device
    words = ("xla_gpu_enable_triton_gemm", False)
    for backend in ("cpu", "gpu", "tpu"):
        with monkeypatch.context() as patched:
            patched.setattr(jax, "default_backend", lambda backend=backend: backend)
            # This XLA is asked whether it knows the words, whatever it compiles for.
            told = [program.told() for program in programs]
        assert all((words in one.items()) is (backend == "gpu") for one in told)


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
        compiling.joins_products.cache_clear()
        assert compiling.joins_products() is joined
    finally:
        compiling.joins_products.cache_clear()


def test_link_that_an_editor_leaves_among_the_sources_is_none_of_them(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(traces, "__file__", str(tmp_path / "traces.py"))
    (tmp_path / "traces.py").write_text("source")
    before = traces._origin.__wrapped__()
    (tmp_path / ".#traces.py").symlink_to("somebody@somewhere.1234")
    assert traces._origin.__wrapped__() == before
    (tmp_path / "other.py").write_text("source")
    assert traces._origin.__wrapped__() != before
