"""Simulates annotation on an archive with labels for all tiles, with one query function.

    aljax run --images DIR --labels CSV --query mge --run-dir runs/mine
    aljax run --features FILE --labels CSV --query boundary --first coverage --run-dir runs/mine

DIR holds GeoTIFF, PNG or JPEG tiles of any band count in uint8, uint16 or float32, nested or not; DenseNet121 is
trained on them. FILE holds features of the tiles from a network that was trained elsewhere: a `.npy`, a `.npz` with
`ids` and `embeddings`, or Parquet with a column of ids and one of lists of floats; a head is trained on them in a
second. The CSV has a row per tile: `id,CLASS,CLASS,...` with cells 0, 1 or empty (unknown), or `id,labels` with class
names between semicolons; a column `split` (pool, validation, test) fixes the split, otherwise it is random. So you can
find out, before you label your own tiles with `aljax annotate`, how many labels each query function saves on a similar
archive. Repeat the same command to go on with a run that was stopped.

On a CPU with AMX or AVX512-BF16 `--engine openvino --engine-precision bfloat16` takes a fraction of the time to predict
the tiles, and chooses and measures by what it predicts; training stays as it is.

Where tiles have a georeference (GeoTIFF; with --features, the geometry of GeoParquet), those that share more than half
of their ground are in one part of a random split. --test-blocks METRES draws test and validation tiles in blocks, a
random tile and those around it, and leaves tiles nearer to them out of the pool (with a column split, only the latter).
--min-distance METRES keeps the tiles of a batch apart; if there are not so many, the batch has fewer. Both are
distances on the ground between the nearest points of two tiles: neighbours are 0 m apart.
"""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aljax.commands.on_features import FeatureSettings, choose_network
from aljax.commands.process import parse_settings, prepare_process
from aljax.data.apart import check_metres, keep_apart, require_places, split_apart, too_near, warn_of_left_out
from aljax.data.archive import Archive, Split, random_split
from aljax.data.archives.folder import open_folder
from aljax.data.archives.near_copies import warn_of_near_copies
from aljax.data.features.geometry import with_footprints
from aljax.data.features.reader import open_features
from aljax.data.storage import keep_tiles
from aljax.errors import InputError, InputWarning
from aljax.loop.settings import FEATURES
from aljax.runs.config import read_config
from aljax.runs.experiment import print_report, run_experiment, split_digest
from aljax.runs.processes import is_first


@dataclass(frozen=True, kw_only=True)
class OwnArchiveSettings(FeatureSettings):
    """Settings of a run on an archive of your own; the defaults are the paper's for UC Merced."""

    images: Path | None = None  # folder of the tiles, on which DenseNet121 is trained
    labels: Path  # CSV file of the labels
    label_separator: str = ";"  # between the class names of a cell, in a CSV with the columns id,labels
    validation_share: float = 0.15  # of the tiles, unless the CSV has a column split
    test_share: float = 0.2  # of the tiles, unless the CSV has a column split
    test_blocks: float = 0.0  # metres: draw test and validation tiles in blocks, no tile of the pool nearer to them
    run_dir: Path = Path("runs/archive")  # folder for history, curve, summary and checkpoints; an existing run goes on


def open_own(settings: OwnArchiveSettings) -> Archive:
    """The archive of tiles, or of their features, with the labels. Raises InputError."""
    if (settings.images is None) == (settings.features is None):
        raise InputError(
            "give either --images, a folder of tiles, or --features, a file of what a network made of them"
        )
    if settings.features is not None:
        return open_features(settings.features, settings.labels, settings.label_separator)
    assert settings.images is not None
    return open_folder(settings.images, settings.labels, settings.image_size, settings.label_separator)


def check_labels(settings: OwnArchiveSettings, archive: Archive) -> None:
    """Raises InputError if a tile has no labels, or a part of the label file's split no tile."""
    for name, indices in archive.split._asdict().items() if archive.split else ():
        if not len(indices):
            raise InputError(f"the column 'split' of {settings.labels} gives no tile to {name}: give it some")
    if archive.labelled is not None:
        without = [tile for tile, has_labels in zip(archive.ids, archive.labelled, strict=True) if not has_labels]
        raise InputError(
            f"{len(without)} of {len(archive.ids)} tiles have no labels in {settings.labels}, as {without[0]}: "
            "a simulated run needs labels for all; add them, move the tiles away, or label them with `aljax annotate`"
        )


def choose_split(settings: OwnArchiveSettings, archive: Archive) -> Split:
    """The split of the label file, or a random one. Raises InputError if a part would have no tile."""
    if archive.split is not None:
        return keep_users_split(settings, archive, archive.split)
    shares = {"--validation-share": settings.validation_share, "--test-share": settings.test_share}
    for flag, share in shares.items():
        if not 0.0 < share < 1.0:
            raise InputError(f"{flag} is {share}: it is a fraction of the tiles, above 0 and below 1")
    validation, test = (round(share * len(archive.ids)) for share in shares.values())
    before = random_split(settings.seed, len(archive.ids), validation, test, archive.copy_of)
    if settings.test_blocks == 0.0 and split_of_run(settings.run_dir) == split_digest(before):
        return before  # an older version began this run, and did not look at where tiles are
    split = split_apart(archive, settings.seed, validation, test, settings.test_blocks)
    warn_of_left_out(len(archive.ids) - sum(map(len, split)), len(archive.ids), settings.test_blocks)
    return split


def keep_users_split(settings: OwnArchiveSettings, archive: Archive, split: Split) -> Split:
    """The user's split, without the tiles of the pool that are too near to others if --test-blocks says how near.

    Warns of tiles of one place in two parts.
    """
    if settings.test_blocks > 0.0:
        apart = keep_apart(archive, split, settings.test_blocks)
        warn_of_left_out(len(split.pool) - len(apart.pool), len(archive.ids), settings.test_blocks)
        return apart
    near = split.pool[too_near(archive, np.concatenate([split.validation, split.test]))[split.pool]]
    if len(near):
        message = f"{len(near)} tiles of the pool show the place of test or validation tiles, as {archive.ids[near[0]]}"
        warnings.warn(InputWarning(f"{message}: give both the same part of the split"), stacklevel=2)
    return split


def split_of_run(run_dir: Path) -> str | None:
    """The digest of the split of a run that was begun; None if there is none, or it is not known."""
    return read_config(run_dir).get("split") if (run_dir / "config.json").exists() else None


def main() -> None:
    """Parses the command line, reads the archive and runs."""
    settings = parse_settings(OwnArchiveSettings, "aljax run", __doc__)
    prepare_process()
    flags = {"test_blocks": settings.test_blocks, "min_distance": settings.min_distance}
    check_metres(**flags)
    archive = open_own(settings)
    check_labels(settings, archive)
    archive = with_footprints(archive, settings.features, any(flags.values()))
    require_places(archive, **flags)
    split = choose_split(settings, archive)
    if settings.features is not None:
        settings = replace(settings, image_size=FEATURES)
    archive = keep_tiles(archive, settings.tiles_in, settings.cache_dir)
    if is_first() and not (settings.run_dir / "config.json").exists():
        warn_of_near_copies(archive, split.pool, np.concatenate([split.validation, split.test]))
    histories = run_experiment(settings, archive, split, choose_network(settings, len(archive.class_names)))
    print_report(settings.run_dir, histories)
