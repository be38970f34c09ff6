"""Label Studio: its labelling configuration and tasks, and its exports JSON, JSON-MIN, CSV and TSV.

Which of its exports says what, as version 1.23.2 writes them:

* JSON has every annotation with its author and times; skipped ones are `was_cancelled`.
* JSON-MIN and CSV have a row per annotation, newest first, in which the task's data and the controls share one table; a
  row without `annotation_id` is a task without annotations, and skipped ones are left out.
* One choice is a string, several are {"choices": [...]}, several results of one control are a list of these.
* An empty control is left out of JSON-MIN, and data of its name then stand there. Data come before `id`, answers after.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from aljax.annotation.exchange.answers import SKIP, Answer, Source, make_answer
from aljax.annotation.exchange.reading import read_json
from aljax.annotation.exchange.rounds import Round
from aljax.data.label_rows import class_names_in, read_rows
from aljax.errors import InputError

IMAGE, TILE = "image", "tile"  # data of a task
CLASSES, UNSURE, STATE = "classes", "unsure", "state"  # controls
CONTROLS = (CLASSES, UNSURE, STATE)
# Columns of JSON-MIN and CSV that are neither data nor controls.
OTHERS = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"}
ENDINGS = (".csv", ".tsv")


def configuration(class_names: Sequence[str]) -> str:
    """The labelling configuration: the classes, those that an annotator is not sure of, and tiles without an answer."""
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in class_names)
    return f"""<View>
  <Image name="{IMAGE}" value="${IMAGE}"/>
  <Header value="Every class that the tile shows; none, if there is none. Then submit."/>
  <Choices name="{CLASSES}" toName="{IMAGE}" choice="multiple" showInline="true">
{choices}
  </Choices>
  <Header value="Not sure whether it is there:"/>
  <Choices name="{UNSURE}" toName="{IMAGE}" choice="multiple" showInline="true">
{choices}
  </Choices>
  <Choices name="{STATE}" toName="{IMAGE}" choice="single" showInline="true">
    <Choice value={quoteattr(SKIP)}/>
  </Choices>
</View>
"""


def tasks(addresses: Mapping[str, str], predicted: Mapping[str, Sequence[str]]) -> str:
    """The tasks to import, from the picture's address for each tile and the classes predicted for some."""
    return json.dumps([_task(tile, address, predicted.get(tile)) for tile, address in addresses.items()], indent=1)


def _task(tile: str, address: str, classes: Sequence[str] | None) -> dict[str, Any]:
    task: dict[str, Any] = {"data": {IMAGE: address, TILE: tile}}
    if classes is not None:
        result = {"from_name": CLASSES, "to_name": IMAGE, "type": "choices", "value": {"choices": [*classes]}}
        task["predictions"] = [{"model_version": "aljax", "result": [result] if classes else []}]
    return task


def read(path: Path, round_: Round) -> list[Answer]:
    """The answers in an export. Raises InputError for what does not fit the round."""
    if path.suffix.lower() in ENDINGS:
        return _answers_of_rows(path, _read_csv(path), round_)
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise InputError(f"{path} is no list of tasks: export JSON, JSON-MIN or CSV from Label Studio")
    if any("data" in task for task in content):
        return _answers_of_tasks(path, content, round_)
    rows = [(f"{path}, entry {number}", row) for number, row in enumerate(content, start=1)]
    for place, row in rows:
        _check_data(place, row)
    return _answers_of_rows(path, rows, round_)


def _read_csv(path: Path) -> list[tuple[str, dict[str, Any]]]:
    (_, header), *rows = read_rows(path)
    if IMAGE not in header:
        raise InputError(f"{path} has no column {IMAGE!r}: the file is of another project")
    for number, row in rows:
        if len(row) != len(header):
            raise InputError(f"{path}, row {number}: {len(row)} fields instead of {len(header)}: export it again")
    return [(f"{path}, row {number}", dict(zip(header, row, strict=True))) for number, row in rows]


def _answers_of_tasks(path: Path, tasks: Sequence[dict[str, Any]], round_: Round) -> list[Answer]:
    found = []
    numbered = list(enumerate(tasks, start=1))
    tiles = _tiles(path, ((f"{path}, task {number}", task.get("data")) for number, task in numbered), round_)
    for (number, task), tile in zip(numbered, tiles, strict=True):
        place = f"{path}, task {task.get('id', number)}"
        for annotation in _objects(task, "annotations", place):
            if not annotation.get("was_cancelled"):
                source = Source(tile, place, _users(annotation), _time(annotation.get("updated_at"), place))
                found.append(_answer(source, _results(annotation, place), round_))
    return found


