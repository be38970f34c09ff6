"""An HTML page on which a person labels tiles: a single file that needs no server and no network."""

import base64
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from PIL import Image

from aljax.data.archive import Archive
from aljax.data.label_rows import REASON_COLUMNS, SPLIT_COLUMN
from aljax.data.labels import PART_NAMES, SKIPPED, to_text
from aljax.reports.contact_sheet import show
from aljax.system.files import write_atomically

TILES_AT_ONCE = 60  # tiles with a common contrast stretch, as on a contact sheet
QUALITY = 92  # of JPEG; without chroma subsampling, artefacts are not visible


class Form(NamedTuple):
    """A CSV file to fill in: a row per tile, with the cells of `rows`, then one per class, then those of `reasons`."""

    path: Path
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    class_names: Sequence[str]
    reasons: Sequence[Sequence[str]] = ()
    """Why each tile was chosen: cells of `REASON_COLUMNS`; empty: without these columns."""

    @property
    def names(self) -> list[str]:
        """The names of all columns."""
        return [*self.header, *self.class_names, *(REASON_COLUMNS if self.reasons else ())]

    def skipped(self, row: Sequence[str]) -> list[str]:
        """The row of a tile that cannot be labelled: with skip in the column `split`."""
        return [
            PART_NAMES[SKIPPED] if name == SPLIT_COLUMN else cell for name, cell in zip(self.header, row, strict=True)
        ]

    def blank(self) -> str:
        """The text of the form with empty class cells."""
        empty, reasons = [""] * len(self.class_names), self.reasons or [()] * len(self.rows)
        rows = zip(self.rows, reasons, strict=True)
        return to_text(self.names, ((*row, *empty, *reason) for row, reason in rows))


def label_page(path: Path, archive: Archive, indices: Int[np.ndarray, " n"], bands: Sequence[int], form: Form) -> None:
    """Writes an HTML page that shows the tiles `indices`, one for each row of the form, and saves the filled-in form.

    `bands` are shown as red, green and blue (one band: grey), stretched as on a contact sheet.
    """
    reasons = form.reasons or [()] * len(form.rows)
    pictures = encoded(archive, indices, bands)
    tiles = [
        {
            "id": archive.ids[index],
            "start": _line(row),
            "skipped": _line(form.skipped(row)),
            "reasons": list(reason),
            "end": f",{_line(reason)}" if reason else "",
            "picture": picture,
        }
        for index, row, reason, picture in zip(indices, form.rows, reasons, pictures, strict=True)
    ]
    content = {
        "title": f"{archive.name}, {form.path.parent.name}: {len(tiles)} tiles to label",
        "header": _line(form.names),
        "classes": list(form.class_names),
        "reasons": [name.removeprefix("why: ") for name in REASON_COLUMNS] if form.reasons else [],
        "tiles": tiles,
        "file": form.path.name,
        "place": f"{form.path.parent.name}/{form.path.name}",
    }
    content["key"] = f"aljax-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]}"
    # Escaped, so that no name of a tile or class can close the script element around the JSON.
    text = json.dumps(content).replace("<", "\\u003c")
    template = files("aljax.annotation").joinpath("label_page.html").read_text(encoding="utf-8")
    write_atomically(path, template.replace("ROUND", text, 1))


def _line(cells: Sequence[str]) -> str:
    return to_text(cells, ()).removesuffix("\n")


def encoded(archive: Archive, indices: Int[np.ndarray, " n"], bands: Sequence[int]) -> Iterator[str]:
    """Each tile as a JPEG in a data URL."""
    for start in range(0, len(indices), TILES_AT_ONCE):
        pictures = show(archive, indices[start : start + TILES_AT_ONCE], bands)
        for picture in np.rint(255.0 * pictures).astype(np.uint8):
            file = io.BytesIO()
            image = Image.fromarray(picture.squeeze(-1) if len(bands) == 1 else picture)
            image.save(file, "JPEG", quality=QUALITY, subsampling=0)
            yield "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
