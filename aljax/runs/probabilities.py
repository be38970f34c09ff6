"""What each iteration of a run predicts of its validation and test tiles, in files of NumPy.

`probabilities/trial-1/iteration-2.npz` has the arrays `validation` and `test`, a row per tile in the order of the split
and a column per class, in float32 as the network gives them: float16 would round them to steps of up to 1/2048, onto
thresholds and each other, and scores made from the file would not be those of the history.
"""

from pathlib import Path

import numpy as np

from aljax.errors import InputError
from aljax.loop.state import Measured
from aljax.system.files import remove_leftovers, replacing

FOLDER = "probabilities"


def probabilities_file(run_dir: Path, trial: int, iteration: int) -> Path:
    """The file of an iteration of a trial; both count from 1."""
    return run_dir / FOLDER / f"trial-{trial}" / f"iteration-{iteration}.npz"


def write_probabilities(run_dir: Path, trial: int, iteration: int, measured: Measured) -> None:
    """Writes the file whole, and the same bytes for the same numbers: NumPy's zips have no time."""
    path = probabilities_file(run_dir, trial, iteration)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        np.savez(file, **measured._asdict())


def read_probabilities(run_dir: Path, trial: int, iteration: int) -> Measured:
    """What `write_probabilities` wrote. Raises InputError if the file is not there or damaged."""
    path = probabilities_file(run_dir, trial, iteration)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Measured(*(arrays[name] for name in Measured._fields))
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there: bring it back") from error
    except Exception as error:  # zip, NumPy and the disk have errors of many kinds
        raise InputError(f"{path} is damaged ({error}): bring it back") from error


def remove_unfinished(run_dir: Path) -> None:
    """Removes what a process left that was killed while it wrote one."""
    for folder in (run_dir / FOLDER).glob("trial-*"):
        remove_leftovers(folder)
