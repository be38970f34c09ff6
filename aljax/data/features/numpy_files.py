"""Features in NumPy files: `.npy`, whose ids may be in a file beside it, and `.npz` with `ids` and `embeddings`."""

import csv
from pathlib import Path

import numpy as np

from aljax.errors import InputError

Ids = tuple[str, ...]


def ids_beside(path: Path) -> Path:
    """The path of the ids of a `.npy` file: a CSV file with one column `id` and the same number of rows."""
    return path.with_suffix(".ids.csv")


def read_npy(path: Path) -> tuple[Ids | None, np.ndarray]:
    """Ids (None without a file of them) and the memory-mapped array. Raises InputError; pickles are never loaded."""
    try:
        vectors = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # broken headers raise many types
        raise _unreadable(path, error, "numpy.save") from error
    return _read_ids(beside) if (beside := ids_beside(path)).exists() else None, vectors


def read_npz(path: Path) -> tuple[Ids, np.ndarray]:
    """Ids and vectors. Raises InputError; pickles are never loaded."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            missing = {"ids", "embeddings"} - set(file.files)
            if missing:
                raise InputError(
                    f"{path} lacks {' and '.join(sorted(missing))} (it holds {', '.join(file.files) or 'nothing'}): "
                    "write it with numpy.savez(file, ids=..., embeddings=...)"
                )
            ids, vectors = file["ids"], file["embeddings"]
    except InputError:
        raise
    except Exception as error:  # broken zips raise many types
        raise _unreadable(path, error, "numpy.savez") from error
    if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "USiu"):
        raise InputError(f"{path} has ids of shape {ids.shape} and type {ids.dtype}: give a row of texts or numbers")
    try:
        texts = np.strings.decode(ids, "utf-8") if ids.dtype.kind == "S" else ids
        return tuple(map(str, texts.tolist())), vectors
    except UnicodeDecodeError as error:
        raise InputError(f"{path} has ids that are not UTF-8 ({error.reason}): write them as texts") from error


def _unreadable(path: Path, error: Exception, writer: str) -> InputError:
    if "object" in str(error).lower():  # NumPy's two messages for arrays that are pickled
        reason = "it holds Python's objects, which are not read here"
        return InputError(f"{path}: {reason}: write ids as numpy.array(ids, str) and features as float32")
    return InputError(f"{path} is not readable as NumPy's file ({error}): write it with {writer}")


def _read_ids(path: Path) -> Ids:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} is not readable as ids ({error}): mend it, or remove it") from error
    if header != ["id"]:
        raise InputError(f"{path} has the header {','.join(header)}: it is to be one column, id")
    if (odd := next((number for number, row in enumerate(rows, start=2) if len(row) != 1), None)) is not None:
        raise InputError(f"{path}, row {odd}: {len(rows[odd - 2])} fields instead of 1: mend the row")
    return tuple(row[0] for row in rows)
