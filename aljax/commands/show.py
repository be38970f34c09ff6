"""Shows an archive: a contact sheet with ids and labels, and the number of tiles per class in each part of the split.

    aljax show --images DIR --out sheet.png
    aljax show --images DIR --labels labels.csv --bands 4,1,2

DIR holds UC Merced or TreeSatAI as they are downloaded or prepared, or is a folder of your own tiles. TreeSatAI is
shown in false colour, infrared, red and green as red, green and blue; other tiles by their first three bands.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aljax.commands.options import read_options
from aljax.data.archive import Archive
from aljax.data.archives.open import open_archive
from aljax.errors import InputError
from aljax.reports.contact_sheet import class_table, contact_sheet, parse_bands
from aljax.system.files import check_output

MAX_TILES = 600  # few programs open the picture of more


@dataclass(frozen=True)
class ShowSettings:
    """Settings of the contact sheet."""

    images: Path  # folder of your own tiles, or of UC Merced or TreeSatAI as they are downloaded or prepared
    labels: Path | None = None  # CSV file with the labels of your own tiles
    label_separator: str = ";"  # between the class names of a cell, in a CSV with the columns id,labels
    out: Path = Path("sheet.png")  # PNG file for the contact sheet
    tiles: int = 24  # largest number of tiles on the sheet, chosen at random
    label: str = ""  # only tiles of this class
    bands: str = ""  # bands shown as red, green and blue, counted from 1, such as 4,1,2, or one band for grey
    image_size: int = 256  # height and width in pixels at which tiles are shown
    seed: int = 0  # of the random choice of tiles and of a random split


def check(settings: ShowSettings) -> None:
    """Raises InputError for an invalid setting."""
    for flag, value, least, most in (
        ("--tiles", settings.tiles, 1, MAX_TILES),
        ("--image-size", settings.image_size, 1, 512),
        ("--seed", settings.seed, 0, 2**31 - 1),
    ):
        if not least <= value <= most:
            raise InputError(f"{flag} is {value}: it must be from {least} to {most}")
    check_output(settings.out)


def choose_tiles(settings: ShowSettings, archive: Archive) -> np.ndarray:
    """Indices of random tiles, of the class `--label` if given. Raises InputError if there are none."""
    candidates = np.arange(len(archive.ids))
    if settings.label:
        if settings.label not in archive.class_names:
            known = ", ".join(archive.class_names) or "none"
            raise InputError(f"--label {settings.label} is not a class of {archive.name} ({known}): name one of them")
        candidates = np.flatnonzero(archive.labels[:, archive.class_names.index(settings.label)] == 1)
        if not len(candidates):
            raise InputError(f"no tile of {archive.name} has the label {settings.label}: name another --label")
    order = np.random.default_rng(settings.seed).permutation(candidates)
    return order[: settings.tiles]


def main() -> None:
    """Parses the command line, writes the sheet and prints the counts."""
    settings = read_options(ShowSettings, "aljax show", __doc__)
    check(settings)
    archive = open_archive(
        settings.images, settings.image_size, settings.seed, settings.labels, settings.label_separator
    )
    tiles, bands = choose_tiles(settings, archive), parse_bands(settings.bands, archive)
    try:
        contact_sheet(settings.out, archive, tiles, bands)
    except OSError as error:
        raise InputError(f"cannot write --out {settings.out} ({error.strerror or error}): name another file") from error
    print(class_table(archive))
    print(f"sheet: {settings.out}")
