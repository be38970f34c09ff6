"""A run small enough to make many of, for tests of how runs end and go on."""

from dataclasses import replace
from pathlib import Path

from conftest import make_archive, tiny_network

from aljax.checkpointing import RunStore
from aljax.data.archive import Archive, random_split
from aljax.experiment import run_experiment
from aljax.recipe import Recipe
from aljax.settings import Settings
from aljax.state import RunState

RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=0.05)


def settings(run_dir: Path, **changes) -> Settings:
    """Two epochs and tiles in steps of four; `checkpoint_seconds` 0 saves after every step."""
    sizes = {"trials": 1, "initial": 8, "budget": 4, "multiplier": 3, "max_labels": 16, "image_size": 32}
    return replace(Settings(run_dir=run_dir, query="tpd", recipe=RECIPE, checkpoint_seconds=0.0, **sizes), **changes)


def run(chosen: Settings, archive: Archive | None = None) -> None:
    archive = archive or make_archive()
    run_experiment(chosen, archive, random_split(chosen.seed, len(archive.ids), 10, 10), tiny_network())


class KilledError(Exception):
    """Ends a run as a kill does: nothing after the save is done."""


def run_until_save(chosen: Settings, last: int, monkeypatch) -> RunState:
    """Runs until the save of that number; the state that was saved then."""
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
            run(chosen)
        except KilledError:
            return saves[-1]
    raise AssertionError(f"the run ended after {len(saves)} saves")
