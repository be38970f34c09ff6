"""Writes what a run has learnt as a file that other tools read and run: in ONNX, which needs no aljax and no Python.

    aljax export --run-dir runs/mine/round-7 --to onnx --out model.onnx

The run may still be under way, or be a round of `aljax annotate`. Input is `images`, float32 (tiles, bands, size,
size): any number of tiles, in the size of the run, bands before rows as GDAL reads them, pixels as files store them;
they are standardised inside. Of a run on features it is `features`, float32 (tiles, dimensions). Outputs are
`probabilities` (tiles, classes), `embeddings` (tiles, dimensions) and, with --query ll, `predicted_losses` (tiles,), as
`aljax predict` computes them but for rounding. The file's metadata have the names of classes and their thresholds.
"""

from pathlib import Path
from typing import Any, Literal

from aljax.commands.options import read_options
from aljax.errors import InputError
from aljax.loop.settings import FEATURES
from aljax.networks.model import last_layer
from aljax.runs.config import read_config
from aljax.runs.inference import Classifier, load
from aljax.system.files import check_output, disk_errors, write_atomically

Format = Literal["onnx"]


def export(run_dir: Path, to: Format = "onnx", out: Path = Path("model.onnx")) -> None:
    """Writes the file and says what it takes and gives.

    Args:
        run_dir: folder of a run or a round
        to: format of the file
        out: file to write, .onnx
    """
    if out.suffix.lower() != f".{to}":
        raise InputError(f"--out {out} does not end in .{to}: name such a file")
    check_output(out)
    trained = load_exportable(run_dir)
    try:
        from aljax.engines.onnx_file import to_onnx
    except ImportError as error:
        raise InputError(f"aljax export needs onnx ({error}): pip install 'aljax[onnx]'") from error
    content = to_onnx(trained.model, trained.variables, trained.statistics, trained.image_size, describe(trained))
    with disk_errors(out):
        write_atomically(out, content)
    print(f"{account(trained)}: {out}")


def load_exportable(run_dir: Path) -> Classifier:
    """The newest fitted model of a run. Raises InputError for a network of the user's own, too."""
    if own := read_config(run_dir).get("network"):
        raise InputError(
            f"the run was made with the network {own['class']}, which aljax cannot write as ONNX: export it by "
            "jax2onnx, with the variables of aljax.load"
        )
    return load(run_dir)


def describe(trained: Classifier) -> dict[str, Any]:
    """What the file says of itself, beside the shapes of what goes in and comes out."""
    about = {
        "class_names": trained.class_names,
        "bands": len(trained.statistics.mean),
        "tiles_trained_on": trained.num_labeled,
    }
    if trained.image_size != FEATURES:
        about |= {"image_size": trained.image_size, "resize": "bilinear, with antialiasing when shrinking"}
    if trained.pixel_type is not None:
        about["pixel_type"] = trained.pixel_type
    if trained.thresholds is not None:
        about |= {"threshold": trained.thresholds.validation, "class_thresholds": trained.thresholds.classes}
    return about


def account(trained: Classifier) -> str:
    """What goes in and what comes out."""
    bands, size = len(trained.statistics.mean), trained.image_size
    given = f"features (tiles, {bands})" if size == FEATURES else f"images (tiles, {bands}, {size}, {size})"
    dimension, classes = last_layer(trained.variables)["kernel"].shape
    losses = " and predicted_losses (tiles,)" if trained.model.loss_head else ""
    joined = "," if losses else " and"
    made = f"probabilities (tiles, {classes}){joined} embeddings (tiles, {dimension}){losses}"
    return f"float32 {given} give {made}"


def main() -> None:
    """Parses the command line and exports."""
    read_options(export, "aljax export", __doc__)
