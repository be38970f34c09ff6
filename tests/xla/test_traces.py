"""Traces that outlive their process: the same program, found again, and never one of something else."""

import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax.networks.model import init_variables
from aljax.xla import compiling, jitted, traces
from aljax.xla.jitted import Program
from aljax.xla.programs import mend, programs_dir


class Sums(NamedTuple):
    """A kind of result that no argument has."""

    total: jax.Array
    parts: dict[str, jax.Array]


class Pair(NamedTuple):
    """A kind of argument."""

    first: jax.Array
    second: jax.Array


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where traces are kept during a test."""
    before = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path / "traces"
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def calls() -> list[str]:
    """One entry for each time that Python ran the function."""
    return []


@pytest.fixture
def summing(calls: list[str]):
    """Makes the program anew, as another process does."""

    def make() -> Program:
        def add(scale: float, pair: Pair, key: jax.Array) -> Sums:
            calls.append("traced")
            noise = jax.random.normal(key, pair.first.shape)
            parts = {"noise": noise + pair.first, "product": pair.first @ pair.second}
            return Sums(scale * parts["product"].sum(), parts)

        return Program(add, static=("scale",), donated=("pair",), results=(Sums,))

    return make


def pair(size: int = 4, kind: type = np.float32) -> Pair:
    rng = np.random.default_rng(size)
    return Pair(*(jnp.asarray(rng.normal(size=(size, size)), kind) for _ in range(2)))


def same(first: object, second: object) -> bool:
    return jax.tree.all(jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), first, second))


def test_another_process_finds_the_trace_and_computes_the_same(folder, calls, summing) -> None:
    key = jax.random.key(3)
    plain = jax.jit(summing()._function, static_argnames="scale")(2.0, pair(), key)
    calls.clear()
    first = summing()(2.0, pair(), key)
    assert calls == ["traced"]
    (path,) = folder.iterdir()
    before = path.read_bytes()
    second = summing()(2.0, pair(), key=key)
    assert calls == ["traced"]
    assert isinstance(second, Sums)
    assert same(first, plain)
    assert same(second, first)
    assert path.read_bytes() == before


def test_program_is_loaded_once_and_takes_the_memory_of_what_it_is_given(folder, calls, summing) -> None:
    program = summing()
    given = [pair() for _ in range(3)]
    for one in given:
        program(2.0, one, jax.random.key(0))
    assert calls == ["traced"]
    assert program._cache_size() == 1
    assert all(one.first.is_deleted() for one in given)


def test_program_finds_what_it_has_loaded_for_each_of_its_calls(folder, calls, summing) -> None:
    program, key, sizes = summing(), jax.random.key(0), (4, 5, 5, 4, 4)
    results = [program(2.0, pair(size), key) for size in sizes]
    results += [program(3.0, pair(), key), program(2.0, pair(kind=jnp.bfloat16), key), program(2.0, pair(), key)]
    inside = jax.jit(lambda given: program(2.0, given, key))(pair())
    assert program._cache_size() == len(list(folder.iterdir())) == 4
    assert calls == ["traced"] * 5  # the last inside another
    alone = [summing()(2.0, pair(size), key) for size in sizes]
    other = [summing()(3.0, pair(), key), summing()(2.0, pair(kind=jnp.bfloat16), key)]
    assert all(map(same, results, [*alone, *other, alone[0]]))
    assert same(inside, alone[0])


@pytest.mark.parametrize("kept", [True, False])
def test_compiled_program_is_what_a_call_runs(kept, folder, calls, summing) -> None:
    if not kept:
        jax.config.update("jax_compilation_cache_dir", None)
    program, key = summing(), jax.random.key(0)
    result = program(2.0, pair(), key)
    compiled = program.compiled(2.0, pair(), key)
    assert same(compiled(pair(), key), result)
    assert "dot" in compiled.as_text()
    assert calls == ["traced"]


def test_arrays_may_come_from_anywhere(folder, calls, summing) -> None:
    program, device = summing(), jax.devices()[0]
    mesh = jax.sharding.NamedSharding(jax.make_mesh((1,), ("batch",)), jax.sharding.PartitionSpec())
    placed = [pair(), jax.device_put(pair(), device), jax.device_put(pair(), mesh), Pair(*map(np.asarray, pair()))]
    results = [program(2.0, one, jax.random.key(0)) for one in placed]
    assert all(same(result, results[0]) for result in results)
    assert program._cache_size() == 1


def test_whatever_changes_a_trace_gives_another(folder, calls, summing, monkeypatch) -> None:
    key = jax.random.key(0)
    summing()(2.0, pair(), key)
    summing()(3.0, pair(), key)
    summing()(2.0, pair(5), key)
    summing()(2.0, pair(kind=jnp.bfloat16), key)
    with jax.default_matmul_precision("highest"):
        summing()(2.0, pair(), key)
    with monkeypatch.context() as patch:
        patch.setattr(traces, "_origin", lambda: ("other sources",))
        summing()(2.0, pair(), key)
    monkeypatch.setattr(traces, "joins_products", lambda: True)  # another kind of GPU, or other flags
    summing()(2.0, pair(), key)
    assert len(calls) == len(list(folder.iterdir())) == 7


def test_in_a_bucket_no_traces_are_kept(folder, calls, summing, monkeypatch) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "gs://bucket/programs")
    assert programs_dir() == "gs://bucket/programs"
    jax.config.update("jax_compilation_cache_dir", programs_dir())
    assert not jitted._are_kept()
    assert not mend("Error reading persistent compilation cache entry for 'jit_f'")


@pytest.mark.parametrize("damage", ["bit", "cut", "empty"])
def test_damaged_trace_is_made_again(damage: str, folder, calls, summing) -> None:
    first = summing()(2.0, pair(), jax.random.key(0))
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes({"bit": bytes(flipped), "cut": whole[:-7], "empty": b""}[damage])
    assert same(summing()(2.0, pair(), jax.random.key(0)), first)
    assert len(calls) == 2
    summing()(2.0, pair(), jax.random.key(0))
    assert len(calls) == 2


def test_folder_that_cannot_be_written_stops_nothing(folder, calls, summing) -> None:
    folder.write_text("not a folder")
    for _ in range(2):
        summing()(2.0, pair(), jax.random.key(0))
    assert len(calls) == 2


def test_inside_another_trace_and_without_a_cache_it_is_plain_jit(tmp_path, folder, calls, summing) -> None:
    program = summing()
    shapes = jax.eval_shape(lambda given: program(2.0, given, jax.random.key(0)), pair())
    assert shapes.total.shape == ()
    assert not folder.exists()
    jax.config.update("jax_enable_compilation_cache", False)
    program(2.0, pair(), jax.random.key(0))
    jax.config.update("jax_enable_compilation_cache", True)
    assert not folder.exists()
    jax.config.update("jax_compilation_cache_dir", None)
    for _ in range(2):
        program(2.0, pair(), jax.random.key(0))
    assert not folder.exists()
    assert not program._loaded
    assert program._cache_size() == 1


def test_function_that_cannot_be_kept_runs_all_the_same(folder) -> None:
    def shifted(values: jax.Array) -> jax.Array:
        return jax.pure_callback(lambda found: found + 1, values, values)

    np.testing.assert_array_equal(Program(shifted)(jnp.arange(3.0)), [1.0, 2.0, 3.0])


def test_error_of_the_function_is_its_own(folder) -> None:
    def wrong(values: jax.Array) -> jax.Array:
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        Program(wrong)(jnp.arange(3.0))


def test_variables_of_a_model_are_the_same_with_and_without_a_kept_trace(folder, model) -> None:
    plain = init_variables._jitted(jax.random.key(0), model, 32, 3)
    for _ in range(2):
        init_variables.clear_cache()
        assert same(init_variables(jax.random.key(0), model, 32, 3), plain)
    (path,) = folder.iterdir()
    assert path.name.startswith("init_variables-")


@pytest.fixture
def everything_kept() -> Iterator[None]:
    """JAX keeps programs, however quickly they compile."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, 0.0)
    yield
    jax.config.update(name, before)


