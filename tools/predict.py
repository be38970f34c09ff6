"""Predicts the classes of new tiles with what a run has learnt, as a CSV file with a row for each tile.

    python -m tools.predict runs/mine/round-7 --images DIR --out predictions.csv
    python -m tools.predict runs/ucmerced-mge --images DIR --out labels.csv --threshold 0.5

RUN is the folder of a run, which may still be under way, or of a round of experiments.annotate. Tiles are GeoTIFF, PNG
or JPEG files with the bands of those in training, nested or not, of any size. Cells are probabilities, or 0 and 1 where
a --threshold is given: a label file that experiments.archive reads.
"""

import math
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from aljax.data.folder import open_folder
from aljax.data.labels import predictions_text, to_text
from aljax.errors import InputError
from aljax.experiment import command, prepare_process
from aljax.files import disk_errors, write_atomically
from aljax.inference import load
from aljax.options import read_options
from aljax.prediction import predict_probabilities, suitable_batch_size


def predict(
    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")],
    images: Path,
    out: Path = Path("predictions.csv"),
    threshold: float | None = None,
) -> None:
    """Predicts and writes the file.

    Args:
        run: folder of a run or a round
        images: folder of the tiles
        out: CSV file to write
        threshold: probability above which a cell is 1, else 0; None: the probabilities themselves
    """
    if out.suffix.lower() != ".csv":
        raise InputError(f"--out {out} does not end in .csv: name a CSV file")
    if not out.parent.is_dir():
        raise InputError(f"--out {out} is in a folder that is not there: make it or name another file")
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise InputError(f"--threshold is {threshold}: it is a probability, from 0 to 1")
    prepare_process()
    trained = load(run)
    archive = open_folder(images, None, trained.image_size)
    tiles = trained.tiles(archive.images)
    batch_size = suitable_batch_size(tiles)
    with tqdm(total=math.ceil(tiles.num_tiles / batch_size), unit="batch", disable=None, leave=False) as bar:
        found = predict_probabilities(trained.model, trained.variables, tiles, batch_size, bar.update)
    if threshold is None:
        text = predictions_text(archive.ids, trained.class_names, found)
    else:
        rows = ((tile, *row) for tile, row in zip(archive.ids, (found > threshold).astype(int).tolist(), strict=True))
        text = to_text(("id", *trained.class_names), rows)
    with disk_errors(out):
        write_atomically(out, text)
    by = f"trained on {trained.num_labeled} tiles"
    print(f"{len(archive.ids)} tiles, {len(trained.class_names)} classes, by the network of {run} ({by}): {out}")


def main() -> None:
    """Reads the command line and predicts."""
    read_options(predict, "tools.predict", __doc__)


if __name__ == "__main__":
    command(main)
