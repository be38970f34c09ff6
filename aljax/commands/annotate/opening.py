"""The tiles of the rounds with all labels so far, and their features in place of pixels."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from aljax.annotation import round_files
from aljax.annotation.answers import Together, read_together
from aljax.annotation.labelling import (
    Labelling,
    split_labelled,
)
from aljax.annotation.unreadable import leave_out_unreadable
from aljax.commands.annotate.settings import AnnotationSettings
from aljax.data.apart import require_places
from aljax.data.archive import Archive
from aljax.data.archives.copies import warn_of_copies
from aljax.data.archives.folder import open_folder
from aljax.data.features.geometry import with_footprints
from aljax.data.features.reader import open_features
from aljax.data.labels import CsvLabels
from aljax.errors import InputError


def open_labelling(
    settings: AnnotationSettings, start: Mapping[Path, CsvLabels], classes: tuple[str, ...]
) -> tuple[Labelling, tuple[str, ...], Together]:
    """The archive with all labels so far, which it saves to labels.csv, its classes, and what people say of each tile.

    Raises InputError.
    """
    together = read_together(settings.run_dir, start, classes, settings.disagreement)
    labels = together.labels
    if labels is None:
        return split_labelled(open_tiles(settings, None), settings.test_blocks), classes, together
    archive = open_tiles(settings, together.for_archive)
    round_files.save_labels(settings.run_dir, labels, together.agreement)
    if settings.labels is not None:
        round_files.save_start(settings.run_dir, start)
    return split_labelled(archive, settings.test_blocks), labels.class_names, together


def open_tiles(settings: AnnotationSettings, labels: CsvLabels | None) -> Archive:
    """The readable tiles with their labels. Raises InputError."""
    archive = open_folder(settings.images, labels, settings.image_size, lenient=True)
    archive = leave_out_unreadable(settings.run_dir, settings.images, archive)
    flags = {"test_blocks": settings.test_blocks, "min_distance": settings.min_distance}
    archive = with_footprints(archive, settings.features, any(flags.values()))
    require_places(archive, **flags)
    warn_of_copies(archive.copy_of, archive.ids, archive.split)
    return archive


def on_features(settings: AnnotationSettings, labelling: Labelling) -> Labelling:
    """With --features, the same labelling with features in place of pixels. Raises InputError for missing features."""
    if settings.features is None:
        return labelling
    pictures, features = labelling.archive, open_features(settings.features, None)
    if tuple(pictures.ids) == tuple(features.ids):
        return replace(labelling, archive=replace(pictures, images=features.images, digest=features.digest))
    places = {tile: row for row, tile in enumerate(features.ids)}
    if missing := [tile for tile in pictures.ids if tile not in places]:
        raise InputError(
            f"{len(missing)} of {len(pictures.ids)} tiles have no features in {settings.features}, as {missing[0]}: "
            "make them with `aljax embed`, or move these tiles away"
        )
    rows = np.array([places[tile] for tile in pictures.ids])
    images = np.asarray(features.images)[rows]
    return replace(labelling, archive=replace(pictures, images=images, digest=features.digest))
