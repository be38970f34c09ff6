"""A run small enough to make many of, for tests of how runs end and go on."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tiny import make_archive, tiny_network

from aljax.data.archive import Archive, random_split
from aljax.loop.settings import Settings
from aljax.loop.state import RunState
from aljax.runs.checkpoints import list_checkpoints
from aljax.runs.experiment import run_experiment
from aljax.runs.run_dir import RunStore
from aljax.training.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=0.05)


def settings(run_dir: Path, **changes) -> Settings:
    """Two epochs, tiles in steps of four, saved after each iteration; `checkpoint_seconds` 0 saves after each step."""
    sizes = {"trials": 1, "initial": 8, "budget": 4, "multiplier": 3, "max_labels": 16, "image_size": 32}
    return replace(Settings(run_dir=run_dir, query="tpd", recipe=RECIPE, checkpoint_seconds=1e9, **sizes), **changes)


def run(chosen: Settings, archive: Archive | None = None) -> None:
    archive = archive or make_archive()
    run_experiment(chosen, archive, random_split(chosen.seed, len(archive.ids), 10, 10), tiny_network())


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from small_runs import run, settings
from aljax.commands.process import command
command(lambda: run(settings(Path(sys.argv[1]), checkpoint_seconds=float(sys.argv[3]))))
"""


def as_process(folder: Path, checkpoint_seconds: float) -> list[str]:
    """The command of a process that, started in `folder`, makes the run in `folder / "run"`."""
    (folder / "experiment.py").write_text(SCRIPT)
    return [sys.executable, "experiment.py", "run", str(Path(__file__).parent), str(checkpoint_seconds)]


def kill_after_saves(folder: Path, saves: int, environment: Mapping[str, str] = os.environ) -> None:
    """Starts the run as a process, and kills it when it has made a checkpoint of that number."""
    arguments = as_process(folder, 0.0)
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL, cwd=folder, env=environment) as process:
        while process.poll() is None and max(list_checkpoints(folder / "run" / "checkpoints"), default=0) < saves:
            time.sleep(0.0005)
        process.kill()
    assert not (folder / "run" / "summary.json").exists()


class KilledError(Exception):
    """Ends a run as a kill does: nothing after the save is done."""


def run_until_save(chosen: Settings, last: int, monkeypatch) -> RunState:
    """Runs, saving after every step, until the save of that number; the state that was saved then."""
    saves: list[RunState] = []
    save = RunStore.save

    def save_and_die(store: RunStore, state: RunState) -> None:
        save(store, state)
        saves.append(state)
        if len(saves) == last:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "save", save_and_die)
        try:
            run(replace(chosen, checkpoint_seconds=0.0))
        except KilledError:
            return saves[-1]
    raise AssertionError(f"the run ended after {len(saves)} saves")
