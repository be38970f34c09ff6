"""Annotation by a person in rounds: which tiles to label next, given the labels so far.

A round is a folder: a run of one iteration on what is labelled, `to_label.csv` for the person to fill in, a page for a
browser that does so, and sheets with the pictures of its tiles. Where there are no labels yet, a round draws its tiles
and has no run.
"""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int

from aljax.checkpointing import RunStore, Stop, read_config
from aljax.checkpoints import read_newest
from aljax.contact_sheet import contact_sheet
from aljax.data.archive import Archive, Split
from aljax.data.geojson import geojson_text, read_outlines
from aljax.data.images import EncodedImages
from aljax.data.labels import (
    PART_NAMES,
    SKIPPED,
    SPLIT_COLUMN,
    CsvLabels,
    is_blank,
    merge,
    predictions_text,
    read_csv,
    to_text,
)
from aljax.densenet import DenseNet
from aljax.errors import InputError, InputWarning
from aljax.experiment import prepare_run
from aljax.files import disk_errors, make_folder, write_atomically
from aljax.keys import Purpose, derive_key
from aljax.label_page import Form, label_page
from aljax.loop import advance, begin_iteration
from aljax.packing import unpack
from aljax.pool import Pool
from aljax.progress import Progress
from aljax.recipe import Recipe
from aljax.reporting import series_name
from aljax.settings import Settings
from aljax.state import RunState

FORM, PAGE, PREDICTIONS, LABELS = "to_label.csv", "label.html", "predictions.csv", "labels.csv"
MAP = "to_label.geojson"
GIVEN = "labels-given.csv"
TILES_PER_SHEET = 60
# Height and width of a tile on a sheet, whatever the network is given.
SHEET_PIXELS = 256


class Drawn(NamedTuple):
    """Tiles to label that nothing was asked about: the first ones, and those that measure."""

    rows: Int[np.ndarray, " k"]
    """In the archive."""
    parts: Int[np.ndarray, " k"]
    """Indices of PART_NAMES."""


@dataclass(frozen=True)
class Known:
    """What is known of an archive before a round."""

    archive: Archive
    split: Split
    """All tiles that are not held back are the pool."""
    labelled: Bool[np.ndarray, " p"]
    """Of the pool's tiles."""
    skipped: Bool[np.ndarray, " p"]
    """Of the pool's tiles: those that cannot be labelled. They stay in it, so the pixels' statistics do, too."""

    @property
    def unlabelled(self) -> Bool[np.ndarray, " p"]:
        """Of the pool's tiles: those to choose from."""
        return ~(self.labelled | self.skipped)


def round_dir(run_dir: Path, number: int) -> Path:
    """The folder of round 1, 2, ..."""
    return run_dir / f"round-{number}"


def count_rounds(run_dir: Path) -> int:
    """The rounds whose tiles are chosen. Raises InputError if one before the last has lost its form."""
    names = (form.parent.name.removeprefix("round-") for form in run_dir.glob(f"round-*/{FORM}"))
    numbers = {int(name) for name in names if name.isdecimal()}
    for number in range(1, max(numbers, default=0)):
        if number not in numbers:
            raise InputError(
                f"{round_dir(run_dir, number) / FORM} is missing, and there are later rounds: bring it back (what was "
                f"filled in is in {run_dir / LABELS})"
            )
    return len(numbers)


def waiting_form(run_dir: Path) -> Path | None:
    """The newest round's form if nothing is filled in yet."""
    form = round_dir(run_dir, count_rounds(run_dir)) / FORM
    return form if form.exists() and is_blank(form) else None


def gather_labels(run_dir: Path, start: Mapping[Path, CsvLabels]) -> CsvLabels | None:
    """What is labelled so far: the rows of the files in `start` and of all forms; None if nothing is.

    Raises InputError for a form that is not filled in, or not as it should be.
    """
    forms = [round_dir(run_dir, number + 1) / FORM for number in range(count_rounds(run_dir))]
    tables = {**start, **{form: read_csv(form) for form in forms}}
    return merge(tables) if tables else None


def labels_text(labels: CsvLabels) -> str:
    """The labels as a CSV file, with a column `split`."""
    assert labels.parts is not None
    empty = [""] * len(labels.class_names)
    rows = zip(labels.ids, labels.parts, labels.labels.tolist(), strict=True)
    lines = ((tile, PART_NAMES[part], *(empty if part == SKIPPED else cells)) for tile, part, cells in rows)
    return to_text(("id", SPLIT_COLUMN, *labels.class_names), lines)


def keep_given(run_dir: Path, start: Mapping[Path, CsvLabels]) -> None:
    """Writes the labels that were there before the first round, which later calls need not name any more."""
    make_folder(run_dir)
    with disk_errors(run_dir):
        write_atomically(run_dir / GIVEN, labels_text(merge(start)))


