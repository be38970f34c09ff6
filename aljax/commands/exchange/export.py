"""Writes the tiles of the round that waits for another tool: those without an answer.

    aljax exchange export --run-dir runs/mine --to label-studio --out tasks.json
    aljax exchange export --run-dir runs/mine --to cvat --out cvat.xml --predictions
    aljax exchange export --run-dir runs/mine --to geojson --out tiles.geojson

For Label Studio and CVAT the pictures are written into the folder images beside the file, as PNG. Their names say which
tile of which round they are, so keep them.

Label Studio: paste the .xml beside the file as labelling configuration (Settings, Labeling Interface, Code), then
import the file. Without --images-url it expects the pictures from its own machine: start it with
LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to the folder of the file,
and add the folder images as local storage (not synchronised) of the project. Or import the pictures in place of the
file.

CVAT: make a task with the .labels.json beside the file (Raw) and the pictures. With predictions, upload the file as
annotations (CVAT 1.1). A tile is answered when it has a tag set by hand; one that shows no class, or as predicted, gets
the tag "answered", one that cannot be labelled the tag of that name, and a class that you are not sure of its box
"unsure".

GeoJSON: write 1, 0 or ? into the columns of the classes. A tile that cannot be labelled gets skip in the column split.

In a round of several annotators, --annotator NAME writes the tiles of one, for a task or project of their own: the
tools do not show which tile is for whom.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL.Image import Image

from aljax.annotation.exchange import cvat, geojson, label_studio
from aljax.annotation.exchange.pictures import FOLDER, open_pictures, write_pictures
from aljax.annotation.exchange.rounds import Round, open_round
from aljax.annotation.labelling import round_dir
from aljax.annotation.round_files import PREDICTIONS
from aljax.commands.options import read_options
from aljax.data.labels import read_form
from aljax.errors import InputError
from aljax.loop.metrics import THRESHOLD, is_above
from aljax.system.files import check_output, disk_errors, write_atomically

LOCAL = f"/data/local-files/?d={FOLDER}"  # where Label Studio serves files of its own machine
Probabilities = dict[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Settings of an export."""

    run_dir: Path  # folder of the rounds
    to: Literal["label-studio", "cvat", "geojson"]  # the tool, or format, to write for
    out: Path  # file to write
    round: int = 0  # number of an earlier round, whose forms are still incomplete; 0: the newest
    annotator: str = ""  # only the tiles of this annotator, in a round of several
    predictions: bool = False  # with what the newest round predicts, to be corrected
    images_url: str = ""  # address below which Label Studio finds the pictures


def main() -> None:
    """Parses the command line, writes the files and says what to do with them."""
    settings = read_options(ExportSettings, "aljax exchange export", __doc__)
    check_output(settings.out)
    round_ = open_round(settings.run_dir, settings.round)
    tiles = waiting_tiles(round_, settings.annotator)
    predicted = read_predictions(settings.run_dir, round_) if settings.predictions else {}
    written = {"label-studio": export_label_studio, "cvat": export_cvat, "geojson": export_geojson}[settings.to](
        settings, round_, tiles, predicted
    )
    print(f"{len(tiles)} tiles of {round_.folder}: {', '.join(map(str, written))}")
    who = settings.annotator or whose_answers(round_, settings.to)
    more = f" --annotator {who}" if who else ""
    more += f" --round {settings.round}" if settings.round else ""
    command = f"aljax exchange import --run-dir {settings.run_dir} --from {settings.to}{more} FILE"
    print(f"take the answers back with `{command}`")


def whose_answers(round_: Round, tool: str) -> str:
    """What `import` is to be told of whose answers they are, in a round of several; only Label Studio names users."""
    names = [name for name in round_.sheets if name]
    return ",".join(f"{name}=USER" for name in names) if tool == "label-studio" else "NAME" if names else ""