def test_large_program_is_compiled_by_another_process(folder, everything_kept, model, monkeypatch) -> None:
    def programs() -> set[str]:
        return {path.name for path in folder.parent.glob("jit_call-*-cache")}

    kept: list[set[str]] = []
    run = subprocess.run

    def run_and_look(*args, **kwargs):
        assert not programs()
        assert run(*args, **kwargs).returncode == 0
        kept.append(programs())

    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setattr(subprocess, "run", run_and_look)
    monkeypatch.setattr(traces, "_LARGE", 1)
    init_variables.clear_cache()
    plain = init_variables._jitted(jax.random.key(0), model, 32, 3)
    assert same(init_variables(jax.random.key(0), model, 32, 3), plain)
    (by_the_other,) = kept
    assert len(by_the_other) == 1
    assert programs() == by_the_other  # this process has found it and compiled none


def test_program_that_another_process_cannot_compile_is_compiled_here(folder, calls, summing, monkeypatch) -> None:
    monkeypatch.setattr(traces, "_LARGE", 0)
    first = summing()(2.0, pair(), jax.random.key(0))  # Pair is of a module that only the tests find
    monkeypatch.setattr(traces, "_LARGE", 1 << 30)
    assert same(summing()(2.0, pair(), jax.random.key(0)), first)
    assert calls == ["traced"]


@dataclass(frozen=True)
class Users:
    """Its code is in no file that a trace is known by."""

    factor: float


@dataclass(frozen=True)
class Around:
    inner: Users


@pytest.mark.parametrize("how", [Users(2.0), (Around(Users(2.0)),)])
def test_trace_of_somebody_elses_code_is_not_kept(folder, how) -> None:
    def scaled(how: object, array: jax.Array) -> jax.Array:
        return 2.0 * array

    assert jitted.program(static=("how",))(scaled)(how, np.ones(3, np.float32)).tolist() == [2.0] * 3
    assert not list(folder.rglob("scaled-*"))
    assert jitted.program(static=("how",))(scaled)("word", np.ones(3, np.float32)).tolist() == [2.0] * 3
    assert list(folder.rglob("scaled-*"))


def test_somebody_is_told_of_a_program_that_takes_long_to_compile(folder, summing, monkeypatch) -> None:
    told: list[str] = []
    heard = threading.Event()
    monkeypatch.setattr(compiling, "_listeners", [])
    compiling.tell_of_compiling(lambda name: (told.append(name), heard.set()))
    summing()(2.0, pair(), jax.random.key(0))
    assert told == []

    load = Program._load
    monkeypatch.setattr(Program, "_load", lambda *given: heard.wait(60) and load(*given))
    monkeypatch.setattr(compiling, "SECONDS_UNTIL_TOLD", 0.0)
    again = summing()
    for _ in range(2):
        again(2.0, pair(), jax.random.key(0))
    assert told == ["add"]
