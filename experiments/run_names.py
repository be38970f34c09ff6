"""A run of an experiment script as a value: its command, and a name that is equal only for equal settings.

So a folder of runs with such names works as a cache: a run that several figures show is made once.
"""

import hashlib
import json
import sys
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from aljax.loop.settings import LATER, WHERE_AND_WHEN, Settings
from aljax.training.weights import load_weights


@dataclass(frozen=True)
class PlannedRun:
    """A script and its settings, in which `run_dir` is the folder of all runs."""

    module: str
    settings: Settings

    @cached_property
    def name(self) -> str:
        """A readable name with a hash of the settings: `ucmerced-mge-warm-b20-trial1-1f0c5a2b`."""
        settings = self.settings
        flat = {name: value for name, value in flatten(settings).items() if name not in WHERE_AND_WHEN}
        # Names by older versions do not contain settings that these did not have.
        defining = {name: value for name, value in flat.items() if not (name in LATER and value == LATER[name])}
        if settings.init_weights is not None:  # identified by content, not by path
            defining["init_weights"] = load_weights(settings.init_weights).sha256
        digest = hashlib.sha256(json.dumps(defining, sort_keys=True, default=str).encode()).hexdigest()[:8]
        query = settings.query + ("" if settings.clustering or settings.query == "random" else "-alone")
        last = settings.first_trial + settings.trials - 1
        trials = f"trial{last}" if settings.trials == 1 else f"trials{settings.first_trial}-{last}"
        return f"{self.module.rpartition('.')[2]}-{query}-{settings.start}-b{settings.budget}-{trials}-{digest}"

    @property
    def run_dir(self) -> Path:
        return self.settings.run_dir / self.name

    def command(self) -> list[str]:
        """The command that makes the run, or continues it."""
        return [sys.executable, "-m", self.module, *to_options(replace(self.settings, run_dir=self.run_dir))]


def to_options(settings: Settings) -> list[str]:
    """The command-line options that give a script these settings; defaults are left out."""
    default = flatten(type(settings)())
    options = []
    for name, value in flatten(settings).items():
        flag = name.replace("_", "-")
        if value == default[name]:
            continue
        if isinstance(value, bool):
            options.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            options += [f"--{flag}", str(value)]
    return options


def flatten(settings: Settings) -> dict[str, Any]:
    """All settings by name, those of the recipe included."""
    flat: dict[str, Any] = {}
    for name, value in asdict(settings).items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat
