"""The whole system in a few minutes on two CPU cores, on generated land-use scenes.

    python -m experiments.quickstart

All four query functions choose tiles from the same pool; the curves show what choosing is worth against
labelling at random. The network is a small DenseNet and the tiles have 32 x 32 pixels, otherwise everything
is as for real archives. A run that was stopped goes on when the same command is repeated.
"""

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from aljax.commands.process import command, parse_settings, prepare_process
from aljax.data.archive import random_split
from aljax.data.generated.scenes import generate_scenes
from aljax.errors import InputError
from aljax.loop.settings import Settings
from aljax.networks.densenet import DenseNet
from aljax.runs.experiment import print_report, run_queries
from aljax.training.recipe import Recipe

VALIDATION_TILES = 100
TEST_TILES = 400
RECIPE = Recipe(epochs=32, batch_size=20, learning_rate=0.05, momentum=0.9)


@dataclass(frozen=True)
class QuickstartSettings(Settings):
    """Settings of the quickstart, small enough for two cores."""

    run_dir: Path = Path("runs/quickstart")  # a folder per query in it; a run that is there is continued
    query: tyro.conf.Fixed[str] = "random"  # all four, one after the other
    tiles: int = 2000  # generated scenes: 100 for validation, 400 for the test, the rest is the pool
    initial: int = 40  # labelled tiles at the start
    budget: int = 50  # b, tiles labelled per iteration
    max_labels: int = 240  # labelled tiles at which a trial ends
    image_size: int = 32  # height and width of the scenes in pixels
    recipe: Recipe = field(default_factory=lambda: RECIPE)


def main() -> None:
    """Generates the scenes and runs the four queries."""
    settings = parse_settings(QuickstartSettings, "python -m experiments.quickstart", __doc__)
    prepare_process()
    held_back = VALIDATION_TILES + TEST_TILES
    if settings.tiles <= held_back:
        raise InputError(f"--tiles is {settings.tiles}: give more than {held_back}, the tiles that measure")
    archive = generate_scenes(settings.tiles, settings.image_size, settings.seed)
    split = random_split(settings.seed, settings.tiles, VALIDATION_TILES, TEST_TILES)
    network = DenseNet(num_classes=len(archive.class_names), depths=(2, 2, 2), growth=16, stem_channels=16)
    histories = run_queries(settings, ("random", "ll", "tpd", "mge"), archive, split, network)
    print_report(settings.run_dir, histories)


if __name__ == "__main__":
    command(main)
