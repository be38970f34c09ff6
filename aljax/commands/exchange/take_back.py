"""Takes the answers of another tool into the forms of a round.

    aljax exchange import --run-dir runs/mine --from label-studio answers.json
    aljax exchange import --run-dir runs/mine --from label-studio --annotator ana=1,ben=ben@example.org answers.json
    aljax exchange import --run-dir runs/mine --from cvat --annotator ana annotations.zip

Label Studio: its exports JSON, JSON-MIN, CSV and TSV (by the name's ending). CVAT: CVAT for images 1.1. COCO: a file of
labels of whole images, as Datumaro writes (Label Studio's COCO leaves choices out). GeoJSON: the file of the export,
filled in. Zips need not be unpacked.

Tiles that nobody has answered stay empty, and so do those that were skipped in Label Studio. Answers that are in a form
already are kept: where the file has others, the command stops, unless --replace says that these are right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from aljax.annotation.exchange import coco, cvat, filling, geojson, label_studio
from aljax.annotation.exchange.answers import Answer
from aljax.annotation.exchange.rounds import Round, open_round
from aljax.annotation.round_files import ANSWERS
from aljax.commands.options import read_options
from aljax.errors import InputError

READERS: dict[str, Callable[[Path, Round], list[Answer]]] = {
    "label-studio": label_studio.read,
    "cvat": cvat.read,
    "geojson": geojson.read,
    "coco": coco.read,
}


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """Settings of an import."""

    file: tyro.conf.Positional[Path]  # what the tool has exported
    run_dir: Path  # folder of the rounds
    source: Annotated[Literal["label-studio", "cvat", "geojson", "coco"], tyro.conf.arg(name="from")]  # tool or format
    round: int = 0  # number of an earlier round, for late answers; 0: the newest
    annotator: str = ""  # who is who: NAME=USER between commas, USER by number or email; or NAME, for all answers
    replace: bool = False  # answers that are in a form already, by others in the file


def main() -> None:
    """Parses the command line, fills in the forms and says what is still missing."""
    settings = read_options(ImportSettings, "aljax exchange import", __doc__)
    annotators = filling.parse_annotators(settings.annotator)
    round_ = open_round(settings.run_dir, settings.round)
    if (unfinished := round_.folder / ANSWERS).exists():
        raise InputError(
            f"{unfinished} has answers that a program has told: let it tell the rest, or move the file away"
        )
    answers = READERS[settings.source](settings.file, round_)
    if not answers:
        raise InputError(f"{settings.file} has no answers yet: label and submit some tiles, and export again")
    chosen = {
        name: filling.choose(round_, name, found)
        for name, found in filling.by_annotator(round_, answers, annotators).items()
    }
    sheets = {
        name: filling.fill(round_.sheets[name], round_.class_names, found, settings.replace)
        for name, found in chosen.items()
    }
    filling.write(list(sheets.values()))
    for name, sheet in sheets.items():
        done = sum(sheet.is_answered(row, round_.class_names) for row in sheet.rows)
        print(f"{sheet.path}: {len(chosen[name])} answers taken, {done} of {len(sheet.rows)} tiles have one")