def keep_labels(run_dir: Path, labels: CsvLabels) -> None:
    """Writes all labels so far into `labels.csv`; if it has tiles that are in no form any more, keeps it too."""
    file = run_dir / LABELS
    with disk_errors(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
        if file.exists() and (gone := sorted({*read_csv(file).ids} - {*labels.ids})):
            before = file.read_bytes()
            kept = run_dir / f"labels-{hashlib.sha256(before).hexdigest()[:8]}.csv"
            write_atomically(kept, before)
            message = f"{len(gone)} tiles of {file} are in no form any more, as {gone[0]}: they count as not labelled "
            warnings.warn(InputWarning(f"{message}(the file as it was is kept as {kept.name})"), stacklevel=2)
        write_atomically(file, labels_text(labels))


def know(archive: Archive) -> Known:
    """Splits an archive of which some tiles are labelled, some of them for validation and test.

    Without tiles for validation those of the test stand in; nothing is decided by them.
    """
    everything = np.arange(len(archive.ids))
    labelled = np.ones(len(everything), bool) if archive.labelled is None else archive.labelled
    _, validation, test = archive.split or (everything, everything[:0], everything[:0])
    pool = np.setdiff1d(everything, np.concatenate([validation, test]))
    skipped = labelled & ~np.isin(everything, np.concatenate(archive.split or [everything]))
    split = Split(pool, validation if len(validation) else test, test)
    return Known(archive, split, (labelled & ~skipped)[pool], skipped[pool])


def warn_of_unmeasured(known: Known) -> None:
    """Says which classes no tile of the test has: their F1 is 0, whatever is predicted."""
    count = known.archive.labels[known.split.test].sum(0, dtype=int)
    names = [name for name, tiles in zip(known.archive.class_names, count, strict=True) if not tiles]
    if names and len(known.split.test):
        message = f"no test tile has the class {', '.join(names)}: macro F1 counts it as 0, whatever is predicted"
        warnings.warn(InputWarning(message), stacklevel=2)


def draw(known: Known, seed: int, number: int, initial: int, test: int) -> Drawn | None:
    """Tiles by chance for what is missing of `initial` labelled ones, and `test` for the test where it has none.

    None if nothing is missing. Raises InputError if the archive has fewer.
    """
    tests = 0 if len(known.split.test) else test
    count = tests + max(initial - int(known.labelled.sum()), 0)
    candidates = known.split.pool[known.unlabelled]
    if count == 0:
        return None
    if count > len(candidates):
        raise InputError(
            f"there are {len(candidates)} tiles without labels and {count} to begin with: lower --initial or --test"
        )
    order = np.asarray(jax.random.permutation(derive_key(seed, Purpose.INITIAL_LABELS, 0, number), len(candidates)))
    return Drawn(candidates[order[:count]], np.where(np.arange(count) < tests, PART_NAMES.index("test"), 0))


def run_round(
    settings: Settings, known: Known, network: DenseNet, number: int, stop: Stop, last: bool = False
) -> RunState:
    """Trains on what is labelled and, unless it is the last round, chooses tiles; goes on from what is in its folder.

    The state's last record has the chosen tiles. Raises InputError for settings that do not fit the round before.
    """
    count = int(known.labelled.sum())
    wanted = 0 if last else min(settings.budget, int(known.unlabelled.sum()))
    run_dir = round_dir(settings.run_dir, number)
    settings = replace(settings, run_dir=run_dir, initial=count, max_labels=count + wanted)
    settings = replace(settings, trials=1, first_trial=1, patience=0)
    model, tiles, published, config = prepare_run(settings, known.archive, known.split, network)
    pool_ids = hashlib.sha256("\n".join(tiles.pool_ids).encode()).hexdigest()
    config |= {"pool": pool_ids}
    if known.skipped.any():
        config |= {"skipped": [tiles.pool_ids[row] for row in np.flatnonzero(known.skipped)]}
    remedy = f"delete {run_dir} to begin that round anew"
    begun = _begin(settings, known, _read_earlier(settings, config, number))
    name = series_name(settings.query, settings.clustering)
    with (
        RunStore(run_dir, config, settings.recipe, settings.checkpoint_seconds, stop, remedy) as store,
        Progress(replace(settings, max_labels=count), name) as progress,
    ):
        state = store.restore() or begun
        if len(state.history) > len(begun.history):
            return state
        if state.stage is None:
            state = begin_iteration(model, tiles.pool, settings, state, published)
        progress.begin_iteration(state)
        state = advance(model, tiles, settings, state, store, progress)
        store.save(state)
        progress.end_iteration(state.history[-1])
    return state


class Earlier(NamedTuple):
    """The newest round that trained."""

    state: RunState
    same_pool: bool
    """Whether its pool had the same tiles in the same order."""


def _read_earlier(settings: Settings, config: Mapping[str, Any], number: int) -> Earlier | None:
    """The newest round that trained. Raises InputError if its network or pixels are others."""
    folders = (round_dir(settings.run_dir.parent, earlier) for earlier in range(number - 1, 0, -1))
    folder = next((folder for folder in folders if (folder / "config.json").exists()), None)
    if folder is None:
        return None
    before, newest = read_config(folder), read_newest(folder / "checkpoints", lambda facts: facts["stage"] is None)
    if newest is None:
        raise InputError(f"{folder} has no checkpoint of its end to go on from: bring its checkpoints back")
    for name in ("class_names", "image_size", "depths", "normalisation", "mean", "deviation"):
        if before[name] != config[name] and settings.start == "warm":
            raise InputError(
                f"{name} was {before[name]} in {folder} and is {config[name]}: a warm start goes on with the same; "
                "use --start cold"
            )
    state = unpack(newest.vectors, newest.facts, Recipe())
    return Earlier(state, before["pool"] == config["pool"])


def _begin(settings: Settings, known: Known, earlier: Earlier | None) -> RunState:
    """Before the round's first step: what is labelled, and model and probabilities of the round before."""
    size = len(known.split.pool)
    pool = Pool(size, skipped=tuple(np.flatnonzero(known.skipped).tolist())).label(np.flatnonzero(known.labelled))
    probabilities = np.full((size, len(known.archive.class_names)), np.nan, np.float32)
    if earlier is None:
        return RunState(0, 0, pool, None, probabilities, ())
    state = earlier.state
    if earlier.same_pool and settings.query == "tpd":  # others must not pass old ones on
        probabilities = state.probabilities
    if settings.query == "tpd" and np.isnan(probabilities[known.unlabelled]).any():
        raise InputError(
            "TPD compares with the probabilities of the round before, and they are not there for all tiles without "
            "labels (other tiles, other test tiles, labels withdrawn, or chosen by chance): use --query mge this time"
        )
    variables = state.variables
    if variables is not None and (settings.query == "ll") != ("loss_head" in variables["params"]):
        variables = None
        if settings.start == "warm":
            message = "the round before had another network (with or without a loss head): this one starts afresh"
            warnings.warn(InputWarning(message), stacklevel=2)
    return RunState(0, len(state.history), pool, variables, probabilities, state.history)


def chosen_rows(known: Known, state: RunState) -> Int[np.ndarray, " k"]:
    """Where the tiles that a round chose are in the archive, highest score first."""
    places = {tile: row for row, tile in enumerate(known.archive.ids)}
    return np.array([places[tile] for tile in state.history[-1].selected])


def write_round(folder: Path, known: Known, drawn: Drawn, class_names: tuple[str, ...], bands: tuple[int, ...]) -> None:
    """Writes the sheets, the page, a map where tiles have a place and, last, the form: it makes the round complete."""
    archive = known.archive
    if isinstance(archive.images, EncodedImages):
        archive = replace(archive, images=replace(archive.images, size=SHEET_PIXELS))
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(drawn.rows), TILES_PER_SHEET):
            sheet = folder / f"sheet-{start // TILES_PER_SHEET + 1}.png"
            contact_sheet(sheet, archive, drawn.rows[start : start + TILES_PER_SHEET], bands)
        rows = [(archive.ids[row], PART_NAMES[part]) for row, part in zip(*drawn, strict=True)]
        _write_map(folder / MAP, archive, drawn)
        form = Form(folder / FORM, ("id", SPLIT_COLUMN), rows, class_names)
        label_page(folder / PAGE, archive, drawn.rows, bands, form)
        write_atomically(form.path, form.blank())


def _write_map(path: Path, archive: Archive, drawn: Drawn) -> None:
    """Writes where the tiles are that have a place."""
    try:
        outlines = read_outlines(archive, drawn.rows)
    except InputError as error:
        warnings.warn(InputWarning(f"there is no map of the tiles to label: {error}"), stacklevel=2)
        return
    if any(outline is not None for outline in outlines):
        ids = [archive.ids[row] for row in drawn.rows]
        parts = ({SPLIT_COLUMN: PART_NAMES[part]} for part in drawn.parts)
        write_atomically(path, geojson_text(ids, outlines, parts))


def write_predictions(folder: Path, known: Known, state: RunState) -> None:
    """Writes the probabilities of the classes on every tile that had no label, where the query predicted them."""
    archive, rows = known.archive, np.flatnonzero(~np.isnan(state.probabilities).any(1))
    if not len(rows):
        return
    ids = [archive.ids[index] for index in known.split.pool[rows]]
    text = predictions_text(ids, archive.class_names, state.probabilities[rows])
    with disk_errors(folder):
        write_atomically(folder / PREDICTIONS, text)
