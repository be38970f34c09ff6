"""Jitted functions whose traces are kept between processes, beside what XLA compiled of them.

JAX keeps what XLA compiled, but finds it by the traced program, and Python traces a network of 121 layers for longer
than the compiled one takes to load. So the traces are kept too, in the form of `jax.export`, under a name that the
sources, the versions, the settings and the shapes give. From its trace a large program is compiled by another process:
compiling leaves the heap so full of holes that every step after it would take a quarter longer on two CPU cores.
"""

import functools
import hashlib
import importlib
import inspect
import math
import os
import subprocess
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

import jax
from jax import export

from aljax.compiling import compiler_options, telling
from aljax.files import remove_leftovers, write_atomically

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# What the same function can be traced to differently in one version of JAX.
_TRACED_UNDER = (
    *("jax_default_matmul_precision", "jax_default_prng_impl", "jax_enable_x64", "jax_numpy_dtype_promotion"),
    "jax_threefry_partitionable",
)
_LIBRARIES = ("jax", "jaxlib", "flax", "optax")
_DIGEST_BYTES = hashlib.sha256().digest_size
# Bytes of a program's arguments from which on it is large: those of DenseNet121's steps and predictions are, not those
# of the quickstart's network.
_LARGE = 1 << 24


class Signature(NamedTuple):
    """What a program is traced for."""

    static: tuple[tuple[str, Hashable], ...]
    tree: Hashable
    """Structure of the other arguments."""
    leaves: tuple[tuple[tuple[int, ...], Any], ...]
    """Shape and type of each array in them."""
    traced_under: tuple[str, ...]


class Call(NamedTuple):
    """A call's arguments."""

    signature: Signature
    static: Mapping[str, Any]
    dynamic: tuple[Any, ...]
    """Trees of arrays."""


