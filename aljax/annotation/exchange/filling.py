"""Answers from other tools, written into the forms of a round."""

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence

from aljax.annotation.annotators import NAME
from aljax.annotation.exchange.answers import UNSURE, Answer, newest
from aljax.annotation.exchange.rounds import Round, Sheet
from aljax.data.label_rows import CELLS, SPLIT_COLUMN, class_names_in
from aljax.data.labels import PART_NAMES, SKIPPED, to_text
from aljax.errors import InputError, InputWarning
from aljax.system.files import disk_errors, write_atomically

BOTH = "give --annotator NAME=USER, with commas between several, or NAME alone if all answers are by one person"


def parse_annotators(text: str) -> dict[str, str]:
    """Users of the tool by annotator, from "ana=1,ben=2"; "ana" alone has all answers. Raises InputError."""
    pairs = [part.strip().partition("=") for part in text.split(",")] if text else []
    names = [name for name, *_ in pairs]
    users = [user for *_, user in pairs]
    if not all(NAME.fullmatch(name) for name in names) or len({*names}) < len(names):
        raise InputError(f"--annotator is {text!r}: {BOTH}")
    if len({*users}) < len(users) or ("" in users and len(users) > 1):
        raise InputError(f"--annotator is {text!r}: every annotator is another user: {BOTH}")
    return dict(zip(names, users, strict=True))


def by_annotator(round_: Round, answers: Sequence[Answer], annotators: Mapping[str, str]) -> dict[str, list[Answer]]:
    """The answers for each form. Raises InputError if it is not clear whose they are; warns of those left out."""
    if unknown := [name for name in annotators if name not in round_.sheets and "" not in round_.sheets]:
        forms = ", ".join(round_.sheets)
        raise InputError(f"--annotator {unknown[0]}: {round_.folder} has no form of that name, only of {forms}")
    if not annotators and "" not in round_.sheets:
        users = sorted({_name(answer) for answer in answers})
        raise InputError(
            f"{round_.folder} has forms for {', '.join(round_.sheets)}, and the answers are by the users "
            f"{', '.join(users)}: {BOTH}"
        )
    if "" in annotators.values() and len(users := sorted({_name(answer) for answer in answers})) > 1:
        raise InputError(
            f"--annotator {next(iter(annotators))}: the answers are by the users {', '.join(users)}: {BOTH}"
        )
    found: dict[str, list[Answer]] = defaultdict(list)
    left = []
    for answer in answers:
        names = [name for name, user in annotators.items() if user in ("", *answer.source.users)]
        if names or not annotators:
            found["" if "" in round_.sheets else names[0]].append(answer)
        else:
            left.append(answer)
    if left and not found:
        raise InputError(f"no answer is by a user that --annotator names; {_name(left[0])} has answered: {BOTH}")
    if left:
        message = f"{len(left)} answers are left out, by users that --annotator does not name, as {_name(left[0])}"
        warnings.warn(InputWarning(message), stacklevel=2)
    return found


def _name(answer: Answer) -> str:
    return " ".join(answer.source.users) or "without a name"


def choose(round_: Round, name: str, answers: Sequence[Answer]) -> dict[str, Answer]:
    """For each tile of a form its answer. Raises InputError if several people have answered a tile of one form."""
    tiles: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        tiles[answer.source.tile].append(answer)
    for tile, found in tiles.items():
        if len(users := sorted({_name(answer) for answer in found})) > 1:
            raise InputError(
                f"tile {tile} is answered by the users {' and '.join(users)}, and {round_.sheets[name].path} is for "
                f"one person: say whose answers count, as --annotator me={users[0].split()[0]}"
            )
    own = {row[0] for row in round_.sheets[name].rows}
    if other := [tile for tile in tiles if tile not in own]:
        message = f"{len(other)} tiles that {name} has answered are not in {round_.sheets[name].path}, as {other[0]}"
        warnings.warn(InputWarning(f"{message}: they are left out"), stacklevel=2)
    return {tile: newest(found) for tile, found in tiles.items() if tile in own}


def fill(sheet: Sheet, class_names: Sequence[str], answers: Mapping[str, Answer], replace: bool) -> Sheet:
    """The form with the answers. Raises InputError if a tile has another one already, unless it is to be replaced."""
    return sheet._replace(rows=[_filled(sheet, class_names, row, answers.get(row[0]), replace) for row in sheet.rows])


def _filled(
    sheet: Sheet, class_names: Sequence[str], row: list[str], answer: Answer | None, replace: bool
) -> list[str]:
    if answer is None:
        return row
    columns = sheet.columns(class_names)
    cells = [row[column].strip() for column in columns]
    before = tuple(str(CELLS.get(cell, cell)) or UNSURE for cell in cells)
    is_answered = sheet.is_answered(row, class_names)
    is_same = sheet.is_skipped(row) if answer.skipped else before == answer.cells and not sheet.is_skipped(row)
    if is_answered and is_same:
        return row
    if is_answered and not replace:
        raise InputError(
            f"{sheet.path}, tile {row[0]}: there is another answer than in {answer.source.place}: give --replace if "
            "the new one is right, or empty the row's cells"
        )
    filled = list(row)
    for column, cell in zip(columns, answer.cells, strict=True):
        filled[column] = "" if answer.skipped else cell
    names = class_names_in(sheet.header)
    if answer.skipped:
        if SPLIT_COLUMN not in names:
            raise InputError(f"{sheet.path} has lost its column {SPLIT_COLUMN}: bring it back from the page")
        filled[names.index(SPLIT_COLUMN)] = PART_NAMES[SKIPPED]
    elif sheet.is_skipped(row):
        raise InputError(
            f"{sheet.path}, tile {row[0]}: it was skipped, so what it is for is not known any more: write pool or test "
            f"into the column {SPLIT_COLUMN} first"
        )
    return filled


def write(sheets: Sequence[Sheet]) -> None:
    """Writes the forms, each whole."""
    for sheet in sheets:
        with disk_errors(sheet.path.parent):
            write_atomically(sheet.path, to_text(sheet.header, sheet.rows))
