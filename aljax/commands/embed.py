"""Computes features of tiles, the inputs of a network's last layer: `annotate` and `run` train a head on them.

    aljax embed --images DIR --init-weights weights/rgb.safetensors --out features.parquet
    aljax embed --images DIR --run-dir runs/mine --out features.npz

The network is that of a run or a round, or DenseNet121 with weights from `aljax convert-weights`; in the latter case
tiles are standardised by the mean and deviation of their own bands. Tiles are GeoTIFF, PNG or JPEG files, nested or
not. Parquet has the columns `id`, the tile's path below DIR, and `embedding`; `.npz` has the arrays `ids` and
`embeddings`; the ids of a `.npy` file are in a `.ids.csv` beside it. Tiles that cannot be read are named and left out.
Finished rows are in OUT.part: repeat a command that was stopped or killed, and it goes on and writes the same bytes.
"""

import shlex
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aljax.commands.options import read_options
from aljax.commands.process import prepare_process
from aljax.data.archive import Archive, Split, Tiles, split_tiles
from aljax.data.archives.copies import warn_of_copies
from aljax.data.archives.folder import open_folder
from aljax.data.features.unfinished import Unfinished, digest, digest_archive
from aljax.data.features.writer import FORMATS, Store, check_range, write_features
from aljax.data.readable import drop_unreadable
from aljax.data.tiles.images import Tolerant, find_unreadable
from aljax.engines.scoring import Engine, Precision, check_engine, open_engine
from aljax.errors import InputError
from aljax.networks.densenet import DenseNet121
from aljax.networks.head import Head
from aljax.networks.model import Model, Variables, init_variables, last_layer
from aljax.runs.inference import Classifier, load
from aljax.system.files import check_output, disk_errors, remove_leftovers
from aljax.training.prediction import Compute, predict_rest
from aljax.training.weights import Weights, check_weights, load_weights, start_from

IMAGE_SIZE = 224  # that of published weights, which are trained on ImageNet
SMALLEST = 32  # image size that a DenseNet can take


class Embedder(NamedTuple):
    """A network, and tiles in the form of its inputs."""

    model: Model
    variables: Variables
    archive: Archive
    tiles: Tiles


def embed(
    images: Path,
    out: Path,
    run_dir: Path | None = None,
    init_weights: Path | None = None,
    image_size: int | None = None,
    store: Store = "float32",
    engine: Engine = "xla",
    engine_precision: Precision | None = None,
) -> None:
    """Computes the features and writes the file.

    Args:
        images: folder of the tiles
        out: file to write, .parquet, .npy or .npz
        run_dir: folder of a run or a round, whose newest network is used
        init_weights: file of aljax convert-weights, in place of --run-dir
        image_size: height and width in pixels to which tiles are resized with --init-weights (None: 224); a run has its
            own
        store: type of the numbers in the file; float16 takes half the room
        engine: what computes: openvino is faster on CPUs, above all in bfloat16, and differs by rounding
        engine_precision: of --engine openvino; None: the network's own
    """
    _check(out, run_dir, init_weights, image_size)
    check_engine(engine, engine_precision, on_features=False)
    prepare_process()
    if run_dir is not None:
        embedder = _of_run(_load(run_dir), images)
    else:
        assert init_weights is not None
        embedder = _of_weights(load_weights(init_weights), images, image_size or IMAGE_SIZE)
    width = last_layer(embedder.variables)["kernel"].shape[0]
    ids = embedder.archive.ids
    compute = open_engine(engine, embedder.model, embedder.variables, embedder.tiles, engine_precision)
    of_engine = None if compute is None else f"{engine} {engine_precision}"
    with disk_errors(out), _begin(out, embedder, width, of_engine) as unfinished:
        _embed(embedder, unfinished, store, compute)
        write_features(out, ids, unfinished.rows(), store)
        unfinished.remove()
    by = f"the network of {run_dir}" if run_dir else f"DenseNet121 with the weights {init_weights}"
    by += "" if compute is None else ", in OpenVINO"
    print(f"{len(ids)} tiles, {width} features each in {store}, by {by}: {out}")
    features = f"--features {shlex.quote(str(out))}"
    print(f"to use them: aljax annotate --images {shlex.quote(str(images))} {features} --classes A,B,C --run-dir RUN")
    print(f"or, where labels are known: aljax run {features} --labels LABELS.csv --run-dir RUN")


