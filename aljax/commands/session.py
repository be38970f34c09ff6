"""Ask and tell: rounds of annotation driven by a program of the user's own in place of the command and the page.

Both work on the same folder, so one can go on where the other stopped.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from aljax.annotation import round_files
from aljax.commands.annotate import AnnotationSettings, newest_model, next_round
from aljax.commands.process import prepare_process
from aljax.data.archives.folder import open_folder
from aljax.data.features.reader import open_features
from aljax.data.label_rows import SPLIT_COLUMN
from aljax.data.labels import read_form, to_text
from aljax.errors import InputError
from aljax.loop.settings import check_settings
from aljax.runs.inference import load
from aljax.system.files import write_atomically

TOLD = "told.json"  # answers so far, beside a form that is not complete


class Session:
    """Suggests tiles to label, is told their labels, and predicts the others; kept in `run_dir` at every step.

    >>> session = Session("runs/mine", images="tiles", classes=["trees", "water"], features="f.npz")  # doctest: +SKIP
    >>> ids = session.suggest(20)  # doctest: +SKIP
    >>> session.tell(ids, my_labels(ids))  # (n, C) of 0 and 1                                       # doctest: +SKIP
    >>> session.predict(["a.tif", "b.tif"])  # (2, C)                                                # doctest: +SKIP
    """

    def __init__(
        self,
        run_dir: str | Path,
        images: str | Path,
        classes: Sequence[str],
        features: str | Path | None = None,
        **settings: Any,
    ) -> None:
        """The arguments are those of `aljax annotate`, as are further `settings`, such as `test=50`.

        Raises InputError for what can never work.
        """
        given = {**settings, "features": None if features is None else Path(features)}
        self._settings = AnnotationSettings(
            run_dir=Path(run_dir), images=Path(images), classes=",".join(classes), **given
        )
        self.class_names = tuple(classes)
        check_settings(self._settings)
        prepare_process()

    def suggest(self, count: int | None = None) -> list[str]:
        """Ids of the tiles to label now: of the first round, or `count` new ones (None: the settings' budget).

        While some that were suggested have no labels, these. Trains on all labels so far, so it takes as long as a
        round; empty once every tile is labelled. Raises InputError.
        """
        settings = self._settings
        if count is not None:
            settings = replace(settings, budget=count)
        made = next_round(settings)
        return [] if made.form is None else [row[0] for row in self._pending(made.form)]

    def tell(self, ids: Iterable[str], labels: UInt8[np.ndarray, "n c"] | Sequence[Sequence[int]]) -> None:
        """Labels of suggested tiles, 0 or 1 for each class; a round is complete when all of its tiles have theirs.

        Raises InputError for tiles that were not suggested, or labels that are not 0 and 1.
        """
        form = round_files.waiting_form(self._settings.run_dir)
        if form is None:
            raise InputError("no tiles wait for labels: call suggest first")
        rows, names = list(ids), [row[0] for row in read_form(form)[1]]
        cells = np.asarray(labels)
        if cells.shape != (len(rows), len(self.class_names)) or not np.isin(cells, (0, 1)).all():
            raise InputError(
                f"labels have the shape {cells.shape}: give 0 or 1 for {len(rows)} tiles and {len(self.class_names)} "
                "classes"
            )
        if strangers := [tile for tile in rows if tile not in names]:
            raise InputError(f"tile {strangers[0]} is not among the {len(names)} that wait for labels")
        told = {**self._told(form), **dict(zip(rows, cells.astype(int).tolist(), strict=True))}
        header, waiting = read_form(form)
        if len(told) < len(waiting):
            write_atomically(form.parent / TOLD, json.dumps(told) + "\n")
            return
        order = [self.class_names.index(name) for name in header if name not in ("id", SPLIT_COLUMN)]
        filled = ([tile, part, *(told[tile][place] for place in order)] for tile, part, *_ in waiting)
        write_atomically(form, to_text(header, filled))
        (form.parent / TOLD).unlink(missing_ok=True)

    def predict(self, ids: Iterable[str]) -> Float[np.ndarray, "n c"]:
        """Probabilities of the classes, in the order of `class_names`, by the network of the newest round.

        Raises InputError if no round has trained yet, or for a tile that is not there.
        """
        folder = newest_model(self._settings.run_dir)
        if folder is None:
            raise InputError("nothing is learnt yet: tell the labels of the first tiles, and suggest the next ones")
        trained = load(folder)
        if self._settings.features is not None:
            archive = open_features(self._settings.features, None)
        else:
            archive = open_folder(self._settings.images, None, trained.image_size, lenient=True)
        places, wanted = {tile: row for row, tile in enumerate(archive.ids)}, list(ids)
        if strangers := [tile for tile in wanted if tile not in places]:
            raise InputError(f"there is no tile {strangers[0]}: give ids as suggest does")
        trained.check_type(archive.images.dtype)
        images = np.stack([np.asarray(archive.images[places[tile]]) for tile in wanted])
        order = [trained.class_names.index(name) for name in self.class_names]
        return trained.predict(images)[:, order]

    def _told(self, form: Path) -> dict[str, list[int]]:
        """Answers so far. Raises InputError for a file that is not as `tell` writes it."""
        path = form.parent / TOLD
        if not path.exists():
            return {}
        try:
            told = dict(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{path} is damaged ({error}): bring it back, or remove it and tell again") from error
        waiting, count = {row[0] for row in read_form(form)[1]}, len(self.class_names)
        for tile, cells in told.items():
            sound = isinstance(cells, list) and len(cells) == count and all(type(cell) is int for cell in cells)
            if tile not in waiting or not sound or not {*cells} <= {0, 1}:
                raise InputError(f"{path} is damaged (tile {tile}): bring it back, or remove it and tell again")
        return told

    def _pending(self, form: Path) -> list[list[str]]:
        told = self._told(form)
        return [row for row in read_form(form)[1] if row[0] not in told]
