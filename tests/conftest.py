"""Shapes in signatures are checked in every test, and every test is small."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
from jaxtyping import install_import_hook

# Compiling is most of what tests of networks do: without LLVM's optimisations they take 0.6 of the time of the cores, a
# fifth of all files together 0.84.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()
# Several processes of tests share an accelerator where there is one.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

# What a shell starts in the background ignores Ctrl-C; tests send it to themselves and to processes of theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# And what nohup starts ignores its terminal's end.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Before anything of aljax is imported.
hook = install_import_hook("aljax", "typechecking.typechecker")

import jax  # noqa: E402
import pytest  # noqa: E402
from tiny import make_archive, tiny_network  # noqa: E402

from aljax.data.archive import Archive, SplitTiles, random_split, split_tiles  # noqa: E402
from aljax.networks.densenet import DenseNet  # noqa: E402
from aljax.networks.loss_head import LossHead  # noqa: E402
from aljax.networks.model import Model  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    """Keeps compiled programs in pytest's cache: for both workers, the processes of the tests, and the next session."""
    if not hasattr(config, "cache"):  # -p no:cacheprovider
        return
    programs = str(config.cache.mkdir("programs"))
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": programs, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    # JAX reads its variables when it is imported.
    jax.config.update("jax_compilation_cache_dir", programs)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.fixture
def as_users_have_it() -> Iterator[None]:
    """Without the checks of types and shapes, which only tests have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def network() -> DenseNet:
    return tiny_network()


@pytest.fixture(scope="session")
def model(network: DenseNet) -> Model:
    return Model(network)


@pytest.fixture(scope="session")
def ll_model(network: DenseNet) -> Model:
    return Model(network, LossHead(width=8))


@pytest.fixture(scope="session")
def archive() -> Archive:
    return make_archive()


@pytest.fixture(scope="session")
def tiles(archive: Archive) -> SplitTiles:
    return split_tiles(archive, random_split(0, len(archive.ids), validation=10, test=10), seed=0)


@pytest.fixture(scope="session")
def ucmerced_dir() -> Path:
    folder = os.environ.get("ALJAX_UCMERCED_DIR")
    if not folder:
        pytest.skip("needs the real archive: set ALJAX_UCMERCED_DIR to the folder with UCMerced_LandUse")
    return Path(folder)


@pytest.fixture(scope="session")
def treesatai_labels() -> Path:
    folder = os.environ.get("ALJAX_TREESATAI_LABELS")
    if not folder:
        pytest.skip("needs the real label files: set ALJAX_TREESATAI_LABELS to the folder with them and the lists")
    return Path(folder)


@pytest.fixture
def traces() -> Callable[[Callable], int]:
    """How often a jitted function was compiled since the test began."""
    start: dict[int, int] = {}

    def count(function: Callable) -> int:
        jitted = function.jitted() if hasattr(function, "jitted") else function
        size = jitted._cache_size()  # type: ignore[attr-defined]
        return size - start.setdefault(id(function), size)

    return count


@pytest.fixture(scope="session")
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the figures' runs that the test has made, in its own process and on noise."""
    from figure_runs import make_runs_here

    return make_runs_here(monkeypatch)