def _check(out: Path, run_dir: Path | None, init_weights: Path | None, image_size: int | None) -> None:
    """Raises InputError for invalid options."""
    if (run_dir is None) == (init_weights is None):
        raise InputError("give either --run-dir, a run whose network is taken, or --init-weights, a file of weights")
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"--out {out} does not end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}: name such a file")
    check_output(out)
    if image_size is not None and run_dir is not None:
        raise InputError("--image-size is for --init-weights, and the network of a --run-dir has its own: leave it out")
    if image_size is not None and image_size < SMALLEST:
        raise InputError(f"--image-size is {image_size}: it must be at least {SMALLEST}")


def _readable(archive: Archive) -> Archive:
    """The archive without unreadable tiles; warns of these and of copies."""
    archive = drop_unreadable(archive, find_unreadable(archive.images, "reading all tiles once"))
    warn_of_copies(archive.copy_of, archive.ids, archive.split)
    return archive


def _load(run_dir: Path) -> Classifier:
    trained = load(run_dir)
    if isinstance(trained.model.network, Head):
        raise InputError(f"{run_dir} is a run on features, whose network saw no tiles: name a run on tiles")
    return trained


def _of_run(trained: Classifier, images: Path) -> Embedder:
    """The network of a run. Raises InputError, before all tiles are read, for other bands or types than the run's."""
    archive = open_folder(images, None, trained.image_size, lenient=True)
    trained.tiles(Tolerant(archive.images, trained.statistics.mean))
    archive = _readable(archive)
    tiles = Tiles(archive.images, np.arange(len(archive.ids)), archive.labels, trained.statistics)
    return Embedder(trained.model, trained.variables, archive, tiles)


def _of_weights(weights: Weights, images: Path, size: int) -> Embedder:
    """DenseNet121, and tiles normalised as the weights require. Raises InputError if they do not fit together."""
    archive = open_folder(images, None, size, lenient=True)
    if weights.normalisation == "scale" and archive.images.dtype.kind != "u":
        raise InputError(
            f"--init-weights {weights.path} is for pixels scaled from 0 to 1, which those of type "
            f"{archive.images.dtype.name} cannot be: use other weights"
        )
    bands = archive.images.shape[-1]
    model = Model(DenseNet121(1))
    shapes = jax.eval_shape(lambda key: init_variables(key, model, size, bands), jax.random.key(0))
    check_weights(weights, shapes)
    # The head stays zero: features do not depend on it.
    variables = start_from(weights, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))
    archive = _readable(archive)
    everything, nothing = np.arange(len(archive.ids)), np.arange(0)
    tiles = split_tiles(archive, Split(everything, nothing, nothing), 0, normalisation=weights.normalisation).pool
    return Embedder(model, variables, archive, tiles)


def _begin(out: Path, embedder: Embedder, width: int, engine: str | None) -> Unfinished:
    """The file of finished rows, new or from an earlier command; `engine` is None for XLA, as in older files."""
    archive = embedder.archive
    network, params = str(embedder.model.network), embedder.variables["params"]["network"]
    backbone = {name: leaves for name, leaves in params.items() if name != "head"}
    made_of: dict[str, Any] = {
        "tiles": digest_archive(archive),
        "normalisation": digest([], embedder.tiles.statistics),
        "weights": digest([network], (backbone, embedder.variables["batch_stats"])),
        "image size": embedder.tiles.images.shape[1],
        "engine": engine,
    }
    remove_leftovers(out.parent)
    return Unfinished(out, made_of, len(archive.ids), width, embedder.tiles.at_once)


def _embed(embedder: Embedder, unfinished: Unfinished, store: Store, compute: Compute | None) -> None:
    """Computes the missing rows. Raises StoppedError at a signal; all finished rows are saved."""
    model, variables, archive, tiles = embedder
    for batch in predict_rest(model, variables, tiles, unfinished, compute):
        row = unfinished.done
        made = np.asarray(batch.embeddings)[: tiles.num_tiles - row]
        check_range(made, archive.ids[row : row + len(made)], store)
        unfinished.append(made)


def main() -> None:
    """Parses the command line and computes the features."""
    read_options(embed, "aljax embed", __doc__)
