"""Traces of jitted functions, kept between processes beside what XLA compiled of them.

JAX keeps what XLA compiled, but finds it by the traced program, and Python traces a network of 121 layers for longer
than the compiled one takes to load. So the traces are kept too, in the form of `jax.export`, under a name that the
sources, the versions, the settings and the shapes give. From its trace a large program is compiled by another process:
compiling leaves the heap so full of holes that every step after it would take a quarter longer on two CPU cores.
"""

import functools
import hashlib
import importlib
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax import export

from aljax.system.files import remove_leftovers, write_atomically
from aljax.xla.compiling import compiler_options, configured, joins_products

_LIBRARIES = ("jax", "jaxlib", "flax", "optax")
_DIGEST_BYTES = hashlib.sha256().digest_size
# Bytes of a program's arguments from which on it is large: those of DenseNet121's steps and predictions are, not those
# of the quickstart's network.
_LARGE = 1 << 24


def load(
    known_by: tuple[Any, ...],
    jitted: Any,
    arguments: tuple[Any, ...],
    donated: tuple[int, ...],
    results: Iterable[type],
    options: Mapping[str, Any],
) -> jax.stages.Compiled | None:
    """The compiled program of a jitted function, from its trace in a file or after tracing it.

    `known_by` is what it is, beside the sources and versions; `results` are the named tuples of its result that the
    arguments do not have, `options` what XLA is told. None if what is traced cannot be kept.
    """
    kinds = (*_named_tuples(arguments), *results)
    for kind in kinds:
        _register(kind)
    path = _path(jitted.__name__, known_by)
    exported = _read(path)
    if exported is None:
        try:
            exported = export.export(jitted)(*arguments)
            blob = bytes(exported.serialize())
        except (ValueError, NotImplementedError):
            # There are operations that only the process that traced them can run.
            return None
        size = sum(math.prod(one.shape) * one.dtype.itemsize for one in exported.in_avals)
        large = size >= _LARGE and jax.default_backend() == "cpu"
        if _write(path, blob) and large and sys.executable:
            _compile_elsewhere(path, donated, kinds)
    return _compile(exported, donated, options)


def _path(name: str, known_by: tuple[Any, ...]) -> Path:
    # Kinds of one backend's devices are traced for differently, and so is one kind under other flags.
    device = jax.default_backend(), joins_products()
    digest = hashlib.sha256(repr((*known_by, *_origin(), *device)).encode()).hexdigest()
    return Path(_folder()) / "traces" / f"{name}-{digest[:32]}"


def _folder() -> str:
    """Where JAX keeps what it compiled."""
    return str(configured("jax_compilation_cache_dir"))


@functools.cache
def _origin() -> tuple[str, ...]:
    """What the traces of this process are made by: sources and versions."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("[!.]*.py")):  # editors leave links to nowhere that begin with a dot
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


def _compile(exported: export.Exported, donated: tuple[int, ...], options: Mapping[str, Any]) -> jax.stages.Compiled:
    """The compiled program, which JAX keeps."""
    shapes = [jax.ShapeDtypeStruct(one.shape, one.dtype) for one in exported.in_avals]
    arguments, _ = jax.tree.unflatten(exported.in_tree, shapes)
    jitted = jax.jit(exported.call, donate_argnums=donated, compiler_options=dict(options))
    return jitted.lower(*arguments).compile()


def _compile_elsewhere(path: Path, donated: tuple[int, ...], kinds: Iterable[type]) -> None:
    """Has another process compile the program of a trace. Where that fails, this one will."""
    names = [f"{kind.__module__}:{kind.__qualname__}" for kind in kinds]
    script = f"from aljax.xla.traces import compile_kept; compile_kept({str(path)!r}, {donated!r}, {names!r})"
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": _folder(),
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")))),
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
