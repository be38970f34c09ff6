"""GeoJSON to fill in with QGIS and the like: the map of the round, with a property for each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aljax.annotation.exchange.answers import UNSURE, Answer, Source
from aljax.annotation.exchange.reading import read_json
from aljax.annotation.exchange.rounds import Round
from aljax.annotation.round_files import MAP
from aljax.data.geojson import geojson_text
from aljax.data.label_rows import CELLS, SPLIT_COLUMN, class_names_in
from aljax.data.labels import PART_NAMES, SKIPPED
from aljax.errors import InputError

PREDICTED = "{} predicted"


def features(round_: Round, tiles: Sequence[str], probabilities: Mapping[str, Sequence[float]]) -> str:
    """The outlines of tiles, with empty properties for the classes. Raises InputError if the round has no map."""
    path = round_.folder / MAP
    if not path.exists():
        raise InputError(f"{path} is not there: the tiles have no georeference, which GeoJSON wants; use another --to")
    known = {properties["id"]: (geometry, properties) for geometry, properties in _features(path)}
    outlines = [known[tile][0] if tile in known else None for tile in tiles]
    classes = dict.fromkeys(round_.class_names)
    rows = []
    for tile in tiles:
        numbers = zip(round_.class_names, probabilities.get(tile, ()), strict=False)
        found = {PREDICTED.format(name): round(value, 4) for name, value in numbers}
        before = known[tile][1] if tile in known else {}
        rows.append({SPLIT_COLUMN: before.get(SPLIT_COLUMN), **found, **classes})
    return geojson_text(tiles, outlines, rows)


def _features(path: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Geometry and properties of each feature. Raises InputError."""
    content = read_json(path)
    try:
        found = [(feature["geometry"], feature["properties"]) for feature in content["features"]]
        if not all("id" in properties for _, properties in found):
            raise KeyError("id")
    except KeyError as error:
        raise InputError(f"{path} is no GeoJSON of a round ({error} is missing): save it again") from error
    except TypeError as error:
        raise InputError(f"{path} is no GeoJSON of a round: name the file that `export` wrote, filled in") from error
    return found


def read(path: Path, round_: Round) -> list[Answer]:
    """The answers in a file. Raises InputError for what does not fit the round."""
    known = [{class_names_in([name])[0]: value for name, value in row.items()} for _, row in _features(path)]
    missing = [name for name in round_.class_names if not any(name in row for row in known)]
    if missing:
        raise InputError(f"{path} has no property {missing[0]!r}: the round has {', '.join(round_.class_names)}")
    tiles = round_.find_tiles((str(row["id"]) for row in known), path)
    found = []
    for row in known:
        source = Source(tiles[str(row["id"])], f"{path}, feature {row['id']}")
        cells = [_cell(row.get(name), name, source) for name in round_.class_names]
        is_skipped = row.get(SPLIT_COLUMN) == PART_NAMES[SKIPPED]
        if is_skipped or any(cells):
            found.append(Answer(source, tuple(cell or UNSURE for cell in cells), is_skipped))
    return found


def _cell(value: Any, name: str, source: Source) -> str:
    """The cell of a form; "" if nothing is filled in."""
    text = "" if value is None else str(int(value) if isinstance(value, bool) else value).strip()
    if text in ("", UNSURE):
        return text
    if text not in CELLS:
        raise InputError(f"{source.place}: {name} is {text!r}: write 1, 0 or, if you are not sure, {UNSURE}")
    return str(CELLS[text])
