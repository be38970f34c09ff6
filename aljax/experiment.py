"""From settings and an archive to a finished run directory; what every experiment script calls."""

import json
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stderr, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from aljax.checkpointing import RunStore
from aljax.compiling import DETERMINISTIC, tell_of_compiling
from aljax.data.archive import Archive, Split, SplitTiles, place
from aljax.densenet import DenseNet
from aljax.errors import DivergedError, InputError, InputWarning, one_line
from aljax.files import disk_errors, write_atomically
from aljax.history import Record
from aljax.loop import run
from aljax.loss_head import LossHead
from aljax.machine import check_device, keep_freed_memory
from aljax.model import Model, init_variables
from aljax.options import read_options
from aljax.processes import (
    CommonStopRequest,
    FollowingStore,
    SilentWatcher,
    check_agreement,
    check_settings_agree,
    is_first,
    join_processes,
    leave,
    stopping_together,
    wait_for_all,
)
from aljax.programs import keep_programs, mend, programs_dir
from aljax.progress import Progress
from aljax.reporting import draw_curves, series_name, summary, table
from aljax.settings import WHERE_AND_WHEN, Query, Settings, check_pool, check_settings
from aljax.stopping import StoppedError, StopRequest, stop_with_starter
from aljax.weights import Weights, check_normalisation, check_weights, load_weights

SomeSettings = TypeVar("SomeSettings", bound=Settings)


class _Messages:
    """Standard error that goes on where nobody reads it any more: a run does not end for want of a reader."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def command(main: Callable[[], None]) -> None:
    """Runs a script's `main`; what a user can mend becomes one line and exit status 2, no traceback."""
    with redirect_stderr(_Messages(sys.stderr or Path(os.devnull).open("w"))):  # closed by who started it: 2>&-
        try:
            stop_with_starter()
            _run(main)
        except BaseException as error:
            leave(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)
            raise


def _run(main: Callable[[], None]) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", InputWarning)
            warnings.showwarning = _show_warning(warnings.showwarning)
            main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except PermissionError as error:
        reason = f"{error.filename} is not accessible ({error.strerror}): check its permissions"
        print(f"error: {one_line(reason)}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # The reader of standard output has enough, as `head` has; what is left of it would fail again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except StoppedError as error:
        print(f"{error}; saved. To go on from here: {shlex.join(sys.orig_argv)}", file=sys.stderr)
        sys.exit(128 + error.number)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)


def _show_warning(otherwise: Callable[..., None]) -> Callable[..., None]:
    told: list[str] = []

    def show(message: Warning | str, category: type[Warning], *arguments: Any) -> None:
        if issubclass(category, InputWarning):
            print(f"warning: {one_line(str(message))}", file=sys.stderr)
        elif re.match(r"Glyph \d+ .* missing from font", str(message)):  # Matplotlib says so for every character
            if not told:
                print("warning: the font lacks characters of names: they are boxes in the pictures", file=sys.stderr)
            told.append(str(message))
        elif not mend(str(message)):
            otherwise(message, category, *arguments)

    return show


def parse_settings(kind: type[SomeSettings], module: str, description: str | None) -> SomeSettings:
    """Reads settings from the command line; every field is an option, whatever part of the settings it is in."""
    import tyro

    settings = read_options(kind, module, description, (tyro.conf.OmitArgPrefixes, tyro.conf.SuppressFixed))
    check_settings(settings)
    if settings.init_weights is not None:
        load_weights(settings.init_weights)  # a file that cannot be used is refused before the tiles are read
    if settings.deterministic:
        ask_for_determinism()
    return settings


def ask_for_determinism() -> None:
    """Excludes kernels of a GPU that add in any order, and the choice of kernels by timing them.

    To be called before JAX first looks for a device.
    """
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + f" {DETERMINISTIC}"


def prepare_process() -> None:
    """What every script does before it computes.

    Compiled programs are kept between processes, memory between steps, and other processes of the run are joined.
    Raises InputError if there is no device.
    """
    keep_freed_memory()
    join_processes()
    check_device()
    keep_programs()
    tell_of_compiling(_say_what_compiles)


def _say_what_compiles(name: str) -> None:
    from tqdm import tqdm

    message = f"compiling {name}: half a minute on CPUs, minutes on some GPUs; later runs find it in {programs_dir()}"
    tqdm.write(message, file=sys.stderr)


class Prepared(NamedTuple):
    """What a run computes with."""

    model: Model
    tiles: SplitTiles
    published: Weights | None
    """Content of `settings.init_weights`."""
    config: dict[str, Any]


def prepare_run(settings: Settings, archive: Archive, split: Split, network: DenseNet) -> Prepared:
    """The network for the archive's classes, with a loss head for LL, and the tiles where the run reads them.

    Raises InputError if the published weights do not fit.
    """
    published = None if settings.init_weights is None else load_weights(settings.init_weights)
    tiles = place(archive, split, settings.seed, normalisation=settings.normalisation)
    network = replace(network, num_classes=len(archive.class_names), dtype=jnp.dtype(settings.precision))
    model = Model(network, LossHead() if settings.query == "ll" else None)
    check_start(settings, model, tiles, published)
    return Prepared(model, tiles, published, configuration(settings, archive, model, tiles, published))


