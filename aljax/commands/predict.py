"""Predicts the classes of new tiles with what a run has learnt: a table (CSV, Parquet), or a map of them.

    aljax predict --run-dir runs/mine/round-7 --images DIR --out predictions.csv
    aljax predict --run-dir runs/mine/round-7 --images DIR --out map.geojson
    aljax predict --run-dir runs/ucmerced-mge --images DIR --out labels.csv --threshold validation
    aljax predict --run-dir runs/on-features --features FILE --out predictions.csv

The run may still be under way, or be a round of `aljax annotate`. Tiles are GeoTIFF, PNG or JPEG files with the bands
and the pixel type of those in training, nested or not, of any size; where their pixels are far from those in training,
that is told. A row for each tile has the probabilities of the classes, or 0 and 1 where a --threshold is given: a label
file that `aljax run` reads. A network trained on few labels predicts too few classes at 0.5: --threshold validation, or
per-class, takes what the run fitted to its validation tiles. Parquet has the probabilities unrounded. In GeoJSON, which
QGIS and the like open, the outline of each tile with a georeference has them as its properties. A tile that cannot be
read has a row without numbers, and why in a last column, unreadable; a label file leaves it out. Finished rows are in
OUT.part: repeat a command that was stopped or killed, and it goes on and writes the same bytes.

On a CPU with AMX or AVX512-BF16 `--engine openvino --engine-precision bfloat16` takes a fraction of the time.

Of a run on features the rows of another file of such features are predicted; GeoParquet says where they lie.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from aljax.commands.options import read_options
from aljax.commands.process import prepare_process
from aljax.data.archive import Archive, Tiles
from aljax.data.archives.folder import open_folder
from aljax.data.features import open_features
from aljax.data.features.geometry import read_geometries
from aljax.data.features.unfinished import Unfinished, digest, digest_archive
from aljax.data.geojson import Geometry, Outline, geojson_lines, read_outlines, require_outline
from aljax.data.labels import write_csv
from aljax.data.predictions import UNREADABLE, predictions_to_csv, predictions_to_parquet
from aljax.data.tiles.images import Tolerant, Unreadable, name_unreadable
from aljax.data.tiles.made import Made
from aljax.engines.scoring import Engine, Precision, check_engine, open_engine
from aljax.errors import DivergedError, InputError, InputWarning
from aljax.loop.metrics import Threshold, is_above
from aljax.loop.settings import FEATURES
from aljax.loop.thresholds import Asked, check_threshold, find_threshold
from aljax.runs.config import read_config
from aljax.runs.inference import Classifier, load, require_finite
from aljax.system.files import check_output, disk_errors, remove_leftovers, replacing
from aljax.system.own_code import find_own
from aljax.training.prediction import Compute, predict_rest

FORMATS = (".csv", ".parquet", ".geojson")


def predict(
    run_dir: Path,
    images: Path | None = None,
    features: Path | None = None,
    out: Path = Path("predictions.csv"),
    threshold: Asked | None = None,
    network: str = "",
    engine: Engine = "xla",
    engine_precision: Precision | None = None,
) -> None:
    """Predicts and writes the file.

    Args:
        run_dir: folder of a run or a round
        images: folder of the tiles
        features: file of the tiles' features, for a run on features
        out: file to write, .csv, .parquet or .geojson
        network: module:function of a run that was made with a network of your own
        threshold: probability above which a cell is 1, else 0: a number, or as the run's validation tiles say, one for
            all classes (validation) or each (per-class); None: the probabilities themselves
        engine: what computes: openvino is faster on CPUs, above all in bfloat16, and differs by rounding
        engine_precision: of --engine openvino; None: the run's own
    """
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"--out {out} ends in none of {', '.join(FORMATS)}: name such a file")
    check_output(out)
    check_threshold(threshold)
    check_engine(engine, engine_precision, features is not None)
    prepare_process()
    own = find_own(network, "--network")(len(read_config(run_dir)["class_names"])) if network else None
    trained = load(run_dir, own)
    above = None if threshold is None else find_threshold(threshold, trained.thresholds, run_dir)
    archive, outlines = open_tiles(trained, images, features, out.suffix.lower() == ".geojson")
    # What cannot be read looks like a tile of means, which is like any other, and is not written.
    readable = Tolerant(archive.images, trained.statistics.mean)
    tiles = trained.tiles(archive.images if features is not None else readable)
    compute = open_engine(engine, trained.model, trained.variables, tiles, engine_precision)
    of_engine = None if compute is None else f"{engine} {engine_precision}"
    total = len(archive.ids)
    with disk_errors(out), _begin(out, trained, archive, tiles.at_once, of_engine) as unfinished:
        found = _predict(trained, tiles, readable, unfinished, compute)
        unreadable = readable.unreadable
        _check(found, unreadable, unfinished)
        _write(out, Predicted(archive.ids, trained.class_names, found, unreadable), above, outlines)
        unfinished.remove()
    by = f"by the network of {run_dir} (trained on {trained.num_labeled} tiles)"
    by += "" if compute is None else ", in OpenVINO"
    print(f"{total - len(unreadable)} tiles, {len(trained.class_names)} classes, {by}: {out}")


def open_tiles(
    trained: Classifier, images: Path | None, features: Path | None, on_map: bool
) -> tuple[Archive, Sequence[Outline | Geometry | None] | None]:
    """What is to be predicted and, for a map, where it lies. Raises InputError, also if no tile lies anywhere."""
    on_features = trained.image_size == FEATURES
    if (images is None) == (features is None) or on_features == (features is None):
        wanted, other = ("--features", "--images") if on_features else ("--images", "--features")
        raise InputError(f"the run was trained on {'features' if on_features else 'tiles'}: give {wanted}, not {other}")
    outlines: Sequence[Outline | Geometry | None] | None = None
    if features is not None:
        archive = open_features(features, None)
        if on_map:
            outlines = read_geometries(features, archive.ids)
    else:
        assert images is not None
        archive = open_folder(images, None, trained.image_size, lenient=True)
        if on_map:
            outlines = read_outlines(archive)
    if outlines is not None:
        require_outline(outlines)  # before the tiles are predicted, or that may be for nothing
    return archive, outlines


def _begin(out: Path, trained: Classifier, archive: Archive, batch_size: int, engine: str | None) -> Unfinished:
    """The file of finished rows, new or from an earlier command; `engine` is None for XLA."""
    inputs = trained.variables, trained.statistics
    made_of = {
        "tiles": digest_archive(archive),
        "weights": digest([str(trained.model.network)], inputs),
        "image size": trained.image_size,
        "engine": engine,
    }
    remove_leftovers(out.parent)
    return Unfinished(out, made_of, len(archive.ids), len(trained.class_names), batch_size)


def _predict(
    trained: Classifier, tiles: Tiles, readable: Tolerant, unfinished: Unfinished, compute: Compute | None
) -> Float[np.ndarray, "n c"]:
    """Probabilities of all tiles, also of those that an earlier command has finished; NaN for unreadable ones."""
    for batch in predict_rest(trained.model, trained.variables, tiles, unfinished, compute):
        row = unfinished.done
        made = np.array(batch.probabilities)[: tiles.num_tiles - row]
        made[[readable.is_unreadable(row + place) for place in range(len(made))]] = np.nan
        unfinished.append(made)
    found = unfinished.rows()
    for row in np.flatnonzero(np.isnan(found).any(1)).tolist():
        if not readable.is_unreadable(row):  # an earlier command could not read it: what was wrong?
            readable[row]
    return found


def _check(found: Float[np.ndarray, "n c"], unreadable: Unreadable, unfinished: Unfinished) -> None:
    """Warns of unreadable tiles. Raises InputError if all are, DivergedError for predictions that are not finite."""
    try:
        if unreadable:
            message = name_unreadable(unreadable.values(), len(found))
            if len(unreadable) == len(found):
                raise InputError(message)
            warnings.warn(InputWarning(f"{message} (no numbers for these)"), stacklevel=3)
        require_finite(found, unreadable)
    except (InputError, DivergedError):
        unfinished.remove()
        raise


class Predicted(NamedTuple):
    """What is to be written."""

    ids: Sequence[str]
    class_names: Sequence[str]
    probabilities: Float[np.ndarray, "n c"]
    unreadable: Unreadable
    """Tiles whose probabilities mean nothing."""


def _write(
    out: Path, predicted: Predicted, threshold: Threshold | None, outlines: Sequence[Outline | Geometry | None] | None
) -> None:
    """Writes probabilities, or 0 and 1, of each class and tile; on a map where there are outlines."""
    ids, names, found, unreadable = predicted
    if outlines is None:
        _write_table(out, predicted, threshold)
        return
    cells = found.astype(float).round(4) if threshold is None else is_above(found, threshold).astype(np.uint8)
    blank: dict[str, Any] = dict.fromkeys(names)
    properties = (
        {**blank, UNREADABLE: str(unreadable[row])}
        if row in unreadable
        else dict(zip(names, of_tile.tolist(), strict=True))
        for row, of_tile in enumerate(cells)
    )
    with replacing(out) as file:  # line by line: the text of a million tiles takes gigabytes
        file.writelines(line.encode() for line in geojson_lines(ids, outlines, properties))


def _write_table(out: Path, predicted: Predicted, threshold: Threshold | None) -> None:
    ids, names, cells, unreadable = predicted
    as_parquet = out.suffix.lower() == ".parquet"
    if threshold is None:
        (predictions_to_parquet if as_parquet else predictions_to_csv)(out, ids, names, cells, unreadable)
        return
    # A label file has the tiles that have labels.
    known = np.delete(np.arange(len(ids)), [*unreadable])
    labels, of_known = is_above(cells, threshold).astype(np.uint8)[known], Made(len(known), lambda row: ids[known[row]])
    if as_parquet:
        predictions_to_parquet(out, of_known, names, labels)
    else:
        rows = zip(of_known, labels, strict=True)
        write_csv(out, ("id", *names), ((tile, *row.tolist()) for tile, row in rows))


def main() -> None:
    """Reads the command line and predicts."""
    read_options(predict, "aljax predict", __doc__)
