"""A run of an experiment script as a value: its command, and a name that only the same settings give.

A folder of runs with such names is a store: what several figures show is run once and read by each.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from aljax.loop.settings import WHERE_AND_WHEN, Settings
from aljax.training.weights import load_weights


@dataclass(frozen=True)
class PlannedRun:
    """Settings for a script, whose `run_dir` is the folder of all runs."""

    module: str
    settings: Settings

    @property
    def name(self) -> str:
        """Readable, and different for different settings: `ucmerced-mge-warm-b20-trial1-1f0c5a2b`."""
        settings = self.settings
        query = settings.query + ("" if settings.clustering or settings.query == "random" else "-alone")
        last = settings.first_trial + settings.trials - 1
        trials = f"trial{last}" if settings.trials == 1 else f"trials{settings.first_trial}-{last}"
        text = json.dumps(defining(settings), sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        archive = self.module.rpartition(".")[2]
        return f"{archive}-{query}-{settings.start}-b{settings.budget}-{trials}-{digest}"

    @property
    def run_dir(self) -> Path:
        return self.settings.run_dir / self.name

    def command(self) -> list[str]:
        """What runs it, or goes on with it."""
        return [sys.executable, "-m", self.module, *to_options(self.settings, {"run_dir": self.run_dir})]


def defining(settings: Settings) -> dict[str, Any]:
    """The settings that make a run this run, whatever part of the settings they are in, by name.

    Weights to start from count by their content, wherever they lie.
    """
    flat = asdict(settings)
    recipe = flat.pop("recipe")
    if settings.init_weights is not None:
        flat["init_weights"] = _content(settings.init_weights)
    return {name: value for name, value in {**flat, **recipe}.items() if name not in WHERE_AND_WHEN}


@cache
def _content(weights: Path) -> str:
    return load_weights(weights).sha256


def to_options(settings: Settings, replaced: Mapping[str, Any]) -> list[str]:
    """The options of a script that give it these settings: those that are not its defaults."""
    default = type(settings)()
    values = {**_flat(settings), **replaced}
    options = []
    for name, value in values.items():
        if value == _flat(default)[name]:
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            options += [f"--{flag}", str(value)]
    return options


def _flat(settings: Any) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        flat |= _flat(value) if is_dataclass(value) else {field.name: value}
    return flat
