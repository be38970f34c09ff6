"""UC Merced, the paper's first archive: one query function, three trials (one curve of Figure 4).

    python -m experiments.ucmerced --data-dir DIR --query mge --run-dir runs/ucmerced-mge

DIR holds UCMerced_LandUse (or its zip) and LandUse_Multilabeled.txt (or multilabels.zip), or what aljax prepare made
of them. The defaults are the paper's: 525 validation tiles, 525 test tiles and a pool of 1050, 40 to 400 labels in
steps of 20, 100 epochs per iteration. Expected (Section III-C): micro F1 of 79.87 % at 200 labels and 85.81 % at 400
with MGE+Clustering, warm start. A run that was stopped goes on when the same command is repeated.
"""

from dataclasses import dataclass
from pathlib import Path

from aljax.commands.process import command, parse_settings, prepare_process
from aljax.data.archive import random_split
from aljax.data.archives.ucmerced import SPLIT_SIZES, open_ucmerced
from aljax.data.storage import keep_tiles
from aljax.loop.settings import ArchiveSettings
from aljax.networks.densenet import DenseNet121
from aljax.runs.experiment import print_report, run_experiment


@dataclass(frozen=True)
class UCMercedSettings(ArchiveSettings):
    """Settings of a run on UC Merced; the defaults are the paper's."""

    data_dir: Path = Path("data/ucmerced")  # folder with UCMerced_LandUse and LandUse_Multilabeled.txt, or their zips
    run_dir: Path = Path("runs/ucmerced")  # folder for history, curve, summary, checkpoints; a run there is continued


def main() -> None:
    """Reads the archive and runs."""
    settings = parse_settings(UCMercedSettings, "python -m experiments.ucmerced", __doc__)
    prepare_process()
    archive = open_ucmerced(settings.data_dir, settings.image_size)
    archive = keep_tiles(archive, settings.tiles_in, settings.cache_dir)
    split = random_split(settings.seed, len(archive.ids), *SPLIT_SIZES)
    histories = run_experiment(settings, archive, split, DenseNet121(len(archive.class_names)))
    print_report(settings.run_dir, histories)


if __name__ == "__main__":
    command(main)
