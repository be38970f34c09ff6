"""Rounds of annotation for a user's own program (ask and tell), in place of the command and the HTML page.

Both use the same folder, so each can continue where the other stopped.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from aljax.annotation import round_files
from aljax.commands.annotate.next_round import newest_model, next_round
from aljax.commands.annotate.settings import AnnotationSettings
from aljax.commands.process import prepare_process
from aljax.data.archives.folder import open_folder
from aljax.data.features.reader import open_features
from aljax.data.labels import read_form, to_text
from aljax.errors import InputError
from aljax.loop.settings import check_settings
from aljax.runs.inference import load
from aljax.system.files import write_atomically


class Session:
    """Suggests tiles to label, receives their labels, and predicts other tiles; every step is saved in `run_dir`.

    >>> session = Session("runs/mine", images="tiles", classes=["trees", "water"], features="f.npz")  # doctest: +SKIP
    >>> ids = session.suggest(20)  # doctest: +SKIP
    >>> session.tell(ids, my_labels(ids))  # (n, C) of 0, 1 and NaN, where nobody knows              # doctest: +SKIP
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
        """The arguments are options of `aljax annotate`, and so are further `settings`, such as `test=50`.

        Raises InputError for invalid settings.
        """
        settings["features"] = None if features is None else Path(features)
        self._settings = AnnotationSettings(
            run_dir=Path(run_dir), images=Path(images), classes=",".join(classes), **settings
        )
        if self._settings.annotators:
            raise InputError("a session is of one annotator: leave out annotators, or use `aljax annotate`")
        self.class_names = tuple(classes)
        check_settings(self._settings)
        prepare_process()

    def suggest(self, count: int | None = None) -> list[str]:
        """Ids of the tiles to label next.

        These are suggested tiles that still have no labels, else the tiles of the first round, else `count` tiles
        (None: the budget in the settings) that the query chooses after training on all labels so far. The list is empty
        if every tile is labelled. Raises InputError.
        """
        settings = self._settings
        if count is not None:
            settings = replace(settings, budget=count)
        made = next_round(settings)
        if made.left and made.form is not None:
            raise InputError(
                f"{made.form.parent} waits for several annotators: fill in their forms; a session is of one"
            )
        return [] if made.form is None else [row[0] for row in self._pending(made.form)]

    def tell(self, ids: Iterable[str], labels: Num[np.ndarray, "n c"] | Sequence[Sequence[float | None]]) -> None:
        """Records the labels (n, C), 0 or 1, of suggested tiles; a round is complete when all its tiles have labels.

        NaN, or None in lists, is a class of which nobody knows whether the tile has it; a tile of these alone is
        skipped. Raises InputError for tiles that were not suggested, or labels that are none of these.
        """
        form = round_files.waiting_form(self._settings.run_dir)
        if form is None:
            raise InputError("no tiles wait for labels: call suggest first")
        rows, names = list(ids), [row[0] for row in read_form(form)[1]]
        try:
            cells = np.ma.filled(np.ma.array(labels, dtype=np.float64), np.nan)  # in which None is NaN
        except (TypeError, ValueError) as error:
            raise InputError(f"labels are no table of numbers ({error}): give a row of 0 and 1 for each tile") from None
        is_label = np.isin(cells, (0, 1)) | np.isnan(cells)
        if cells.shape != (len(rows), len(self.class_names)) or not is_label.all():
            raise InputError(
                f"labels have the shape {cells.shape}: give 0 or 1 for {len(rows)} tiles and {len(self.class_names)} "
                "classes, or NaN where nobody knows"
            )
        if others := [tile for tile in rows if tile not in names]:
            raise InputError(f"tile {others[0]} is not among the {len(names)} that wait for labels")
        given = [[None if cell != cell else int(cell) for cell in row] for row in cells.tolist()]
        answers = {**self._read_answers(form), **dict(zip(rows, given, strict=True))}
        header, waiting = read_form(form)
        if len(answers) < len(waiting):
            write_atomically(form.parent / round_files.ANSWERS, json.dumps(answers) + "\n")
            return
        columns = [self.class_names.index(name) if name in self.class_names else None for name in header]
        known = {tile: ["?" if cell is None else cell for cell in cells] for tile, cells in answers.items()}
        filled = (
            [cell if column is None else known[row[0]][column] for cell, column in zip(row, columns, strict=True)]
            for row in waiting
        )
        write_atomically(form, to_text(header, filled))
        (form.parent / round_files.ANSWERS).unlink(missing_ok=True)

    def predict(self, ids: Iterable[str]) -> Float[np.ndarray, "n c"]:
        """Probabilities (n, C) of the classes, in the order of `class_names`, by the network of the newest round.

        Raises InputError if no round has trained yet, or for an unknown id.
        """
        folder = newest_model(self._settings.run_dir)
        if folder is None:
            raise InputError("nothing is learnt yet: tell the labels of the first tiles, and suggest the next ones")
        trained = load(folder)
        if unlearnt := [name for name in self.class_names if name not in trained.class_names]:
            raise InputError(f"class {unlearnt[0]} is not learnt yet: tell labels of it, and suggest the next tiles")
        if self._settings.features is not None:
            archive = open_features(self._settings.features, None)
        else:
            archive = open_folder(self._settings.images, None, trained.image_size, lenient=True)
        places, wanted = {tile: row for row, tile in enumerate(archive.ids)}, list(ids)
        if unknown := [tile for tile in wanted if tile not in places]:
            raise InputError(f"there is no tile {unknown[0]}: give ids as suggest does")
        trained.check_type(archive.images.dtype)
        images = np.stack([np.asarray(archive.images[places[tile]]) for tile in wanted])
        order = [trained.class_names.index(name) for name in self.class_names]
        return trained.predict(images)[:, order]

    def _read_answers(self, form: Path) -> dict[str, list[int | None]]:
        """Labels of the incomplete round so far, by tile. Raises InputError for a file that `tell` did not write."""
        path = form.parent / round_files.ANSWERS
        if not path.exists():
            return {}
        try:
            answers = dict(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{path} is damaged ({error}): bring it back, or remove it and tell again") from error
        waiting, count = {row[0] for row in read_form(form)[1]}, len(self.class_names)
        for tile, cells in answers.items():
            is_valid = isinstance(cells, list) and len(cells) == count
            if tile not in waiting or not is_valid or not all(json.dumps(cell) in ("0", "1", "null") for cell in cells):
                raise InputError(f"{path} is damaged (tile {tile}): bring it back, or remove it and tell again")
        return answers

    def _pending(self, form: Path) -> list[list[str]]:
        answers = self._read_answers(form)
        return [row for row in read_form(form)[1] if row[0] not in answers]
