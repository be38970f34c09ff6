"""Your own archive: a folder of tiles and a CSV with all their labels, one query function, simulated annotation.

    aljax run --images DIR --labels CSV --query mge --run-dir runs/mine

DIR holds GeoTIFF, PNG or JPEG tiles of any band count in uint8, uint16 or float32, nested or not. The CSV has a
row per tile: `id,CLASS,CLASS,...` with cells 0 or 1, or `id,labels` with class names between semicolons; a column
`split` (pool, validation, test) fixes the split, otherwise it is drawn. Before you spend a budget this tells what
each query function would have saved on an archive like yours; `aljax annotate` is for spending it. A run that was
stopped goes on when the same command is repeated.
"""

from dataclasses import dataclass
from pathlib import Path

from aljax.commands.process import parse_settings, prepare_process
from aljax.data.archive import Archive, Split, random_split
from aljax.data.archives.folder import open_folder
from aljax.data.storage import keep_tiles
from aljax.errors import InputError
from aljax.loop.settings import ArchiveSettings
from aljax.networks.densenet import DenseNet121
from aljax.runs.experiment import print_report, run_experiment


@dataclass(frozen=True, kw_only=True)
class OwnArchiveSettings(ArchiveSettings):
    """Settings of a run on an archive of your own; the defaults are the paper's for UC Merced."""

    images: Path  # folder of the tiles
    labels: Path  # CSV file of the labels
    label_separator: str = ";"  # between the class names of a cell, in a CSV with the columns id,labels
    validation_share: float = 0.15  # of the tiles, unless the CSV has a column split
    test_share: float = 0.2  # of the tiles, unless the CSV has a column split
    run_dir: Path = Path("runs/archive")  # folder for history, curve, summary, checkpoints; a run there is continued


def choose_split(settings: OwnArchiveSettings, archive: Archive) -> Split:
    """The split of the label file, or a random one. Raises InputError if a tile has no labels, or a part no tile."""
    for name, indices in archive.split._asdict().items() if archive.split else ():
        if not len(indices):
            raise InputError(f"the column 'split' of {settings.labels} gives no tile to {name}: give it some")
    if archive.labelled is not None:
        without = [tile for tile, known in zip(archive.ids, archive.labelled, strict=True) if not known]
        raise InputError(
            f"{len(without)} of {len(archive.ids)} tiles have no row in {settings.labels}, as {without[0]}: "
            "a simulated run needs labels for all; add them, move the tiles away, or label them with `aljax annotate`"
        )
    if archive.split is not None:
        return archive.split
    shares = {"--validation-share": settings.validation_share, "--test-share": settings.test_share}
    for flag, share in shares.items():
        if not 0.0 < share < 1.0:
            raise InputError(f"{flag} is {share}: it is a fraction of the tiles, above 0 and below 1")
    sizes = [round(share * len(archive.ids)) for share in shares.values()]
    return random_split(settings.seed, len(archive.ids), *sizes)


def main() -> None:
    """Reads the archive and runs."""
    settings = parse_settings(OwnArchiveSettings, "aljax run", __doc__)
    prepare_process()
    archive = open_folder(settings.images, settings.labels, settings.image_size, settings.label_separator)
    split = choose_split(settings, archive)
    archive = keep_tiles(archive, settings.tiles_in, settings.cache_dir)
    histories = run_experiment(settings, archive, split, DenseNet121(len(archive.class_names)))
    print_report(settings.run_dir, histories)
