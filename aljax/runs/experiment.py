"""From settings and an archive to a finished run directory; every experiment script calls it."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from aljax.data.archive import Archive, Split, SplitTiles, split_tiles
from aljax.data.readable import require_readable
from aljax.engines.scoring import check_passes
from aljax.errors import InputError
from aljax.loop.constant import Constant, from_config, score_constant
from aljax.loop.history import Record
from aljax.loop.iterations import Watcher, run
from aljax.loop.settings import LATER, WHERE_AND_WHEN, Settings, check_pool, check_settings
from aljax.networks.densenet import DenseNet
from aljax.networks.head import Head
from aljax.networks.loss_head import LossHead
from aljax.networks.model import Model, check_network, init_variables
from aljax.queries.table import find_query, series_name
from aljax.reports.score_panels import draw_scores
from aljax.reports.tables import summary, table
from aljax.runs.processes import (
    CommonStopRequest,
    FollowingStore,
    check_same_checkpoint,
    check_same_settings,
    is_first,
    stopping_together,
    wait_for_all,
)
from aljax.runs.progress import Progress
from aljax.runs.run_dir import RunStore
from aljax.system.files import discard_output, disk_errors, write_atomically
from aljax.system.stopping import StoppedError, StopRequest
from aljax.training.weights import Weights, check_normalisation, check_weights, load_weights

CURVE, SUMMARY = "curve.png", "summary.json"
# Fields of a linen module that are set by the run or by linen.
NOT_OWN = ("num_classes", "dtype", "parent", "name")


class Prepared(NamedTuple):
    """The inputs of the loop, and the configuration that identifies the run."""

    model: Model
    tiles: SplitTiles
    published: Weights | None
    """Content of `settings.init_weights`."""
    config: dict[str, Any]


def prepare_run(settings: Settings, archive: Archive, split: Split, network: nn.Module) -> Prepared:
    """The network for the archive's classes, with a loss head for LL, and the sets of tiles.

    Raises InputError if the network, the published weights or the engine do not fit.
    """
    published = None if settings.init_weights is None else load_weights(settings.init_weights)
    tiles = split_tiles(archive, split, settings.seed, normalisation=settings.normalisation)
    given: dict[str, Any] = {"num_classes": len(archive.class_names), "dtype": jnp.dtype(settings.precision)}
    network = replace(network, **{name: value for name, value in given.items() if hasattr(network, name)})
    model = Model(network, LossHead() if find_query(settings.query).needs_loss_head else None)
    _, _, size, bands = tiles.pool.images.shape
    check_network(model, size, bands, len(archive.class_names))
    check_passes(settings.engine, model, settings.engine_precision)
    check_start(settings, model, tiles, published)
    return Prepared(model, tiles, published, configuration(settings, archive, model, tiles, published))


def run_experiment(
    settings: Settings, archive: Archive, split: Split, network: nn.Module, stop: StopRequest | None = None
) -> dict[str, tuple[Record, ...]]:
    """Runs or continues `settings.run_dir` and writes its curve and summary; returns {name of the series: history}.

    `stop` is the `StopRequest` of a caller that listens for signals already. Before a run's first step all of its tiles
    are read once. Raises InputError for settings, tiles or a run directory with which it cannot be made.
    """
    check_settings(settings)
    check_pool(settings, len(split.pool))
    # A tile that is cut off could be met after days; and mended, it makes other data of those that the run knows.
    if is_first() and not (settings.run_dir / "config.json").exists():
        require_readable(archive)
    model, tiles, published, config = prepare_run(settings, archive, split, network)
    name = series_name(settings.query, settings.clustering)
    if not is_first():
        return {name: follow(model, tiles, settings, published, config)}
    with (
        (nullcontext(stop) if stop else StopRequest()) if jax.process_count() == 1 else CommonStopRequest() as stop,
        RunStore(settings.run_dir, config, settings.recipe, settings.checkpoint_seconds, stop) as store,
        Progress(settings, name) as progress,
    ):
        wait_for_all("the run directory is open")
        check_same_settings(config)
        check_same_checkpoint(store.number, store.shards, settings.run_dir)
        with stopping_together():
            history = run(model, tiles, settings, store, progress, published)
        progress.end_run(store.saves, store.save_seconds)
        histories = {name: history}
        write_report(settings.run_dir, histories, f"{archive.name}, {settings.start} start", from_config(config))
        wait_for_all("the report is written")
    return histories


def follow(
    model: Model, tiles: SplitTiles, settings: Settings, published: Weights | None, config: dict[str, Any]
) -> tuple[Record, ...]:
    """The run in a process that computes and does not write; returns its history."""
    with CommonStopRequest() as stop:
        wait_for_all("the run directory is open")
        check_same_settings(config)
        store = FollowingStore(settings.run_dir, settings.recipe, stop)
        with stopping_together():
            history = run(model, tiles, settings, store, Watcher(), published)
        wait_for_all("the report is written")
    return history


def check_report_place(folder: Path, own: Iterable[str]) -> None:
    """Raises InputError if a report in `folder` would replace that of other runs.

    `own` are glob patterns, relative to `folder`, of the run directories that the report is of.
    """
    report = any((folder / name).exists() for name in (CURVE, SUMMARY))
    if (folder / "config.json").exists() or (report and not any(any(folder.glob(pattern)) for pattern in own)):
        raise InputError(f"{folder} has the results of other runs, which would be replaced: choose another --run-dir")


def run_queries(
    settings: Settings, queries: Sequence[str], archive: Archive, split: Split, network: nn.Module
) -> dict[str, tuple[Record, ...]]:
    """One run per query in folders below `settings.run_dir`, and a curve and summary of all of them."""
    check_report_place(settings.run_dir, queries)
    histories: dict[str, tuple[Record, ...]] = {}
    for query in queries:
        one = replace(settings, query=query, run_dir=settings.run_dir / query)
        with StopRequest() if jax.process_count() == 1 else nullcontext() as stop:
            histories |= run_experiment(one, archive, split, network, stop)
        if stop is not None and (number := stop.check()):
            raise StoppedError(number)  # the signal came after the last step of that run
    if is_first():
        constant = score_constant(archive.class_names, archive.labels[split.pool], archive.labels[split.test])
        write_report(settings.run_dir, histories, f"{archive.name}, {settings.start} start", constant)
    return histories


def write_report(
    folder: Path, histories: dict[str, tuple[Record, ...]], title: str, constant: Constant | None = None
) -> None:
    """Writes `curve.png` and `summary.json` of one or more series."""
    with disk_errors(folder):
        draw_scores(folder / CURVE, histories, title, constant)
        write_atomically(folder / SUMMARY, json.dumps(summary(histories), indent=2) + "\n")


def print_report(folder: Path, histories: dict[str, tuple[Record, ...]]) -> None:
    """Prints the table of all series and the path of the picture."""
    if not is_first():
        return
    try:
        print(f"{table(histories)}\ncurve: {folder / CURVE}", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise InputError(f"standard output takes no more ({error.strerror}): the report is in {folder}") from error


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
    """The content of `config.json`, which identifies a run: settings, network, data, published weights; no paths.

    With the weights of a checkpoint it suffices for predictions on new tiles.
    """
    chosen = asdict(settings)
    recipe = chosen.pop("recipe")
    for name in WHERE_AND_WHEN:
        chosen.pop(name, None)
    # A run whose own score function was edited is another run.
    source = find_query(settings.query).source
    own_query = {} if source is None else {"query_sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    everything = {
        "archive": archive.name,
        "fingerprint": archive.fingerprint(),
        "split": split_digest(Split(*(part.indices for part in tiles[:3]))),
        **({} if tiles.pool.are_features else {"pixel_type": archive.images.dtype.name}),
        **chosen,
        **own_query,
        "init_weights": None if published is None else published.sha256,
        **recipe,
        **describe_network(model.network),
        "class_names": list(archive.class_names),
        "class_tiles": (tiles.pool.labels == 1).sum(0).tolist(),
        "mean": tiles.pool.statistics.mean.tolist(),
        "deviation": tiles.pool.statistics.deviation.tolist(),
        **score_constant(archive.class_names, tiles.pool.labels, tiles.test.labels).to_config(),
    }
    return {name: value for name, value in everything.items() if not (name in LATER and value == LATER[name])}


def describe_network(network: nn.Module) -> dict[str, Any]:
    """The description that identifies a network, as JSON."""
    if isinstance(network, Head):
        return {"head": "mlp", "width": network.width} if network.width else {"head": "linear"}
    if isinstance(network, DenseNet):
        return {"depths": list(network.depths), "growth": network.growth, "stem_channels": network.stem_channels}
    own = {field.name: str(getattr(network, field.name)) for field in fields(network) if field.name not in NOT_OWN}
    return {"network": {"class": f"{type(network).__module__}:{type(network).__qualname__}", **own}}


def split_digest(split: Split) -> str:
    """SHA-256 of the indices in pool, validation and test."""
    digest = hashlib.sha256()
    for indices in split:
        digest.update(np.asarray([len(indices), *indices], "<i8").tobytes())
    return digest.hexdigest()
