"""Files of predictions: a row per tile with the probabilities of its classes, as CSV or Parquet."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Shaped

from aljax.data.labels import write_csv
from aljax.errors import InputError
from aljax.system.files import replacing

UNREADABLE = "unreadable"  # the column that says why a tile has no numbers
BYTES_AT_ONCE = 2**24  # of a row group


def predictions_to_csv(
    path: Path,
    ids: Iterable[str],
    class_names: Iterable[str],
    probabilities: Float[np.ndarray, "n c"],
    unreadable: Mapping[int, InputError] = MappingProxyType({}),
) -> None:
    """Writes a CSV file with the probabilities of the classes, one row per tile.

    `unreadable` maps rows to errors: these rows have blank cells, and the reason in an additional last column.
    """
    blank, reasons = [""] * probabilities.shape[1], bool(unreadable)

    def cells(index: int, row: Float[np.ndarray, " c"]) -> list[str]:
        numbers = blank if index in unreadable else [f"{value:.4f}" for value in row]
        return [*numbers, str(unreadable.get(index, ""))] if reasons else numbers

    rows = enumerate(zip(ids, probabilities, strict=True))
    header = ("id", *class_names, *([UNREADABLE] if reasons else []))
    write_csv(path, header, ((tile, *cells(index, row)) for index, (tile, row) in rows))


def predictions_to_parquet(
    path: Path,
    ids: Sequence[str],
    class_names: Sequence[str],
    cells: Shaped[np.ndarray, "n c"],
    unreadable: Mapping[int, InputError] = MappingProxyType({}),
) -> None:
    """Writes the columns of `predictions_to_csv` as Parquet, with the numbers and the type of `cells` (n, c).

    One row group after the other, so `cells` may be memory-mapped. The cells of unreadable tiles are null.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [pa.string(), *[pa.from_numpy_dtype(cells.dtype)] * len(class_names), *[pa.string()] * bool(unreadable)]
    names = ["id", *class_names, *([UNREADABLE] if unreadable else [])]
    schema = pa.schema([*zip(names, kinds, strict=True)])
    at_once = max(1, BYTES_AT_ONCE // max(1, cells.shape[1] * cells.itemsize))
    is_label = cells.dtype.kind == "u"  # probabilities hardly repeat, and a dictionary of them would take more room
    with (
        replacing(path) as file,
        pq.ParquetWriter(file, schema, use_dictionary=is_label, write_page_checksum=True) as writer,
    ):
        for start in range(0, len(cells), at_once):
            block = cells[start : start + at_once]
            reasons = [str(unreadable[row]) if row in unreadable else None for row in range(start, start + len(block))]
            blank = np.array([reason is not None for reason in reasons])
            columns = [pa.array(np.ascontiguousarray(column), mask=blank) for column in block.T]
            whole = [pa.array(ids[start : start + len(block)]), *columns, *([pa.array(reasons)] if unreadable else [])]
            writer.write_table(pa.table(whole, schema=schema))
