"""TreeSatAI, the paper's second archive: one query function, three trials (one curve of Figure 5).

    python -m experiments.treesatai --data-dir DIR --query ll --run-dir runs/treesatai-ll

DIR holds the files of Zenodo record 6780578 (aerial tiles of 60 m, labels and lists), or what aljax prepare made of
them. The defaults are the paper's: 45,330 labelled tiles of the published train list, of them 6,799 for validation and
a pool of 38,531; the 5,044 of the test list; 1,000 to 18,000 labels in steps of 1,000, 200 epochs per iteration. At
that size it is work for a GPU. Expected (Section III-C, cold start): micro F1 of 69.90 % at 18,000 labels with
LL+Clustering. A run that was stopped goes on when the same command is repeated.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aljax.commands.process import command, parse_settings, prepare_process
from aljax.data.archives.treesatai import open_treesatai
from aljax.data.storage import keep_tiles
from aljax.loop.settings import ArchiveSettings
from aljax.networks.densenet import DenseNet121
from aljax.runs.experiment import print_report, run_experiment
from aljax.training.recipe import Recipe


@dataclass(frozen=True)
class TreeSatAISettings(ArchiveSettings):
    """Settings of a run on TreeSatAI; the defaults are the paper's."""

    data_dir: Path = Path("data/treesatai")  # folder with the files as downloaded, or as aljax prepare made them
    run_dir: Path = Path("runs/treesatai")  # folder for history, curve, summary, checkpoints; a run there is continued
    start: Literal["cold", "warm"] = "cold"  # weights of an iteration: fresh, or those of the last one
    initial: int = 1000  # labelled tiles at the start
    budget: int = 1000  # b, tiles labelled per iteration
    multiplier: int = 4  # m, candidates for the clustering per tile of the budget
    max_labels: int = 18_000  # labelled tiles at which a trial ends
    image_size: int = 288  # height and width in pixels to which tiles are resized
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=200, batch_size=100, learning_rate=0.01))  # training


def main() -> None:
    """Reads the archive and runs."""
    settings = parse_settings(TreeSatAISettings, "python -m experiments.treesatai", __doc__)
    prepare_process()
    archive = open_treesatai(settings.data_dir, settings.image_size, settings.seed)
    archive = keep_tiles(archive, settings.tiles_in, settings.cache_dir)
    assert archive.split is not None
    histories = run_experiment(settings, archive, archive.split, DenseNet121(len(archive.class_names)))
    print_report(settings.run_dir, histories)


if __name__ == "__main__":
    command(main)
