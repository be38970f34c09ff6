"""What the passes of a fitted model have found so far, in files that are added to while they go on.

`shards/000003-pool.npz` has what the pass over the pool found between two saves: its tiles' probabilities where they
are wanted, and the tiles that came into the shortlist. A checkpoint each time would write all of that again, and the
weights. Shards belong to the newest checkpoint, which has the fitted model, and are removed with the next one.
"""

import hashlib
import shutil
import warnings
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aljax.errors import InputWarning
from aljax.loop.passes import Pass, Shard
from aljax.loop.state import Fitted, RunState
from aljax.runs.checkpoints import SUFFIX, Checkpoint
from aljax.runs.packing import unpack
from aljax.system.files import replacing
from aljax.training.recipe import Recipe

FOLDER = "shards"
# The entry that says which checkpoint a shard belongs to.
OF = "checkpoint"


class Kept(NamedTuple):
    """The sound shards of a checkpoint."""

    number: int
    by_pass: dict[str, list[Shard]]
    """Those of each pass, oldest first."""


def restore_state(run_dir: Path, newest: Checkpoint, recipe: Recipe) -> tuple[RunState, int]:
    """The state of a run's newest checkpoint, with the number of its shards, which a fitted model may have."""
    state = unpack(newest.vectors, newest.facts, recipe)
    if not isinstance(state.stage, Fitted):
        return state, 0
    kept = read_shards(run_dir, newest.number)
    return state._replace(stage=Fitted(kept.by_pass)), kept.number


def read_shards(run_dir: Path, checkpoint: int) -> Kept:
    """The shards of a checkpoint, up to the first damaged one, of which it warns."""
    own, by_pass = _digest(run_dir, checkpoint), dict[str, list[Shard]]()
    for number in count(1):
        path = next((run_dir / FOLDER).glob(f"{number:06d}-*.npz"), None)
        if path is None:
            break
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                shard = dict(arrays)
            is_own = str(shard.pop(OF)) == own
        except Exception as error:  # zip, NumPy and the disk have errors of many kinds
            warnings.warn(
                InputWarning(f"{path} is damaged ({error}): what it has of a pass over the tiles is done again"),
                stacklevel=2,
            )
            break
        if not is_own:
            break
        by_pass.setdefault(path.stem.partition("-")[2], []).append(shard)
    return Kept(number - 1, by_pass)


def add_shards(run_dir: Path, checkpoint: int, number: int, passes: Mapping[str, Pass]) -> int:
    """Writes what is new in the passes after the first `number` shards; returns how many there are now."""
    (run_dir / FOLDER).mkdir(exist_ok=True)
    own = np.array(_digest(run_dir, checkpoint))
    for name, under_way in passes.items():
        if (shard := under_way.take_new()) is not None:
            number += 1
            with replacing(run_dir / FOLDER / f"{number:06d}-{name}.npz") as file:
                np.savez(file, allow_pickle=False, **{OF: own, **shard})
    return number


def remove_shards(run_dir: Path, after: int = 0) -> None:
    """Removes all files but the first shards, so many as `after` says; with these also the folder."""
    folder = run_dir / FOLDER
    if not after:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.iterdir():
        number = path.stem.partition("-")[0]
        if not (number.isdecimal() and int(number) <= after):
            path.unlink()


def _digest(run_dir: Path, checkpoint: int) -> str:
    """Tells a checkpoint from others, also from those that have had its number."""
    return hashlib.sha256((run_dir / "checkpoints" / f"{checkpoint}{SUFFIX}").read_bytes()).hexdigest()