def _objects(holder: Mapping[str, Any], name: str, place: str) -> list[dict[str, Any]]:
    """The objects in a list, none if there is none. Raises InputError for anything else, as numbers in their place."""
    found = holder.get(name) or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise InputError(f"{place}: {name} is no list of objects: export JSON with annotations")
    return found


def _results(annotation: Mapping[str, Any], place: str) -> dict[str, list[str]]:
    """What was chosen in each control. Raises InputError if the annotation is another configuration's."""
    chosen: dict[str, list[str]] = defaultdict(list)
    results = _objects(annotation, "result", place)
    for result in results:
        if result.get("from_name") in CONTROLS and result.get("type") == "choices":
            chosen[result["from_name"]] += _choices(result.get("value"), ())
    if results and not chosen:
        raise _other_project(place, str(results[0].get("from_name")))
    return chosen


def _other_project(place: str, name: str) -> InputError:
    return InputError(
        f"{place}: the answer is in the control {name!r}, not in {CLASSES}, {UNSURE} or {STATE}: it is of another "
        "project"
    )


def _users(annotation: Mapping[str, Any]) -> tuple[str, ...]:
    by = annotation.get("completed_by")
    values = [by.get("id"), by.get("email")] if isinstance(by, dict) else [by]
    return tuple(str(value) for value in values if value not in (None, ""))


def _time(text: Any, place: str) -> datetime | None:
    if text in (None, ""):
        return None
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise InputError(f"{place}: {text!r} is no time: export again") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _check_data(place: str, row: Mapping[str, Any]) -> None:
    """Raises InputError if data of a task stand where an answer is expected: JSON-MIN does not tell them apart."""
    names = list(row)
    before = names[: names.index("id")] if "id" in names else names
    if taken := [name for name in CONTROLS if name in before]:
        raise InputError(
            f"{place}: the task has data called {taken[0]!r}, which JSON-MIN shows in place of an empty answer: export "
            "JSON or CSV"
        )


def _answers_of_rows(path: Path, rows: Sequence[tuple[str, Mapping[str, Any]]], round_: Round) -> list[Answer]:
    rows = [(place, row) for place, row in rows if row.get("annotation_id") not in (None, "")]
    columns = set(chain.from_iterable(row for _, row in rows))
    strange = sorted(columns - {IMAGE, TILE, *OTHERS, *CONTROLS})
    if rows and strange and columns.isdisjoint(CONTROLS):
        raise _other_project(str(path), strange[0])
    tiles, found = _tiles(path, rows, round_), []
    for (place, row), tile in zip(rows, tiles, strict=True):
        user = row.get("annotator")
        users = () if user in (None, "") else (str(user),)
        source = Source(tile, place, users, _time(row.get("updated_at"), place))
        found.append(_answer(source, {name: _choices(row.get(name), round_.class_names) for name in CONTROLS}, round_))
    return found


def _tiles(path: Path, rows: Iterable[tuple[str, Any]], round_: Round) -> list[str]:
    names = []
    for place, data in rows:
        if not isinstance(data, dict) or not isinstance(data.get(IMAGE), str):
            raise InputError(f"{place} has no {IMAGE!r}: the file is of another project")
        names.append(data[IMAGE])
    found = round_.find_tiles(names, path)
    return [found[name] for name in names]


def _choices(value: Any, class_names: Sequence[str]) -> list[str]:
    """The names in a cell; in CSV what is no name of a class may be one of the other forms as JSON."""
    if isinstance(value, list):
        return [name for part in value for name in _choices(part, class_names)]
    if isinstance(value, dict):
        return _choices(value.get("choices"), class_names)
    text = "" if value is None else str(value)
    if text.startswith(("[", "{")) and class_names_in([text])[0] not in class_names:
        try:
            return _choices(json.loads(text), class_names)
        except (ValueError, RecursionError):
            return [text]
    return [text] if text else []


def _answer(source: Source, chosen: Mapping[str, Sequence[str]], round_: Round) -> Answer:
    states = chosen.get(STATE, [])
    if any(state != SKIP for state in states):
        raise InputError(f"{source.place}: {STATE} is {states[0]!r}: it may be {SKIP!r} alone; correct it in the tool")
    return make_answer(source, round_.class_names, chosen.get(CLASSES, []), chosen.get(UNSURE, []), bool(states))
