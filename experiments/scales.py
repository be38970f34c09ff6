"""The paper's two archives, at the paper's scale or at one for two CPU cores."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from aljax.data.archives.treesatai import GENERATED
from aljax.loop.settings import Settings
from aljax.training.recipe import Recipe
from experiments.treesatai import TreeSatAISettings
from experiments.ucmerced import UCMercedSettings

ArchiveName = Literal["UC Merced", "TreeSatAI"]
Scale = Literal["paper", "small"]

SCRIPTS: Mapping[ArchiveName, str] = {"UC Merced": "experiments.ucmerced", "TreeSatAI": "experiments.treesatai"}
PAPER: Mapping[ArchiveName, Settings] = {"UC Merced": UCMercedSettings(), "TreeSatAI": TreeSatAISettings()}
# 64 pixels are the least: with 32 the last dense block is one pixel wide, its batch statistics are those of ten values
# each, and the scores jump from one iteration to the next.
SMALL: Mapping[ArchiveName, Mapping[str, Any]] = {
    "UC Merced": {"image_size": 64, "max_labels": 120, "recipe": Recipe(epochs=20)},
    "TreeSatAI": {"image_size": 64, "initial": 80, "budget": 80, "max_labels": 240, "recipe": Recipe(epochs=12)},
}


def scaled_settings(archive: ArchiveName, scale: Scale) -> Settings:
    """The settings of the archive's script: its defaults, which are the paper's, or those of the small scale."""
    return replace(PAPER[archive], **SMALL[archive]) if scale == "small" else PAPER[archive]


def describe_sizes(archive: ArchiveName, scale: Scale, settings: Settings, data_dir: Path) -> str:
    """In words, for titles: "64 px, 20 epochs, up to 120 labels"."""
    # A picture must not pass off tiles that a program drew as the real ones; the small scale is made for them.
    where = ""
    if (data_dir / GENERATED).exists():
        where = "generated tiles in this format, "
    elif (archive, scale) == ("TreeSatAI", "small"):
        where = "an archive in this format, "
    epochs = f"{settings.recipe.epochs} epoch{'s' if settings.recipe.epochs > 1 else ''}"
    return f"{where}{settings.image_size} px, {epochs}, up to {settings.max_labels} labels"
