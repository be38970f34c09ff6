"""The paper's two archives, at the paper's scale or at one for two CPU cores."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from aljax.loop.settings import Settings
from aljax.training.recipe import Recipe
from experiments.treesatai import TreeSatAISettings
from experiments.ucmerced import UCMercedSettings

ArchiveName = Literal["UC Merced", "TreeSatAI"]
Scale = Literal["paper", "small"]

PAPER: Mapping[ArchiveName, Settings] = {"UC Merced": UCMercedSettings(), "TreeSatAI": TreeSatAISettings()}
# Not below 64 pixels: with 32 the maps of the last dense block have one pixel, a batch statistic is that of ten values,
# and the scores jump from one iteration to the next. As many steps for few labels as for many.
SMALL_RECIPE = Recipe(steps=160)
SMALL: Mapping[ArchiveName, Mapping[str, Any]] = {
    "UC Merced": {"image_size": 64, "max_labels": 200, "recipe": SMALL_RECIPE},
    "TreeSatAI": {"image_size": 64, "initial": 80, "budget": 80, "max_labels": 400, "recipe": SMALL_RECIPE},
}


def scaled_settings(archive: ArchiveName, scale: Scale) -> Settings:
    """The settings of the archive's script: its defaults, which are the paper's, or those of the small scale."""
    return replace(PAPER[archive], **SMALL[archive]) if scale == "small" else PAPER[archive]


def short(archive: ArchiveName) -> str:
    """The archive's name as in its script, options, files and configurations: `ucmerced`."""
    return archive.lower().replace(" ", "")
