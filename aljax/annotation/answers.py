"""The answers of all rounds and people, joined into one table: the newest of each person, and what they come to."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from aljax.annotation.agreement import (
    Disagreement,
    Votes,
    agreement_text,
    describe_agreement,
    find_disputed,
    resolve,
)
from aljax.annotation.annotators import DEALT, form_name, read_answers, read_dealt
from aljax.annotation.labelling import Assignment, Labelling, round_dir
from aljax.annotation.reasons import BLANK
from aljax.annotation.round_files import (
    FORM,
    LABELS,
    check_classes,
    check_classes_kept,
    count_rounds,
    labelled_rows,
    read_filled,
    read_tables,
)
from aljax.arrays import UNKNOWN
from aljax.data.labels import PART_NAMES, SKIPPED, CsvLabels, merge, warn_of_missing
from aljax.errors import InputError


class Together(NamedTuple):
    """What all answers so far come to."""

    labels: CsvLabels | None
    """None before the first answer."""
    held: Mapping[str, int] = {}
    """Tiles that were dealt for the test and that nobody has answered or all have skipped, with this part."""
    disputed: Mapping[str, int] = {}
    """The tiles on which people differ, and that came to them once only, with their parts of the split."""
    agreement: str = ""
    """The text of agreement.csv; empty without rounds of several people."""
    summary: tuple[str, ...] = ()
    """The same in lines."""

    @property
    def for_archive(self) -> CsvLabels | None:
        """The labels, with the tiles that are held: without a label, and in their part, so that the pool stays."""
        if self.labels is None or not self.held:
            return self.labels
        table = self.labels
        assert table.parts is not None
        rows = [row for row, tile in enumerate(table.ids) if tile in self.held]
        labels, parts = table.labels.copy(), table.parts.copy()
        labels[rows], parts[rows] = UNKNOWN, [self.held[table.ids[row]] for row in rows]
        new = [tile for tile in self.held if tile not in {*table.ids}]
        return table._replace(
            ids=(*table.ids, *new),
            labels=np.concatenate([labels, np.full((len(new), labels.shape[1]), UNKNOWN, np.uint8)]),
            parts=np.concatenate([parts, np.array([self.held[tile] for tile in new], np.uint8)]),
            places=(*table.places, *(DEALT for _ in new)),
        )


class _Own(NamedTuple):
    """The answers of one person in one round."""

    name: str
    """Empty in a round of one person."""
    path: Path
    table: CsvLabels


def read_together(
    run_dir: Path, start: Mapping[Path, CsvLabels], classes: Sequence[str], rule: Disagreement
) -> Together:
    """The labels in `start` and all forms, where those of older rounds may lack some of the classes.

    Raises InputError for files that do not fit together. Warns of classes that files lack.
    """
    folders = [round_dir(run_dir, number + 1) for number in range(count_rounds(run_dir))]
    if not any((folder / DEALT).exists() for folder in folders):
        tables = read_tables(run_dir, start)
        for table in tables.values():
            check_classes(classes, table.class_names)
        warn_of_missing(tables, classes)
        return Together(merge(tables, classes) if tables else None)
    forms = [*_read_forms(folders)]
    tables = {form.path: form.table for form in forms}
    check_classes_kept({path: table.class_names for path, table in tables.items()})
    before = {**labelled_rows(start), **tables}
    for table in before.values():
        check_classes(classes, table.class_names)
    warn_of_missing(before, classes)
    class_names = tuple(dict.fromkeys([*(name for table in tables.values() for name in table.class_names), *classes]))
    people = [*dict.fromkeys(form.name for form in forms)]
    tiles = {tile: row for row, tile in enumerate(dict.fromkeys(tile for form in forms for tile in form.table.ids))}
    parts, places = _parts_and_places(forms)
    votes, skipped = _collect(forms, people, tiles, class_names)
    labels = resolve(votes, rule)
    labels[skipped] = 0
    split = np.where(skipped, SKIPPED, [parts.get(tile, 0) for tile in tiles]).astype(np.uint8)
    joined = CsvLabels(tuple(tiles), class_names, labels, split, tuple(places[tile] for tile in tiles))
    dealt = [{tile: part for given in read_dealt(each).values() for tile, part in given.items()} for each in folders]
    asked = {tile: part for given in dealt for tile, part in given.items()}
    held = {tile: part for tile, part in asked.items() if part and (tile not in tiles or skipped[tiles[tile]])}
    came_back = {tile for tile in tiles if sum(tile in given for given in dealt) > 1}
    differ = np.asarray(find_disputed(votes).any(1))
    disputed = {tile: int(split[row]) for tile, row in tiles.items() if differ[row] and tile not in came_back}
    named = [person for person, name in enumerate(people) if name]
    agreement = votes[named], [people[person] for person in named], class_names
    labels_of_all = merge({**labelled_rows(start), run_dir / LABELS: joined}, classes)
    summary = agreement_text(*agreement), tuple(describe_agreement(*agreement))
    return Together(labels_of_all, held, disputed, *summary)


def _collect(
    forms: Sequence[_Own], people: Sequence[str], tiles: Mapping[str, int], class_names: Sequence[str]
) -> tuple[Votes, Bool[np.ndarray, " n"]]:
    """The newest answers of each person, and which tiles all have skipped who have answered for them."""
    votes = np.full((len(people), len(tiles), len(class_names)), UNKNOWN, np.uint8)
    skipped = np.ones((len(people), len(tiles)), bool)
    for name, _, table in forms:
        assert table.parts is not None
        person, rows = people.index(name), np.array([tiles[tile] for tile in table.ids], int)
        skips = (table.parts == SKIPPED) | (table.labels == UNKNOWN).all(1)
        # A class that this form does not have yet may have been added to an older one.
        columns = [class_names.index(each) for each in table.class_names]
        votes[person, rows[:, None], columns] = table.labels
        votes[person, rows[skips]] = UNKNOWN
        skipped[person, rows] = skips
    return votes, np.asarray(skipped.all(0))


def _read_forms(folders: Sequence[Path]) -> Iterator[_Own]:
    for folder in folders:
        dealt, is_newest = read_dealt(folder), folder == folders[-1]
        if not dealt:
            yield _Own("", folder / FORM, read_filled(folder / FORM, is_newest))
        for name, given in dealt.items():
            yield _Own(name, folder / form_name(name), read_answers(folder, name, given, is_newest))


def _parts_and_places(forms: Sequence[_Own]) -> tuple[dict[str, int], dict[str, str]]:
    """The part of the split of each tile that somebody has not skipped, and the place of each tile's newest row.

    Raises InputError for a tile that is in several parts.
    """
    parts: dict[str, int] = {}
    first: dict[str, str] = {}
    places: dict[str, str] = {}
    for _, _, table in forms:
        assert table.parts is not None
        for tile, part, place in zip(table.ids, table.parts.tolist(), table.places, strict=True):
            places[tile] = place
            if part == SKIPPED:
                continue
            if parts.setdefault(tile, part) != part:
                before = PART_NAMES[parts[tile]]
                raise InputError(
                    f"{place}: tile {tile} is in the part {PART_NAMES[part]}, and in {before} in {first[tile]}: give "
                    "it the same in both"
                )
            first.setdefault(tile, place)
    return parts, places


def put_first(labelling: Labelling, assignment: Assignment, tiles: Mapping[str, int]) -> tuple[Assignment, int]:
    """The assignment with these tiles, and their parts of the split, before its others; and the number of these."""
    places = {tile: row for row, tile in enumerate(labelling.archive.ids)}
    back = [tile for tile in tiles if tile in places]
    rows = np.array([places[tile] for tile in back], int)
    new = np.flatnonzero(~np.isin(assignment.rows, rows)).tolist()
    parts = np.concatenate([np.array([tiles[tile] for tile in back], int), assignment.parts[new]])
    reasons = assignment.reasons or [BLANK] * len(assignment.rows)
    both = np.concatenate([rows, assignment.rows[new]]), parts, [*[BLANK] * len(back), *(reasons[row] for row in new)]
    return Assignment(*both), len(back)