def run_experiment(
    settings: Settings, archive: Archive, split: Split, network: DenseNet, asked: StopRequest | None = None
) -> dict[str, tuple[Record, ...]]:
    """Runs or continues `settings.run_dir` and writes its curve and summary; returns the history by its name.

    `asked` is whoever listens for signals already, if somebody does.
    """
    check_settings(settings)
    check_pool(settings, len(split.pool))
    model, tiles, published, config = prepare_run(settings, archive, split, network)
    name = series_name(settings.query, settings.clustering)
    if not is_first():
        return {name: follow(model, tiles, settings, published, config)}
    with (
        (nullcontext(asked) if asked else StopRequest()) if jax.process_count() == 1 else CommonStopRequest() as stop,
        RunStore(settings.run_dir, config, settings.recipe, settings.checkpoint_seconds, stop) as store,
        Progress(settings, name) as progress,
    ):
        wait_for_all("the run directory is open")
        check_settings_agree(config)
        check_agreement(store.number, settings.run_dir)
        with stopping_together():
            history = run(model, tiles, settings, store, progress, published)
        progress.end_run(store.saves, store.save_seconds)
        histories = {name: history}
        write_report(settings.run_dir, histories, f"{archive.name}, {settings.start} start")
        wait_for_all("the report is written")
    return histories


def follow(
    model: Model, tiles: SplitTiles, settings: Settings, published: Weights | None, config: dict[str, Any]
) -> tuple[Record, ...]:
    """The run in a process that computes and does not write."""
    with CommonStopRequest() as stop:
        wait_for_all("the run directory is open")
        check_settings_agree(config)
        store = FollowingStore(settings.run_dir, settings.recipe, stop)
        with stopping_together():
            history = run(model, tiles, settings, store, SilentWatcher(), published)
        wait_for_all("the report is written")
    return history


def run_queries(
    settings: Settings, queries: Sequence[Query], archive: Archive, split: Split, network: DenseNet
) -> dict[str, tuple[Record, ...]]:
    """One run per query in folders below `settings.run_dir`, and a curve and summary of all of them."""
    histories: dict[str, tuple[Record, ...]] = {}
    for query in queries:
        one = replace(settings, query=query, run_dir=settings.run_dir / query)
        with StopRequest() if jax.process_count() == 1 else nullcontext() as asked:
            histories |= run_experiment(one, archive, split, network, asked)
        if asked is not None and (number := asked.check()):
            raise StoppedError(number)  # it came too late for that run, which has ended
    if is_first():
        write_report(settings.run_dir, histories, f"{archive.name}, {settings.start} start")
    return histories


def write_report(folder: Path, histories: dict[str, tuple[Record, ...]], title: str) -> None:
    """Writes `curve.png` and `summary.json` of one or more series."""
    with disk_errors(folder):
        draw_curves(folder / "curve.png", histories, title, ("micro_f1", "macro_f1"))
        write_atomically(folder / "summary.json", json.dumps(summary(histories), indent=2) + "\n")


def print_report(folder: Path, histories: dict[str, tuple[Record, ...]]) -> None:
    """The closing table, and where the picture is, on standard output."""
    if not is_first():
        return
    print(table(histories))
    print(f"curve: {folder / 'curve.png'}", flush=True)


def check_start(settings: Settings, model: Model, tiles: SplitTiles, published: Weights | None) -> None:
    """Raises InputError if the published weights are of another network, or for pixels of another normalisation."""
    if published is not None:
        bands = tiles.pool.images.shape[-1]
        shapes = jax.eval_shape(lambda key: init_variables(key, model, settings.image_size, bands), jax.random.key(0))
        check_weights(published, shapes)
        check_normalisation(published, settings.normalisation)


def configuration(
    settings: Settings, archive: Archive, model: Model, tiles: SplitTiles, published: Weights | None
) -> dict[str, Any]:
    """What makes a run this run: its settings, network, data and published weights, not where they lie.

    With the weights of a checkpoint, it is also all that predicting on new tiles needs.
    """
    fields = asdict(settings)
    recipe = fields.pop("recipe")
    for name in WHERE_AND_WHEN:
        fields.pop(name, None)
    return {
        "archive": archive.name,
        "fingerprint": archive.fingerprint(),
        **fields,
        "init_weights": None if published is None else published.sha256,
        **recipe,
        "depths": list(model.network.depths),
        "growth": model.network.growth,
        "stem_channels": model.network.stem_channels,
        "class_names": list(archive.class_names),
        "class_tiles": tiles.pool.labels.sum(0, dtype=int).tolist(),
        "mean": tiles.pool.statistics.mean.tolist(),
        "deviation": tiles.pool.statistics.deviation.tolist(),
    }
