"""Archives as `aljax prepare` leaves them: TensorFlow Datasets' files, read without TensorFlow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aljax.data.archives.listing import Listing
from aljax.data.tiles.decoding import TileForm
from aljax.data.tiles.images import stamp_files
from aljax.errors import InputError

VERSION = "1.0.0"
# What the builders put into an archive's metadata beside its records.
METADATA = ("name", "class_names", "ids", "classes", "total_bytes")
AGAIN = "delete the folder and prepare it again"


def prepared_dir(data_dir: Path, dataset: str) -> Path:
    """Where a data folder's prepared archive is, or would be."""
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
    except Exception as error:  # of TensorFlow Datasets, protocol buffers or array_record: whatever they raise
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
    ids = tuple(tile for listed in about["ids"].values() for tile in listed)
    places = [(part, index) for part, count in parts.items() for index in range(count)]
    classes = tuple(about["class_names"])
    labels = np.zeros((len(ids), len(classes)), np.uint8)
    present = (indices for listed in about["classes"].values() for indices in listed)
    for row, indices in zip(labels, present, strict=True):
        row[indices] = 1

    def read(index: int) -> bytes:
        part, position = places[index]
        try:
            record = sources[part][position]
        except Exception as error:  # as above
            raise InputError(f"{folder}: tile {ids[index]} is not readable ({error}): {AGAIN}") from error
        if record["id"].decode() != ids[index]:
            raise InputError(f"{folder}: record {position} of {part} is not {ids[index]}: {AGAIN}")
        return record["image"]

    names = [f"{folder / part}: {tile}" for (part, _), tile in zip(places, ids, strict=True)]
    total = about["total_bytes"]
    stamp = stamp_files((path.stat() for path in sorted(folder.iterdir())), total)
    return Listing(about["name"], classes, ids, labels, parts, form, names, read, total, stamp)