class Program(Generic[Parameters, Result]):
    """A jitted function whose traces are kept where JAX keeps what it compiled, on one device.

    Elsewhere it is what `jax.jit` gives with the same options for XLA, inside another traced function without them.
    """

    def __init__(
        self,
        function: Callable[Parameters, Result],
        static: tuple[str, ...] = (),
        donated: tuple[str, ...] = (),
        results: tuple[type, ...] = (),
        on_gpu: tuple[tuple[str, Any], ...] = (),
    ) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._static = static
        self._donated = donated
        self._results = results
        self._on_gpu = on_gpu
        self._names = tuple(inspect.signature(function).parameters)
        self._dynamic = tuple(name for name in self._names if name not in static)
        self._jit = functools.partial(jax.jit, function, static_argnames=static, donate_argnames=donated)
        self._jitted: Any = self._jit()
        self._loaded: dict[Signature, Callable[..., Any]] = {}
        self.lower = self._jitted.lower

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        call = self._describe(args, kwargs) if _are_kept() else None
        if call is None:
            told = self._jitted_as_told
            inside = told is not self._jitted and _any_is_traced(jax.tree.leaves((args, kwargs)))
            return (self._jitted if inside else told)(*args, **kwargs)
        result: Result = self._loaded_for(call)(*call.dynamic)
        return result

    def compiled(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Any:
        """What a call with these arguments runs, as `jax.stages.Compiled`; it takes those that are arrays, in order."""
        call = self._describe(args, kwargs) if _are_kept() else None
        return self.lower(*args, **kwargs).compile(self.told()) if call is None else self._loaded_for(call)

    def _loaded_for(self, call: Call) -> Callable[..., Any]:
        if call.signature not in self._loaded:
            with telling(self._function.__name__):
                self._loaded[call.signature] = self._load(call)
        return self._loaded[call.signature]

    @functools.cached_property
    def _jitted_as_told(self) -> Any:
        """Not for use inside another traced function, whose own options count."""
        options = self.told()
        return self._jit(compiler_options=options) if options else self._jitted

    def told(self) -> dict[str, Any]:
        """What XLA is told for this program on this backend."""
        return compiler_options(self._on_gpu if jax.default_backend() == "gpu" else ())

    def _cache_size(self) -> int:
        """Number of programs so far, as of a function that `jax.jit` gave."""
        plain = {self._jitted, self._jitted_as_told}
        return sum(int(one._cache_size()) for one in plain) + len(self._loaded)

    def _describe(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call | None:
        """The call, or None inside another traced function."""
        arguments = {**dict(zip(self._names, args, strict=False)), **kwargs}
        static = {name: arguments[name] for name in self._static}
        dynamic = tuple(arguments[name] for name in self._dynamic)
        leaves, tree = jax.tree.flatten(dynamic)
        if _any_is_traced(leaves):
            return None
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        under = tuple(str(_configured(name)) for name in _TRACED_UNDER)
        return Call(Signature(tuple(static.items()), tree, shapes, under), static, dynamic)

    def _load(self, call: Call) -> Callable[..., Any]:
        """The compiled program, from its trace in a file or after tracing it."""

        def traced(*arrays: Any) -> Any:
            return self._function(**call.static, **dict(zip(self._dynamic, arrays, strict=True)))  # type: ignore[call-arg]

        traced.__name__ = self._function.__name__
        donated = tuple(self._dynamic.index(name) for name in self._donated)
        plain = jax.jit(traced, donate_argnums=donated, compiler_options=self.told())
        if not all(map(_is_own, call.static.values())):
            return plain
        kinds = (*_named_tuples(call.dynamic), *self._results)
        for kind in kinds:
            _register(kind)
        path = self._path(call)
        exported = _read(path)
        if exported is None:
            try:
                exported = export.export(jax.jit(traced))(*call.dynamic)
                blob = bytes(exported.serialize())
            except (ValueError, NotImplementedError):
                # There are operations that only the process that traced them can run.
                return plain
            size = sum(math.prod(one.shape) * one.dtype.itemsize for one in exported.in_avals)
            large = size >= _LARGE and jax.default_backend() == "cpu"
            if _write(path, blob) and large and sys.executable:
                _compile_elsewhere(path, donated, kinds)
        return _compile(exported, donated, self.told())

    def _path(self, call: Call) -> Path:
        name = f"{self._function.__module__}.{self._function.__qualname__}"
        signature = call.signature._replace(tree=str(call.signature.tree))
        digest = hashlib.sha256(repr((name, *signature, *_origin(), jax.default_backend())).encode()).hexdigest()
        return Path(_configured("jax_compilation_cache_dir")) / "traces" / f"{self._function.__name__}-{digest[:32]}"


def program(
    static: tuple[str, ...] = (),
    donated: tuple[str, ...] = (),
    results: tuple[type, ...] = (),
    on_gpu: tuple[tuple[str, Any], ...] = (),
) -> Callable[[Callable[Parameters, Result]], Program[Parameters, Result]]:
    """Makes a function a `Program`.

    `results` are the named tuples of its result that its arguments do not have, `on_gpu` what XLA is told for it there.
    """
    return lambda function: Program(function, static, donated, results, on_gpu)


def _are_kept() -> bool:
    """Whether JAX keeps compiled programs, and traces are those of one device with nothing to debug."""
    debugged = _configured("jax_debug_nans") or _configured("jax_disable_jit")
    kept = _configured("jax_enable_compilation_cache") and _configured("jax_compilation_cache_dir")
    return bool(kept) and jax.device_count() == 1 and not debugged


def _any_is_traced(leaves: Iterable[Any]) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)


def _is_own(value: Hashable) -> bool:
    """Whether the value's code is among the sources that a trace is known by. That of a user's network is not."""
    if isinstance(value, tuple):
        return all(map(_is_own, value))
    if not is_dataclass(value):
        return True
    own = type(value).__module__.partition(".")[0] == __package__
    return own and all(_is_own(getattr(value, field.name)) for field in fields(value))


def _configured(name: str) -> Any:
    return getattr(jax.config, name)


@functools.cache
def _origin() -> tuple[str, ...]:
    """What the traces of this process are made by: sources and versions."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest(), sys.version, *(f"{name} {version(name)}" for name in _LIBRARIES)


_origin()  # now: until the first program is wanted, minutes later, a source may have changed


def _read(path: Path) -> export.Exported | None:
    """A trace, if it is there and whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, blob = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(blob).digest() != digest:
        return None
    return export.deserialize(bytearray(blob))


def _write(path: Path, blob: bytes) -> bool:
    """Keeps a trace, and says whether that was possible: without it the next process traces again."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        write_atomically(path, hashlib.sha256(blob).digest() + blob)
        return True
    return False


def _compile(exported: export.Exported, donated: tuple[int, ...], options: Mapping[str, Any]) -> Callable[..., Any]:
    """The compiled program, which JAX keeps."""
    shapes = [jax.ShapeDtypeStruct(one.shape, one.dtype) for one in exported.in_avals]
    arguments, _ = jax.tree.unflatten(exported.in_tree, shapes)
    jitted = jax.jit(exported.call, donate_argnums=donated, compiler_options=dict(options))
    return jitted.lower(*arguments).compile()


def _compile_elsewhere(path: Path, donated: tuple[int, ...], kinds: Iterable[type]) -> None:
    """Has another process compile the program of a trace. Where that fails, this one will."""
    names = [f"{kind.__module__}:{kind.__qualname__}" for kind in kinds]
    script = f"from aljax.traces import compile_kept; compile_kept({str(path)!r}, {donated!r}, {names!r})"
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(_configured("jax_compilation_cache_dir")),
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")))),
    }
    with suppress(OSError):
        subprocess.run([sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL, check=False)


def compile_kept(path: str, donated: tuple[int, ...], kinds: Iterable[str]) -> None:
    """Compiles the program of a trace in a file, for other processes; `kinds` are the named tuples in it."""
    for kind in kinds:
        module, _, name = kind.partition(":")
        _register(getattr(importlib.import_module(module), name))
    exported = _read(Path(path))
    if exported is not None:
        _compile(exported, donated, compiler_options())


def _named_tuples(tree: Any) -> set[type]:
    """The kinds of named tuples in a tree of arguments."""
    if isinstance(tree, Mapping):
        return set().union(*map(_named_tuples, tree.values()))
    if not isinstance(tree, tuple | list):
        return set()
    own = {type(tree)} if hasattr(tree, "_fields") else set()
    return own.union(*map(_named_tuples, tree))


@functools.cache
def _register(kind: type) -> None:
    """Tells JAX how to write a kind of named tuple into a file."""
    export.register_namedtuple_serialization(kind, serialized_name=f"{kind.__module__}.{kind.__qualname__}")
