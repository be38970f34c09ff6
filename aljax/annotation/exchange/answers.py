"""Answers of annotators, in the form that those of all tools come to."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from aljax.data.label_rows import class_names_in
from aljax.errors import InputError

YES, NO, UNSURE = "1", "0", "?"
"""Cells of a form: the class is there, is not there, or the annotator does not know."""
# Further choices beside the classes, in tools that know of labels alone.
ANSWERED, SKIP = "answered", "cannot be labelled"


class Source(NamedTuple):
    """Where an answer comes from."""

    tile: str
    place: str
    """For messages: "export.json, task 3"."""
    users: tuple[str, ...] = ()
    """The names by which the tool knows the annotator, as number and email; empty if it does not say."""
    when: datetime | None = None
    """The time of the last change; None if the tool does not say."""


class Answer(NamedTuple):
    """What an annotator says of a tile."""

    source: Source
    cells: tuple[str, ...]
    """YES, NO or UNSURE for each class of the round."""
    skipped: bool = False
    """Whether the tile cannot be labelled."""


def make_answer(
    source: Source, class_names: Sequence[str], chosen: Iterable[str], unsure: Iterable[str] = (), skipped: bool = False
) -> Answer:
    """The answer of an annotator who chose classes and is unsure about others, or about the same.

    Raises InputError for a class that the round does not have.
    """
    there, open_ = class_names_in(chosen), class_names_in(unsure)
    for name in (*there, *open_):
        if name not in class_names:
            raise InputError(
                f"{source.place}, tile {source.tile}: the class {name!r} is unknown to the round, which has "
                f"{', '.join(class_names)}: correct it in the tool, where a class has no alias, and export again"
            )
    cells = (UNSURE if name in open_ else YES if name in there else NO for name in class_names)
    return Answer(source, tuple(cells), skipped)


def answer_of_labels(
    source: Source, class_names: Sequence[str], labels: Collection[str], unsure: Collection[str] = ()
) -> Answer:
    """The answer in a tool that knows of labels alone. Raises InputError as `make_answer` does."""
    return make_answer(source, class_names, {*labels} - {ANSWERED, SKIP}, unsure, SKIP in labels)


def check_names(class_names: Sequence[str]) -> None:
    """Raises InputError if a class is called as a label that aljax adds to the classes."""
    if taken := [name for name in (ANSWERED, SKIP) if name in class_names]:
        raise InputError(f"a class is called {taken[0]!r}, as a label that says more of a tile: use label-studio")


def newest(answers: Sequence[Answer]) -> Answer:
    """Of one person's answers about a tile the last. Raises InputError if they differ and their times do not say."""
    last = max(answers, key=lambda answer: _moment(answer.source.when))
    for answer in answers:
        if answer[1:] != last[1:] and not _moment(answer.source.when) < _moment(last.source.when):
            places = " and ".join(dict.fromkeys([answers[0].source.place, answers[-1].source.place]))
            raise InputError(
                f"tile {last.source.tile} has two answers by one person, in {places}: leave the right one in the tool"
            )
    return last


def _moment(when: datetime | None) -> float:
    return 0.0 if when is None else when.timestamp()
