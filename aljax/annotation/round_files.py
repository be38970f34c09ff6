"""The files of annotation in rounds: the labels so far, and the form, page, sheets and map of each round."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool

from aljax.annotation.annotators import DEALT, dealt_text, form_name, page_name, read_dealt
from aljax.annotation.label_page import Form, label_page
from aljax.annotation.labelling import Assignment, Labelling, round_dir
from aljax.annotation.reasons import BLANK
from aljax.annotation.round_map import map_page
from aljax.arrays import UNKNOWN
from aljax.data.archive import Archive
from aljax.data.blanks import find_blanks
from aljax.data.geojson import geojson_text, read_outlines
from aljax.data.label_rows import SPLIT_COLUMN
from aljax.data.labels import (
    PART_NAMES,
    SKIPPED,
    CsvLabels,
    is_blank,
    merge,
    read_table,
    to_text,
    write_csv,
)
from aljax.data.predictions import predictions_to_csv
from aljax.data.tiles.images import EncodedImages
from aljax.errors import InputError, InputWarning
from aljax.loop.metrics import Threshold, is_above
from aljax.loop.state import RunState
from aljax.reports.contact_sheet import contact_sheet
from aljax.system.files import disk_errors, make_folder, write_atomically

FORM, PAGE, PREDICTIONS, LABELS = form_name(""), page_name(""), "predictions.csv", "labels.csv"
MAP, MAP_PAGE = "to_label.geojson", "round.html"
GIVEN, AGREEMENT = "labels-given.csv", "agreement.csv"
ANSWERS = "told.json"  # labels that a program has told of an incomplete round so far, beside its form
FORMULA = ("=", "+", "-", "@")  # a spreadsheet takes a cell that begins so for a formula
TILES_PER_SHEET = 60
# Height and width of a tile on the page and on a sheet, whatever the image size of the network is.
SHOWN_PIXELS = 256


def count_rounds(run_dir: Path) -> int:
    """Number of rounds with a form, or several. Raises InputError if a round before the last has none."""
    forms = (form for name in (FORM, DEALT) for form in run_dir.glob(f"round-*/{name}"))
    names = (form.parent.name.removeprefix("round-") for form in forms)
    numbers = {int(name) for name in names if name.isdecimal()}
    for number in range(1, max(numbers, default=0)):
        if number not in numbers:
            raise InputError(
                f"{round_dir(run_dir, number) / FORM} is missing, and there are later rounds: bring it back (what was "
                f"filled in is in {run_dir / LABELS})"
            )
    return len(numbers)


def newest_form(run_dir: Path) -> Path | None:
    """A form of the newest round; None if there is none."""
    folder = round_dir(run_dir, count_rounds(run_dir))
    return next((path for name in ("", *read_dealt(folder)) if (path := folder / form_name(name)).exists()), None)


def waiting_form(run_dir: Path) -> Path | None:
    """The form of the newest round, if it is of one person and not filled in; None otherwise."""
    form = round_dir(run_dir, count_rounds(run_dir)) / FORM
    return form if form.exists() and is_blank(form) else None


def read_tables(run_dir: Path, start: Mapping[Path, CsvLabels]) -> dict[Path, CsvLabels]:
    """All labels so far, by their file: those in `start` and all forms.

    Raises InputError for a form with tiles that nobody has answered for, or damaged, or in the folder of another round.
    Warns of empty cells of the newest form, which may have been forgotten.
    """
    forms = [round_dir(run_dir, number + 1) / FORM for number in range(count_rounds(run_dir))]
    read = {form: read_filled(form, form == forms[-1]) for form in forms}
    _check_folders(read)
    check_classes_kept({form: table.class_names for form, table in read.items()})
    return {**labelled_rows(start), **read}


def check_classes(classes: Sequence[str], before: Sequence[str]) -> None:
    """Raises InputError if the classes are not those of the rounds so far, or these and new ones."""
    if not {*classes} >= {*before}:
        raise InputError(
            f"the classes are {','.join(classes)} and were {','.join(before)}: the rounds of a folder have the same, "
            "and may only add others"
        )


def check_classes_kept(forms: Mapping[Path, Sequence[str]]) -> None:
    """Raises InputError if the last form lacks a class of an earlier one: rounds may only add classes."""
    newest, newer = list(forms.items())[-1] if forms else (Path(), ())
    for form, classes in forms.items():
        if not {*classes} <= {*newer}:
            raise InputError(
                f"{newest} has the classes {', '.join(newer)}, and {form} has {', '.join(classes)}: use the same "
                "in both; a class that is new comes by --classes first, and into older forms once a round has it"
            )


def labelled_rows(start: Mapping[Path, CsvLabels]) -> dict[Path, CsvLabels]:
    """The tables without the tiles that have no label, which a round may ask for."""
    found = {}
    for path, table in start.items():
        keep = ~(table.labels == UNKNOWN).all(1)
        ids, places = (tuple(part[row] for row in np.flatnonzero(keep).tolist()) for part in (table.ids, table.places))
        parts = None if table.parts is None else table.parts[keep]
        found[path] = CsvLabels(ids, table.class_names, table.labels[keep], parts, places)
    return found


def read_filled(form: Path, is_newest: bool) -> CsvLabels:
    """The answers in a form; a tile all of whose classes are unknown (?) is skipped."""
    table, blanks = read_table(form), find_blanks(form)
    if table.parts is None:  # test tiles would be trained on
        raise InputError(
            f"{form} has lost its column {SPLIT_COLUMN}, which says what each tile is for: bring it back from the "
            f"page or from {LABELS}"
        )
    if blanks.rows:
        number, tile = blanks.rows[0]
        raise InputError(
            f"{form}, row {number}: tile {tile} has no labels ({len(blanks.rows)} such rows): write 0 or 1 into every "
            f"cell, or skip in the column {SPLIT_COLUMN} if it cannot be labelled"
        )
    if is_newest and blanks.cells:
        warnings.warn(InputWarning(f"{form}: {blanks.message}: fill them in if they were forgotten"), stacklevel=4)
    untold = (table.labels == UNKNOWN).all(1)
    labels, parts = np.where(untold[:, None], 0, table.labels), np.where(untold, SKIPPED, table.parts)
    return table._replace(labels=labels.astype(np.uint8), parts=parts.astype(np.uint8))


def _check_folders(forms: Mapping[Path, CsvLabels]) -> None:
    """Raises InputError if the form of one round is in the folder of another."""
    for (one, first), (other, second) in combinations(forms.items(), 2):
        if {*first.ids} >= {*second.ids} or {*first.ids} <= {*second.ids}:
            raise InputError(
                f"{other} has the tiles of {one}, so one of them is in the wrong folder: save the form again from the "
                f"{PAGE} beside it"
            )


def _warn_of_formulas(form: Form) -> None:
    """Warns of names that a spreadsheet would evaluate or reject as formulas."""
    names = [*form.class_names, *(tile for tile, *_ in form.rows)]
    if odd := [name for name in names if name.startswith(FORMULA)]:
        message = f"{len(odd)} names in {form.path} begin with {', '.join(FORMULA[:-1])} or {FORMULA[-1]}, as {odd[0]}"
        remedy = f"a spreadsheet takes them for formulas; label on {PAGE}, or rename them before you begin"
        warnings.warn(InputWarning(f"{message}: {remedy}"), stacklevel=3)


def labels_text(labels: CsvLabels) -> str:
    """The text of a CSV file of the labels, with a column `split`."""
    assert labels.parts is not None
    empty = [""] * len(labels.class_names)
    rows = zip(labels.ids, labels.parts, np.where(labels.labels == UNKNOWN, "", labels.labels.astype(str)), strict=True)
    lines = ((tile, PART_NAMES[part], *(empty if part == SKIPPED else cells)) for tile, part, cells in rows)
    return to_text(("id", SPLIT_COLUMN, *labels.class_names), lines)


def save_start(run_dir: Path, start: Mapping[Path, CsvLabels]) -> None:
    """Writes the labels from before the first round, so that later calls need no --labels."""
    make_folder(run_dir)
    with disk_errors(run_dir):
        write_atomically(run_dir / GIVEN, labels_text(merge(start)))


def save_labels(run_dir: Path, labels: CsvLabels, agreement: str = "") -> None:
    """Writes all labels so far to `labels.csv` and, if it is not empty, the table `agreement.csv`.

    If the existing file has tiles that are in no form any more, it is kept under another name, with a warning.
    """
    file = run_dir / LABELS
    with disk_errors(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
        if file.exists() and (gone := sorted({*read_table(file).ids} - {*labels.ids})):
            before = file.read_bytes()
            kept = run_dir / f"labels-{hashlib.sha256(before).hexdigest()[:8]}.csv"
            write_atomically(kept, before)
            message = f"{len(gone)} tiles of {file} are in no form any more, as {gone[0]}: they count as not labelled "
            warnings.warn(InputWarning(f"{message}(the file as it was is kept as {kept.name})"), stacklevel=2)
        write_atomically(file, labels_text(labels))
        if agreement:
            write_atomically(run_dir / AGREEMENT, agreement)


def write_round(
    folder: Path,
    labelling: Labelling,
    assignment: Assignment,
    class_names: tuple[str, ...],
    bands: tuple[int, ...],
    dealt: Mapping[str, Bool[np.ndarray, " k"]] = MappingProxyType({}),
    sheets: bool = False,
) -> None:
    """Writes the page, maps if tiles have a georeference and, last, the form, with which the round is complete.

    Of a round of several, to whom tiles are `dealt`, a page and a form for each, and last who was given what. Contact
    sheets as well if asked for: drawing one takes as long as twenty pages.
    """
    archive = labelling.archive
    if isinstance(archive.images, EncodedImages):
        archive = replace(archive, images=replace(archive.images, size=SHOWN_PIXELS))
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(assignment.rows), TILES_PER_SHEET) if sheets else ():
            sheet = folder / f"sheet-{start // TILES_PER_SHEET + 1}.png"
            contact_sheet(sheet, archive, assignment.rows[start : start + TILES_PER_SHEET], bands)
        parts = zip(assignment.rows, assignment.parts, strict=True)
        rows = [(archive.ids[row], PART_NAMES[part]) for row, part in parts]
        _write_map(folder / MAP, archive, assignment, rows)
        reasons = assignment.reasons or [BLANK] * len(rows)
        map_page(folder / MAP_PAGE, labelling, assignment)
        for name, mask in (dealt or {"": np.ones(len(rows), bool)}).items():
            own = np.flatnonzero(mask).tolist()
            of_own = [rows[row] for row in own], class_names, [reasons[row] for row in own]
            form = Form(folder / form_name(name), ("id", SPLIT_COLUMN), *of_own)
            _warn_of_formulas(form)
            label_page(folder / page_name(name), archive, assignment.rows[own], bands, form)
            write_atomically(form.path, form.blank())
        if dealt:
            write_atomically(folder / DEALT, dealt_text(rows, dealt))


def _write_map(path: Path, archive: Archive, assignment: Assignment, form: list[tuple[str, str]]) -> None:
    """Writes the outlines of the tiles with a georeference, with their parts of the split; nothing if none has one."""
    try:
        outlines = read_outlines(archive, assignment.rows)
    except InputError as error:
        warnings.warn(InputWarning(f"there is no map of the tiles to label: {error}"), stacklevel=2)
        return
    if any(outline is not None for outline in outlines):
        parts = ({SPLIT_COLUMN: part} for _, part in form)
        write_atomically(path, geojson_text([tile for tile, _ in form], outlines, parts))


def write_predictions(folder: Path, labelling: Labelling, state: RunState, threshold: Threshold | None = None) -> None:
    """Writes the class probabilities of all tiles without labels, if the query predicted them.

    With a threshold, 0 and 1 in their place.
    """
    assert state.probabilities is not None
    archive, rows = labelling.archive, np.flatnonzero(~np.isnan(state.probabilities).any(1))
    if not len(rows):
        return
    ids = [archive.ids[index] for index in labelling.split.pool[rows]]
    found = state.probabilities[rows]
    with disk_errors(folder):
        if threshold is None:
            predictions_to_csv(folder / PREDICTIONS, ids, archive.class_names, found)
        else:
            cells = is_above(found, threshold).astype(np.uint8)
            lines = ((tile, *row.tolist()) for tile, row in zip(ids, cells, strict=True))
            write_csv(folder / PREDICTIONS, ("id", *archive.class_names), lines)
