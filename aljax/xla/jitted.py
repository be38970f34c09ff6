"""Jitted functions whose traces are kept between processes (`aljax.xla.traces`)."""

import functools
import inspect
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

import jax

from aljax.xla.compiling import compiler_options, configured, telling
from aljax.xla.traces import load

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# What the same function can be traced to differently in one version of JAX.
_TRACED_UNDER = (
    *("jax_default_matmul_precision", "jax_default_prng_impl", "jax_enable_x64", "jax_numpy_dtype_promotion"),
    "jax_threefry_partitionable",
)


class Signature(NamedTuple):
    """What a program is traced for."""

    static: tuple[tuple[str, Hashable], ...]
    tree: Hashable
    """Structure of the other arguments."""
    leaves: tuple[tuple[tuple[int, ...], Any], ...]
    """Shape and type of each array in them."""
    traced_under: tuple[str, ...]


class Call(NamedTuple):
    """What a program is called with, and under what."""

    static: tuple[tuple[str, Hashable], ...]
    dynamic: tuple[Any, ...]
    """Trees of arrays."""
    traced_under: tuple[str, ...]

    @property
    def known_by(self) -> Hashable:
        """What can be told of it without looking at the arrays."""
        return self.static, self.traced_under

    def signature(self) -> Signature | None:
        """What the program for it is traced for, or None inside another traced function."""
        leaves, tree = jax.tree.flatten(self.dynamic)
        if _any_is_traced(leaves):
            return None
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        return Signature(self.static, tree, shapes, self.traced_under)


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
        self._latest: dict[Hashable, jax.stages.Compiled] = {}
        self.lower = self._jitted.lower

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        if _are_kept():
            call = self._call(args, kwargs)
            latest = self._latest.get(call.known_by)
            if latest is not None:
                # It refuses what it is not for, and is done before the signature of a network's arguments is known.
                with suppress(TypeError):
                    result: Result = latest(*call.dynamic)
                    return result
            loaded = self._loaded_for(call)
            if loaded is not None:
                result = loaded(*call.dynamic)
                return result
        told = self._jitted_as_told
        inside = told is not self._jitted and _any_is_traced(jax.tree.leaves((args, kwargs)))
        return (self._jitted if inside else told)(*args, **kwargs)

    def compiled(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Any:
        """What a call with these arguments runs, as `jax.stages.Compiled`; it takes those that are arrays, in order."""
        loaded = self._loaded_for(self._call(args, kwargs)) if _are_kept() else None
        return self.lower(*args, **kwargs).compile(self.told()) if loaded is None else loaded

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        arguments = {**dict(zip(self._names, args, strict=False)), **kwargs}
        static = tuple((name, arguments[name]) for name in self._static)
        under = tuple(str(configured(name)) for name in _TRACED_UNDER)
        return Call(static, tuple(arguments[name] for name in self._dynamic), under)

    def _loaded_for(self, call: Call) -> Callable[..., Any] | None:
        """The program for the call, or None inside another traced function."""
        signature = call.signature()
        if signature is None:
            return None
        if signature not in self._loaded:
            with telling(self._function.__name__):
                self._loaded[signature] = self._load(call, signature)
        loaded = self._loaded[signature]
        if isinstance(loaded, jax.stages.Compiled):
            self._latest[call.known_by] = loaded
        return loaded

    @functools.cached_property
    def _jitted_as_told(self) -> Any:
        """Not for use inside another traced function, whose own options count."""
        options = self.told()
        return self._jit(compiler_options=options) if options else self._jitted

    def told(self) -> dict[str, Any]:
        """What XLA is told for this program on this backend."""
        return compiler_options(self._on_gpu if jax.default_backend() == "gpu" else ())

    def clear_cache(self) -> None:
        """Forgets the programs so far, as a function that `jax.jit` gave does."""
        for forgetting in (self._jitted, self._jitted_as_told):
            forgetting.clear_cache()
        self._loaded.clear()
        self._latest.clear()

    def _cache_size(self) -> int:
        """Number of programs so far, as of a function that `jax.jit` gave."""
        plain = {self._jitted, self._jitted_as_told}
        return sum(int(one._cache_size()) for one in plain) + len(self._loaded)

    def _load(self, call: Call, signature: Signature) -> Callable[..., Any]:
        """The compiled program, from its trace in a file or after tracing it."""

        def traced(*arrays: Any) -> Any:
            arguments = {**dict(call.static), **dict(zip(self._dynamic, arrays, strict=True))}
            return self._function(**arguments)  # type: ignore[call-arg]

        traced.__name__ = self._function.__name__
        donated = tuple(self._dynamic.index(name) for name in self._donated)
        if all(_is_own(value) for _, value in call.static):
            name = f"{self._function.__module__}.{self._function.__qualname__}"
            known_by = name, *signature._replace(tree=str(signature.tree))
            compiled = load(known_by, jax.jit(traced), call.dynamic, donated, self._results, self.told())
            if compiled is not None:
                return compiled
        return jax.jit(traced, donate_argnums=donated, compiler_options=self.told())


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
    """Whether JAX keeps compiled programs in a folder, and traces are those of one device with nothing to debug."""
    debugged = configured("jax_debug_nans") or configured("jax_disable_jit")
    folder = configured("jax_enable_compilation_cache") and configured("jax_compilation_cache_dir")
    return bool(folder) and "://" not in str(folder) and jax.device_count() == 1 and not debugged


def _any_is_traced(leaves: Iterable[Any]) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)


def _is_own(value: Hashable) -> bool:
    """Whether the value's code is among the sources that a trace is known by. That of a user's network is not."""
    if isinstance(value, tuple):
        return all(map(_is_own, value))
    if not is_dataclass(value):
        return True
    own = type(value).__module__.partition(".")[0] == __name__.partition(".")[0]
    return own and all(_is_own(getattr(value, field.name)) for field in fields(value))
