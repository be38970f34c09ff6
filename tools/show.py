"""Looks at an archive: a contact sheet with ids and labels, and the tiles of each class in each part of the split.

    python -m tools.show --data-dir DIR --out sheet.png
    python -m tools.show --data-dir DIR --labels labels.csv --bands 4,1,2

DIR holds UC Merced or TreeSatAI as they are downloaded or prepared, or is a folder of your own tiles. Tiles of four
bands are shown in false colour: those of TreeSatAI as infrared, red and green.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from aljax.contact_sheet import class_table, contact_sheet
from aljax.data.archive import Archive
from aljax.data.open import open_archive
from aljax.errors import InputError
from aljax.experiment import command


@dataclass(frozen=True)
class ShowSettings:
    """What to show."""

    data_dir: Path  # folder of the archive
    labels: Path | None = None  # CSV file with the labels of your own tiles
    label_separator: str = ";"  # between the class names of a cell, in a CSV with the columns id,labels
    out: Path = Path("sheet.png")  # PNG file for the contact sheet
    tiles: int = 24  # tiles on the sheet, drawn at random
    label: str = ""  # only tiles of this class
    bands: str = ""  # bands shown as red, green and blue, counted from 1, such as 4,1,2, or one band for grey
    image_size: int = 256  # height and width in pixels at which tiles are shown
    seed: int = 0  # of the tiles that are drawn and of a random split


def choose_tiles(settings: ShowSettings, archive: Archive) -> np.ndarray:
    """Tiles at random, of the class that was asked for. Raises InputError if there are none."""
    candidates = np.arange(len(archive.ids))
    if settings.label:
        if settings.label not in archive.class_names:
            known = ", ".join(archive.class_names) or "none"
            raise InputError(f"--label {settings.label} is not a class of {archive.name} ({known}): name one of them")
        candidates = np.flatnonzero(archive.labels[:, archive.class_names.index(settings.label)])
    if settings.tiles < 1 or not len(candidates):
        raise InputError(f"--tiles {settings.tiles} of {len(candidates)} leaves nothing to show: ask for others")
    order = np.random.default_rng(settings.seed).permutation(candidates)
    return order[: settings.tiles]


def choose_bands(settings: ShowSettings, archive: Archive) -> tuple[int, ...]:
    """Indices of one or three bands. Raises InputError."""
    count = archive.images.shape[-1]
    if not settings.bands:
        if archive.name == "treesatai":
            return 0, 3, 2
        return (0, 1, 2) if count >= 3 else (0,)
    try:
        bands = tuple(int(band) - 1 for band in settings.bands.split(","))
    except ValueError as error:
        raise InputError(f"--bands is {settings.bands!r}: give numbers between commas, such as 4,1,2") from error
    if len(bands) not in (1, 3) or not all(0 <= band < count for band in bands):
        raise InputError(f"--bands is {settings.bands!r}: give one or three numbers from 1 to {count}")
    return bands


def main() -> None:
    """Writes the sheet and prints the counts."""
    settings = tyro.cli(ShowSettings, prog="python -m tools.show", description=__doc__)
    archive = open_archive(
        settings.data_dir, settings.image_size, settings.seed, settings.labels, settings.label_separator
    )
    tiles, bands = choose_tiles(settings, archive), choose_bands(settings, archive)
    try:
        contact_sheet(settings.out, archive, tiles, bands)
    except OSError as error:
        raise InputError(f"cannot write --out {settings.out} ({error.strerror}): name another file") from error
    print(class_table(archive))
    print(f"sheet: {settings.out}")


if __name__ == "__main__":
    command(main)
