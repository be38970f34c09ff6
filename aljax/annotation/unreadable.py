"""Tiles that cannot be read: found before the first round and left out of all rounds."""

from pathlib import Path

from aljax.data.archive import Archive
from aljax.data.labels import read_form, to_text
from aljax.data.predictions import UNREADABLE
from aljax.data.readable import drop_unreadable
from aljax.data.tiles.images import EncodedImages, Tolerant, Unreadable, find_unreadable
from aljax.system.files import disk_errors, make_folder, write_atomically

FILE = "unreadable.csv"


def leave_out_unreadable(run_dir: Path, images_dir: Path, archive: Archive) -> Archive:
    """The archive without its unreadable tiles, which are named in a warning and in `unreadable.csv` in `run_dir`.

    Before the first round all tiles are read; later only those in that file, and a repaired tile is used again. Raises
    InputError if no tile can be read.
    """
    images, listed = archive.images, run_dir / FILE
    assert isinstance(images, EncodedImages)
    above = str(images_dir / "_")[:-1]  # without pathlib, which takes seconds for a million tiles
    if listed.exists():
        before = {above + row[0] for row in read_form(listed)[1]}
        rows = [index for index, name in enumerate(images.names) if name in before] if before else []
        unreadable = _read_again(images, rows)
    elif any(run_dir.glob("round-*")):
        return archive
    else:
        unreadable = find_unreadable(images, "reading all tiles once, before the first round")
    readable = drop_unreadable(archive, unreadable)
    if unreadable or listed.exists():
        make_folder(run_dir)
        lines = ((images.names[index].removeprefix(above), str(reason)) for index, reason in unreadable.items())
        with disk_errors(run_dir):
            write_atomically(listed, to_text(("id", UNREADABLE), lines))
    return readable


def _read_again(images: EncodedImages, rows: list[int]) -> Unreadable:
    tolerant = Tolerant(images)
    for row in rows:
        tolerant[row]
    return tolerant.unreadable
