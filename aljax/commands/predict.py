"""Predicts the classes of new tiles with what a run has learnt: a CSV file, or a map of them.

    aljax predict --run-dir runs/mine/round-7 --images DIR --out predictions.csv
    aljax predict --run-dir runs/mine/round-7 --images DIR --out map.geojson
    aljax predict --run-dir runs/ucmerced-mge --images DIR --out labels.csv --threshold 0.5

The run may still be under way, or be a round of `aljax annotate`. Tiles are GeoTIFF, PNG
or JPEG files with the bands and the pixel type of those in training, nested or not, of any size; where their pixels are
far from those in training, that is told. A row for each tile has the probabilities of the classes, or 0 and 1 where a
--threshold is given: a label file that `aljax run` reads. In GeoJSON, which QGIS and the like open, the outline of each
tile with a georeference has them as its properties.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from aljax.commands.options import read_options
from aljax.commands.process import prepare_process
from aljax.data.archives.folder import open_folder
from aljax.data.geojson import Outline, geojson_text, read_outlines, require_outline
from aljax.data.labels import predictions_text, to_text
from aljax.errors import InputError
from aljax.runs.inference import load
from aljax.runs.run_dir import read_config
from aljax.system.files import check_output, disk_errors, write_atomically
from aljax.system.own_code import find_own
from aljax.training.prediction import predict_probabilities


def predict(
    run_dir: Path,
    images: Path,
    out: Path = Path("predictions.csv"),
    threshold: float | None = None,
    network: str = "",
) -> None:
    """Predicts and writes the file.

    Args:
        run_dir: folder of a run or a round
        images: folder of the tiles
        out: file to write, .csv or .geojson
        network: module:function of a run that was made with a network of your own
        threshold: probability above which a cell is 1, else 0; None: the probabilities themselves
    """
    if out.suffix.lower() not in (".csv", ".geojson"):
        raise InputError(f"--out {out} ends neither in .csv nor in .geojson: name such a file")
    check_output(out)
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise InputError(f"--threshold is {threshold}: it is a probability, from 0 to 1")
    prepare_process()
    own = find_own(network, "--network")(len(read_config(run_dir)["class_names"])) if network else None
    trained = load(run_dir, own)
    archive = open_folder(images, None, trained.image_size)
    outlines = None
    if out.suffix.lower() == ".geojson":
        outlines = read_outlines(archive)  # before the tiles are predicted, or that may be for nothing
        require_outline(outlines)
    tiles = trained.tiles(archive.images)
    batch_size = tiles.at_once
    with tqdm(total=math.ceil(tiles.num_tiles / batch_size), unit="batch", disable=None, leave=False) as bar:
        found = predict_probabilities(trained.model, trained.variables, tiles, batch_size, bar.update)
    text = _text(archive.ids, trained.class_names, found, threshold, outlines)
    with disk_errors(out):
        write_atomically(out, text)
    by = f"trained on {trained.num_labeled} tiles"
    print(f"{len(archive.ids)} tiles, {len(trained.class_names)} classes, by the network of {run_dir} ({by}): {out}")


def _text(
    ids: Sequence[str],
    class_names: Sequence[str],
    probabilities: Float[np.ndarray, "n c"],
    threshold: float | None,
    outlines: Sequence[Outline | None] | None,
) -> str:
    """What is written: probabilities, or 0 and 1, of each class and tile; on a map where there are outlines."""
    if threshold is None and outlines is None:
        return predictions_text(ids, class_names, probabilities)
    cells = probabilities.astype(float).round(4) if threshold is None else (probabilities > threshold).astype(int)
    if outlines is not None:
        return geojson_text(ids, outlines, (dict(zip(class_names, row, strict=True)) for row in cells.tolist()))
    return to_text(("id", *class_names), ((tile, *row) for tile, row in zip(ids, cells.tolist(), strict=True)))


def main() -> None:
    """Reads the command line and predicts."""
    read_options(predict, "aljax predict", __doc__)
