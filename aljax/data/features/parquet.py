"""Features in Parquet and GeoParquet: a column of ids and one of lists of floats; other columns are not read."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from aljax.errors import InputError

SUFFIXES = (".parquet", ".geoparquet", ".pq")
# Preferred names, for a table with several columns of ids or of lists.
ID_COLUMNS = ("id", "ids", "tile", "tile_id", "name")
VECTOR_COLUMNS = ("embedding", "embeddings", "feature", "features", "vector")
BYTES_AT_ONCE = 2**24
MOST_ROWS_AT_ONCE = 8192  # because rows may take much more memory than in the file, if values repeat


class Columns(NamedTuple):
    """Names of a file's two columns, and its metadata."""

    ids: str
    vectors: str
    metadata: Mapping[bytes, bytes]


def is_parquet(path: Path) -> bool:
    """Whether `path` is a folder or has the suffix of a Parquet file."""
    return path.is_dir() or path.suffix.lower() in SUFFIXES


def columns_of(file: Path) -> Columns:
    """The columns of a file. Raises InputError unless there is one of ids and one of vectors."""
    import pyarrow as pa

    try:
        with _open(file) as source:
            schema = source.schema_arrow
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error
    return Columns(*_columns(file, schema), schema.metadata or {})


def find_files(path: Path) -> list[Path]:
    """The file itself, or the Parquet files below a folder, sorted. Raises InputError if there are none."""
    if not path.is_dir():
        return [path]
    # Spark and Dask write `_metadata` and `_temporary` beside the data.
    inside = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    files = sorted(file for file in inside if not any(part[0] in "._" for part in file.relative_to(path).parts))
    if not files:
        raise InputError(f"{path} holds no Parquet files ({', '.join(SUFFIXES)}): give the folder that holds them")
    return files


def read_parquet(files: Sequence[Path]) -> tuple[list[str], Shaped[np.ndarray, "n d"], list[int]]:
    """Ids, vectors and the index of each file's first row, in the order of the files. Raises InputError.

    The memory needed is little more than that of the vectors: each batch is decoded and copied into one array.
    """
    import pyarrow as pa

    ids: list[str] = []
    vectors: np.ndarray | None = None
    starts = []
    file = files[0]
    try:
        total = 0
        for file in files:
            with _open(file) as source:
                total += source.metadata.num_rows
        if not total:
            raise InputError(f"{file} has no rows: it is to have one for each tile")
        for file in files:
            starts.append(first := len(ids))
            for names, column in _batches(file):
                row = len(ids) - first
                width = _width(file, row, names, column, None if vectors is None else vectors.shape[1])
                values = _values(file, row, names, column, width)
                if vectors is None:
                    vectors = np.empty((total, width), values.dtype)
                elif values.dtype != vectors.dtype:
                    raise InputError(f"{file} has features of {values.dtype}, and {files[0]} of {vectors.dtype}: mend")
                vectors[len(ids) : len(ids) + len(names)] = values.reshape(len(names), width)
                ids += names
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error
    assert vectors is not None
    return ids, vectors, starts


def _unreadable(file: Path, error: Exception) -> InputError:
    return InputError(f"{file} is not readable as Parquet ({str(error).splitlines()[0]}): write it again")


def _open(file: Path) -> Any:
    """The file, read through a buffer; without, a file of a single row group would be in memory twice."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False, page_checksum_verification=True)


def _batches(file: Path) -> Iterator[tuple[list[str], Any]]:
    """Batches of rows: their ids and their column of lists."""
    with _open(file) as source:
        about = source.metadata
        columns = _columns(file, source.schema_arrow)
        row_bytes = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        at_once = BYTES_AT_ONCE * about.num_rows // max(row_bytes, 1)
        row = 0
        for batch in source.iter_batches(min(max(at_once, 1), MOST_ROWS_AT_ONCE), columns=list(columns)):
            names = batch.column(columns[0]).to_pylist()
            for name in names:
                row += 1
                if name is None or name == "":
                    raise InputError(f"{file}, row {row}: the id is empty: name the tile")
            if names:
                yield list(map(str, names)), batch.column(columns[1])


def _columns(file: Path, schema: Any) -> tuple[str, str]:
    """The names of the columns of ids and of vectors. Raises InputError unless there is one of each."""
    import pyarrow.types as pt

    lists = [
        field
        for field in schema
        if pt.is_list(field.type) or pt.is_large_list(field.type) or pt.is_fixed_size_list(field.type)
    ]
    vectors = [field.name for field in lists if pt.is_floating(field.type.value_type)]
    if not vectors and lists:
        raise InputError(
            f"{file}: the column {lists[0].name} holds lists of {lists[0].type.value_type}: write floating-point "
            "numbers"
        )
    texts = []
    for field in schema:
        kind = field.type.value_type if pt.is_dictionary(field.type) else field.type
        is_text = pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind)
        if is_text or (pt.is_integer(kind) and field.name in ID_COLUMNS):
            texts.append(field.name)
    return (
        _one(file, schema.names, "ids", texts, ID_COLUMNS),
        _one(file, schema.names, "lists of floats", vectors, VECTOR_COLUMNS),
    )


def _one(file: Path, names: Sequence[str], what: str, found: Sequence[str], meant: Sequence[str]) -> str:
    named = [name for name in found if name in meant]
    chosen = named if len(named) == 1 else found
    if len(chosen) != 1:
        raise InputError(
            f"{file} has {len(chosen)} columns of {what} ({', '.join(chosen) or 'none'}) among {', '.join(names)}: "
            f"it is to have one, or one of the name {', '.join(meant[:-1])} or {meant[-1]}"
        )
    return chosen[0]


def _width(file: Path, row: int, names: Sequence[str], column: Any, width: int | None) -> int:
    """Number of features per tile, `width` if that is known. Raises InputError for a tile with another number, or none.

    `row` is the index in the file of the first row of the batch.
    """
    import pyarrow.compute as pc

    if column.null_count:
        odd = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise InputError(f"{file}, row {row + odd + 1}: tile {names[odd]} has no features: add them or remove the row")
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    expected = int(lengths[0]) if width is None else width
    if len(odd_rows := np.flatnonzero(lengths != expected)) or expected == 0:
        odd = int(odd_rows[0]) if len(odd_rows) else 0
        raise InputError(
            f"{file}, row {row + odd + 1}: tile {names[odd]} has {lengths[odd]} features and the first one {expected}: "
            "give each as many, at least one"
        )
    return expected


def _values(file: Path, row: int, names: Sequence[str], column: Any, width: int) -> Float[np.ndarray, " m"]:
    """The elements of all lists, concatenated. Raises InputError for nulls."""
    values = column.flatten()  # unlike `column.values`, without what is outside of a slice
    if values.null_count:
        odd = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0]) // width
        raise InputError(f"{file}, row {row + odd + 1}: a feature of tile {names[odd]} is null: mend or remove the row")
    return values.to_numpy(zero_copy_only=False)
