"""Pictures of the tiles of a round as PNG: browsers, and with them the tools, show no GeoTIFF."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from aljax.annotation.annotators import page_name
from aljax.annotation.exchange.rounds import Round
from aljax.annotation.label_page import read_pictures
from aljax.errors import InputError
from aljax.system.files import disk_errors, make_folder, write_atomically

FOLDER = "images"  # beside the exported file, as in a zip of CVAT


def open_pictures(round_: Round, tiles: Sequence[str]) -> dict[str, Image.Image]:
    """The pictures of tiles, as the round's pages show them. Raises InputError if one is on no page."""
    pages = [path for path in (round_.folder / page_name(name) for name in round_.sheets) if path.exists()]
    found = {tile: picture for page in pages for tile, picture in read_pictures(page).items()}
    if missing := [tile for tile in tiles if tile not in found]:
        raise InputError(
            f"{round_.folder} has no page with tile {missing[0]}, from which its picture comes: bring the page back"
        )
    return {tile: found[tile] for tile in tiles}


def write_pictures(folder: Path, round_: Round, pictures: dict[str, Image.Image]) -> None:
    """Writes each picture as a PNG, named as the round names it."""
    make_folder(folder)
    with disk_errors(folder):
        for tile, picture in pictures.items():
            file = io.BytesIO()
            picture.save(file, "PNG")
            write_atomically(folder / round_.picture(tile), file.getvalue())
