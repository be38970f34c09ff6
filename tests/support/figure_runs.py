"""The runs of the paper's figures, made in the test's own process on noise."""

from dataclasses import replace

import tyro
from small_runs import RECIPE
from tiny import make_archive, tiny_network

from aljax.data.archive import random_split
from aljax.loop.settings import Settings
from aljax.runs.experiment import run_experiment
from aljax.system.side_by_side import Job, Place
from experiments import figures, scales
from experiments.treesatai import TreeSatAISettings
from experiments.ucmerced import UCMercedSettings

TINY = {"image_size": 32, "initial": 8, "budget": 4, "max_labels": 16, "recipe": RECIPE}
SCRIPTS = {"experiments.ucmerced": UCMercedSettings, "experiments.treesatai": TreeSatAISettings}


def parse(kind: type[Settings], options: list[str]) -> Settings:
    return tyro.cli(kind, args=options, config=(tyro.conf.OmitArgPrefixes, tyro.conf.SuppressFixed))


def make_runs_here(monkeypatch) -> list[str]:
    """Has the figures' runs made in this process, with a tiny network; returns the names of those made so far."""
    names: list[str] = []

    def run_here(jobs: list[Job], places: list[Place], on_poll) -> None:
        for number, job in enumerate(jobs, start=1):
            _, _, script, *options = job.command
            chosen = parse(SCRIPTS[script], options)
            archive = replace(make_archive(), name=script.rpartition(".")[2])
            run_experiment(chosen, archive, random_split(chosen.seed, 60, 10, 10), tiny_network())
            names.append(chosen.run_dir.name)
            on_poll(number)

    monkeypatch.setattr(scales, "SMALL", {"UC Merced": TINY, "TreeSatAI": TINY})
    monkeypatch.setattr(figures, "find_places", lambda count: [Place({})])
    monkeypatch.setattr(figures, "run_jobs", run_here)
    return names
