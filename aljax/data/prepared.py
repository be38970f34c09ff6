"""Archives as `tools.prepare` leaves them: TensorFlow Datasets' files, read without TensorFlow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aljax.data.decoding import TileForm
from aljax.data.listing import Listing
from aljax.errors import InputError

VERSION = "1.0.0"


def find_prepared(data_dir: Path, dataset: str, form: TileForm) -> Listing | None:
    """The prepared archive in a data folder, or None if there is none. Raises InputError if it is damaged."""
    folder = data_dir / dataset / VERSION
    if not (folder / "dataset_info.json").is_file():
        return None
    try:
        return _open(folder, form)
    except InputError:
        raise
    except Exception as error:  # of TensorFlow Datasets, protocol buffers or array_record: whatever they raise
        raise InputError(f"{folder} is damaged ({error}): delete it and prepare it again") from error


def _open(folder: Path, form: TileForm) -> Listing:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    about: Mapping[str, Any] = builder.info.metadata or {}
    parts = {part: len(ids) for part, ids in about["ids"].items()}
    sources = {part: builder.as_data_source(split=part) for part in parts}
    for part, count in parts.items():
        if len(sources[part]) != count:
            raise InputError(f"{folder} has {len(sources[part])} tiles in {part} instead of {count}: prepare it again")
    ids = tuple(tile for listed in about["ids"].values() for tile in listed)
    places = [(part, index) for part, count in parts.items() for index in range(count)]
    classes = tuple(about["class_names"])
    labels = np.zeros((len(ids), len(classes)), np.uint8)
    for row, present in enumerate(present for listed in about["classes"].values() for present in listed):
        labels[row, present] = 1

    def read(index: int) -> bytes:
        part, position = places[index]
        try:
            record = sources[part][position]
        except Exception as error:  # as above
            raise InputError(f"{folder}: tile {ids[index]} is not readable ({error}): prepare it again") from error
        if record["id"] != ids[index]:
            raise InputError(f"{folder}: record {position} of {part} is not {ids[index]}: prepare it again")
        return record["image"]

    names = [f"{folder / part}: {tile}" for (part, _), tile in zip(places, ids, strict=True)]
    return Listing(about["name"], classes, ids, labels, parts, form, names, read, about["total_bytes"])
