"""From settings and an archive to a finished run directory; what every experiment script calls."""

import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from aljax.checkpointing import RunStore, write_atomically
from aljax.data.archive import Archive, Split, SplitTiles, place
from aljax.densenet import DenseNet
from aljax.errors import InputError, InputWarning, NonFiniteLossError, one_line
from aljax.history import Record
from aljax.loop import run
from aljax.loss_head import LossHead
from aljax.model import Model, init_variables
from aljax.progress import Progress
from aljax.reporting import draw_curves, series_name, summary, table
from aljax.settings import Query, Settings, check_pool, check_settings
from aljax.weights import Weights, check_weights, load_weights

# Settings that change where files are, not what a run does.
WHERE_THINGS_LIE = ("run_dir", "data_dir", "images", "labels", "label_separator", "tiles_in", "cache_dir")
SomeSettings = TypeVar("SomeSettings", bound=Settings)


def command(main: Callable[[], None]) -> None:
    """Runs a script's `main`; what a user can mend becomes one line and exit status 2, no traceback."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", InputWarning)
            warnings.showwarning = _show_warning(warnings.showwarning)
            main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except NonFiniteLossError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last finished iteration", file=sys.stderr)
        sys.exit(130)


def _show_warning(otherwise: Callable[..., None]) -> Callable[..., None]:
    def show(message: Warning | str, category: type[Warning], *arguments: Any) -> None:
        if issubclass(category, InputWarning):
            print(f"warning: {one_line(str(message))}", file=sys.stderr)
        else:
            otherwise(message, category, *arguments)

    return show


def parse_settings(kind: type[SomeSettings], module: str, description: str | None) -> SomeSettings:
    """Reads settings from the command line; every field is an option, whatever part of the settings it is in."""
    import tyro

    config = (tyro.conf.OmitArgPrefixes, tyro.conf.SuppressFixed)
    settings = tyro.cli(kind, prog=f"python -m {module}", description=description, config=config)
    check_settings(settings)
    if settings.init_weights is not None:
        load_weights(settings.init_weights)  # a file that cannot be used is refused before the tiles are read
    return settings


def use_compilation_cache() -> None:
    """Keeps compiled programs between processes; JAX_COMPILATION_CACHE_DIR moves them."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(base / "aljax" / "xla"))


def run_experiment(
    settings: Settings, archive: Archive, split: Split, network: DenseNet
) -> dict[str, tuple[Record, ...]]:
    """Runs or continues `settings.run_dir` and writes its curve and summary; returns the history by its name."""
    check_settings(settings)
    check_pool(settings, len(split.pool))
    published = None if settings.init_weights is None else load_weights(settings.init_weights)
    tiles = place(archive, split, settings.seed)
    network = replace(network, num_classes=len(archive.class_names), dtype=jnp.dtype(settings.precision))
    model = Model(network, LossHead() if settings.query == "ll" else None)
    name = series_name(settings.query, settings.clustering)
    with _open_store(settings, archive, model, tiles, published) as store, Progress(settings, name) as progress:
        history = run(model, tiles, settings, store, progress, published)
    histories = {name: history}
    write_report(settings.run_dir, histories, f"{archive.name}, {settings.start} start")
    return histories


def run_queries(
    settings: Settings, queries: Sequence[Query], archive: Archive, split: Split, network: DenseNet
) -> dict[str, tuple[Record, ...]]:
    """One run per query in folders below `settings.run_dir`, and a curve and summary of all of them."""
    histories: dict[str, tuple[Record, ...]] = {}
    for query in queries:
        one = replace(settings, query=query, run_dir=settings.run_dir / query)
        histories |= run_experiment(one, archive, split, network)
    write_report(settings.run_dir, histories, f"{archive.name}, {settings.start} start")
    return histories


def write_report(folder: Path, histories: dict[str, tuple[Record, ...]], title: str) -> None:
    """Writes `curve.png` and `summary.json` of one or more series."""
    draw_curves(folder / "curve.png", histories, title, ("micro_f1", "macro_f1"))
    write_atomically(folder / "summary.json", json.dumps(summary(histories), indent=2) + "\n")


def print_report(folder: Path, histories: dict[str, tuple[Record, ...]]) -> None:
    """The closing table, and where the picture is, on standard output."""
    print(table(histories))
    print(f"curve: {folder / 'curve.png'}", flush=True)


def _open_store(
    settings: Settings, archive: Archive, model: Model, tiles: SplitTiles, published: Weights | None
) -> RunStore:
    bands = archive.images.shape[-1]
    variables = jax.eval_shape(lambda key: init_variables(key, model, settings.image_size, bands), jax.random.key(0))
    if published is not None:
        check_weights(published, variables)
    probabilities = np.zeros(tiles.pool.labels.shape, np.float32)
    return RunStore(settings.run_dir, configuration(settings, archive, model, published), variables, probabilities)


def configuration(settings: Settings, archive: Archive, model: Model, published: Weights | None) -> dict[str, Any]:
    """What makes a run this run: its settings, network, data and published weights, not where they lie."""
    fields = asdict(settings)
    recipe = fields.pop("recipe")
    for location in WHERE_THINGS_LIE:
        fields.pop(location, None)
    return {
        "archive": archive.name,
        "fingerprint": archive.fingerprint(),
        **fields,
        "init_weights": None if published is None else published.sha256,
        **recipe,
        "depths": list(model.network.depths),
        "growth": model.network.growth,
        "stem_channels": model.network.stem_channels,
    }