def waiting_tiles(round_: Round, annotator: str) -> list[str]:
    """The tiles without an answer, in the forms of all or one. Raises InputError if there are none."""
    if annotator and annotator not in round_.sheets:
        forms = ", ".join(name for name in round_.sheets if name) or "one person"
        raise InputError(f"--annotator {annotator}: {round_.folder} has forms for {forms}")
    sheets = [round_.sheets[annotator]] if annotator else list(round_.sheets.values())
    waiting = [row[0] for sheet in sheets for row in sheet.rows if not sheet.is_answered(row, round_.class_names)]
    if not waiting:
        raise InputError(f"no tile of {round_.folder} waits for an answer: go on with `aljax annotate`")
    return list(dict.fromkeys(waiting))


def read_predictions(run_dir: Path, round_: Round) -> Probabilities:
    """Probabilities of the classes by tile, of the newest round that has some. Raises InputError if none has."""
    newest = int(round_.folder.name.removeprefix("round-"))
    files = [round_dir(run_dir, number) / PREDICTIONS for number in range(newest, 0, -1)]
    path = next((path for path in files if path.exists()), None)
    if path is None:
        raise InputError(f"no round of {run_dir} has predictions yet: leave out --predictions")
    header, rows = read_form(path)
    try:
        columns = [header.index(name) for name in round_.class_names]
        return {row[0]: [float(row[column]) for column in columns] for row in rows}
    except (ValueError, IndexError, csv.Error) as error:
        raise InputError(f"{path} has no predictions of the round's classes ({error}): bring it back") from error


def _present(round_: Round, predicted: Probabilities) -> dict[str, list[str]]:
    """The classes that are predicted for each tile."""
    return {
        tile: [round_.class_names[place] for place in np.flatnonzero(is_above(np.array([row]), THRESHOLD)[0])]
        for tile, row in predicted.items()
    }


def export_label_studio(
    settings: ExportSettings, round_: Round, tiles: list[str], predicted: Probabilities
) -> list[Path]:
    """Writes pictures, labelling configuration and tasks."""
    address = settings.images_url.rstrip("/") or LOCAL
    addresses = {tile: f"{address}/{round_.picture(tile)}" for tile in tiles}
    configuration = {_beside(settings.out, ".xml"): label_studio.configuration(round_.class_names)}
    text = label_studio.tasks(addresses, _present(round_, predicted))
    return _write({**configuration, settings.out: text}, round_, open_pictures(round_, tiles))


def export_cvat(settings: ExportSettings, round_: Round, tiles: list[str], predicted: Probabilities) -> list[Path]:
    """Writes pictures, labels and annotations."""
    pictures = open_pictures(round_, tiles)
    sizes = {tile: (round_.picture(tile), *picture.size) for tile, picture in pictures.items()}
    labels = {_beside(settings.out, ".labels.json"): cvat.labels(round_.class_names)}
    text = cvat.annotations(sizes, round_.class_names, _present(round_, predicted))
    return _write({**labels, settings.out: text}, round_, pictures)


def export_geojson(settings: ExportSettings, round_: Round, tiles: list[str], predicted: Probabilities) -> list[Path]:
    """Writes the map."""
    return _write({settings.out: geojson.features(round_, tiles, predicted)}, round_, {})


def _write(files: dict[Path, str], round_: Round, pictures: dict[str, Image]) -> list[Path]:
    """Writes the files after the pictures. Raises InputError for one that is there: somebody may have filled it in."""
    for path, text in files.items():
        if path.exists() and path.read_bytes() != text.encode():
            raise InputError(f"{path} is there, and may have answers: move it away, or name another --out")
    folder = next(iter(files)).parent / FOLDER
    if pictures:
        write_pictures(folder, round_, pictures)
    for path, text in files.items():
        with disk_errors(path.parent):
            write_atomically(path, text)
    return [*files, *([folder] if pictures else [])]


def _beside(out: Path, suffix: str) -> Path:
    """A second file of the same name. Raises InputError if it would be the first."""
    path = out.with_suffix(suffix)
    if path == out:
        raise InputError(f"--out {out}: a file of that name is written beside it: let --out end otherwise, as .json")
    return path
