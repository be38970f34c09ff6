"""Archives that `aljax prepare` wrote: TensorFlow Datasets files, read without TensorFlow."""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from aljax.data.archives.entries import size_and_time
from aljax.data.archives.listing import Listing
from aljax.data.tiles.decoding import TileForm
from aljax.data.tiles.files import stamp_files
from aljax.errors import InputError

VERSION = "1.0.0"
# The metadata that the builders write beside the records.
METADATA = ("name", "class_names", "ids", "classes", "total_bytes")
AGAIN = "delete the folder and prepare it again"


def prepared_dir(data_dir: Path, dataset: str) -> Path:
    """The folder of a prepared archive in a data folder, whether it exists or not."""
    return data_dir / dataset / VERSION


def find_prepared(data_dir: Path, dataset: str, form: TileForm) -> Listing | None:
    """The prepared archive in a data folder, or None if there is none. Raises InputError if it is damaged."""
    folder = prepared_dir(data_dir, dataset)
    if not folder.is_dir():
        return None
    try:
        return _open(folder, form)
    except InputError:
        raise
    except Exception as error:  # TensorFlow Datasets, protocol buffers and array_record raise many types
        raise InputError(f"{folder} is damaged ({error}): {AGAIN}") from error


def _open(folder: Path, form: TileForm) -> Listing:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    about: Mapping[str, Any] = builder.info.metadata
    if missing := [name for name in METADATA if name not in about]:
        raise InputError(f"{folder / 'metadata.json'} lacks {', '.join(missing)}: {AGAIN}")
    parts = {part: len(ids) for part, ids in about["ids"].items()}
    sources = {part: builder.as_data_source(split=part) for part in parts}
    for part, count in parts.items():
        if len(sources[part]) != count:
            raise InputError(f"{folder} has {len(sources[part])} tiles in {part}, not {count}: {AGAIN}")
    tiles = [(part, position, tile) for part, ids in about["ids"].items() for position, tile in enumerate(ids)]
    labels = np.zeros((len(tiles), len(about["class_names"])), np.uint8)
    for row, present in zip(labels, chain.from_iterable(about["classes"].values()), strict=True):
        row[present] = 1

    def read(index: int) -> bytes:
        part, position, tile = tiles[index]
        try:
            record = sources[part][position]
        except Exception as error:  # as above
            raise InputError(f"{folder}: tile {tile} is not readable ({error}): {AGAIN}") from error
        if record["id"].decode() != tile:
            raise InputError(f"{folder}: record {position} of {part} is not {tile}: {AGAIN}")
        return record["image"]

    ids = tuple(tile for *_, tile in tiles)
    names = [f"{folder / part}: {tile}" for part, _, tile in tiles]
    total = about["total_bytes"]
    stamp = stamp_files(map(size_and_time, sorted(folder.iterdir())), total)
    return Listing(about["name"], tuple(about["class_names"]), ids, labels, parts, form, names, read, total, stamp)
