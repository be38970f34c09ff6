"""Damages every file of a run, one at a time, repeats the command, and reports the outcome.

    python -m tools.damage_test

A small run on generated scenes is stopped inside the training of its second iteration, and another one is finished.
Each file of either is changed in one bit, cut in half or emptied, in a copy. Repeated, the command must then refuse
with a message, or end with what it would have left without the damage. Prints a row per file and exits with status 1 if
damage went unnoticed and did harm.
"""

import contextlib
import io
import itertools
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np

from aljax.commands.options import read_options
from aljax.commands.process import command, prepare_process
from aljax.data.archive import random_split
from aljax.data.generated.scenes import generate_scenes
from aljax.errors import InputError, InputWarning
from aljax.loop.settings import Settings
from aljax.loop.state import RunState, Training
from aljax.networks.densenet import DenseNet
from aljax.runs.experiment import run_experiment
from aljax.runs.probabilities import FOLDER
from aljax.runs.run_dir import RunStore
from aljax.system.files import LOCK
from aljax.system.locking import WRITER
from aljax.training.recipe import Recipe
from tools.run_contents import contents, differences

SEED = 0
Resume = Callable[[Path], object]
"""Repeats the command on the run in a folder."""


def flip_a_bit(data: bytes, rng: np.random.Generator) -> bytes:
    """Changes one bit at a random place."""
    bits = bytearray(data)
    bits[int(rng.integers(len(bits)))] ^= 1 << int(rng.integers(8))
    return bytes(bits)


DAMAGES: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "bit flipped": flip_a_bit,
    "cut in half": lambda data, rng: data[: len(data) // 2],
    "emptied": lambda data, rng: b"",
}
WRONG = "UNNOTICED, WRONG"


def outcome(run_dir: Path, resume: Resume, expected: dict[str, object]) -> str:
    """The outcome of repeating the command on a damaged run."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InputWarning)
        try:
            resume(run_dir)
        except InputError:
            return "refused"
    warned = any(issubclass(warning.category, InputWarning) for warning in caught)
    if differences(contents(run_dir), expected):
        return "warned, differs" if warned else WRONG
    return "warned, made good" if warned else "made good"


def outcomes(
    run_dir: Path, resume: Resume, expected: dict[str, object], scratch: Path, each: int = len(DAMAGES)
) -> Iterator[tuple[str, list[str]]]:
    """For each non-empty file of a run, the outcomes of `each` kinds of damage; the kinds are taken in turn."""
    rng, damages = np.random.default_rng(SEED), itertools.cycle(DAMAGES.values())
    files = (path for path in run_dir.rglob("*") if path.is_file() and path.stat().st_size)
    # No run goes on from its probabilities: who reads them is told of damage, by the checksums of the zip.
    for path in sorted(path for path in files if FOLDER not in path.parts):
        found = []
        for damage in itertools.islice(damages, each):
            shutil.copytree(run_dir, scratch)
            (scratch / path.relative_to(run_dir)).write_bytes(damage(path.read_bytes(), rng))
            found.append(outcome(scratch, resume, expected))
            shutil.rmtree(scratch)
        yield path.relative_to(run_dir).as_posix(), found


def make_runs(run: Resume, finished: Path, stopped: Path) -> None:
    """Makes a run and, while it trains in its second iteration, a copy as a stop would leave it there."""
    save = RunStore.save

    def save_and_copy(store: RunStore, state: RunState) -> None:
        save(store, state)
        if state.iteration == 2 and isinstance(state.stage, Training) and not stopped.exists():
            shutil.copytree(finished, stopped, ignore=shutil.ignore_patterns(WRITER, LOCK))

    with patch.object(RunStore, "save", save_and_copy):
        run(finished)


def main() -> None:
    """Makes the runs, damages them and prints the table."""
    read_options(lambda: None, "python -m tools.damage_test", __doc__)
    prepare_process()
    archive = generate_scenes(140, 32, SEED)
    split = random_split(SEED, len(archive.ids), 30, 30)
    network = DenseNet(num_classes=len(archive.class_names), depths=(2, 2), growth=8, stem_channels=8)
    settings = Settings(query="tpd", trials=1, initial=10, budget=10, max_labels=30, image_size=32)
    settings = replace(settings, checkpoint_seconds=0.0, recipe=Recipe(epochs=3, batch_size=10))

    def run(run_dir: Path) -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            run_experiment(replace(settings, run_dir=run_dir), archive, split, network)

    wrong = False
    with tempfile.TemporaryDirectory() as temporary:
        finished, stopped, scratch = (Path(temporary, name) for name in ("finished", "stopped", "damaged"))
        make_runs(run, finished, stopped)
        expected = contents(finished)
        for run_dir in (stopped, finished):
            print(f"{run_dir.name + ' run':<72}" + "".join(f"{name:>18}" for name in DAMAGES))
            for name, found in outcomes(run_dir, run, expected, scratch):
                print(f"{name:<72}" + "".join(f"{result:>18}" for result in found), flush=True)
                wrong |= WRONG in found
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    command(main)
