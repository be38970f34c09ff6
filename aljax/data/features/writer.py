"""Writes features block by block as `.npy`, `.npz` or Parquet, with the same bytes for the same features."""

import zipfile
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Literal

import numpy as np
from jaxtyping import Float
from numpy.lib import format as npy

from aljax.data.features.numpy_files import ids_beside
from aljax.data.labels import to_text
from aljax.errors import InputError
from aljax.system.files import replacing, write_atomically

Store = Literal["float32", "float16"]
FORMATS = (".parquet", ".npy", ".npz")
BYTES_AT_ONCE = 2**24


def check_range(vectors: Float[np.ndarray, "n d"], ids: Sequence[str], store: Store) -> None:
    """Raises InputError for features that are not finite, or that overflow the type `store`."""
    largest = np.finfo(store).max
    fits = (np.abs(vectors) <= largest).all(1)  # False for NaN
    if fits.all():
        return
    row = int(np.flatnonzero(~fits)[0])
    if not np.isfinite(vectors[row]).all():
        raise InputError(f"the network gives tile {ids[row]} features that are not finite: look at its pixels")
    raise InputError(
        f"tile {ids[row]} has a feature of {np.abs(vectors[row]).max():.0f}, and float16 ends at {largest:.0f}: "
        "use --store float32, which goes on from here"
    )


def write_features(out: Path, ids: Sequence[str], vectors: Float[np.ndarray, "n d"], store: Store) -> None:
    """Writes `out` atomically, in the format of its suffix; `vectors` (n, d) may be memory-mapped.

    The ids of a `.npy` file go into a file beside it, which `read_features` finds. Raises InputError for features that
    `store` cannot represent.
    """
    kind = np.dtype(store)
    row = 0
    for block in _blocks(vectors, vectors.dtype):  # before an existing file is replaced
        check_range(block, ids[row : row + len(block)], store)
        row += len(block)
    if out.suffix.lower() == ".npy":
        write_atomically(ids_beside(out), to_text(("id",), ((tile,) for tile in ids)))
    with replacing(out) as file:
        if out.suffix.lower() == ".npy":
            _write_npy(file, vectors, kind)
        elif out.suffix.lower() == ".npz":
            _write_npz(file, ids, vectors, kind)
        else:
            _write_parquet(file, ids, vectors, kind)


def _blocks(vectors: Float[np.ndarray, "n d"], kind: np.dtype) -> Iterator[Float[np.ndarray, "m d"]]:
    at_once = max(1, BYTES_AT_ONCE // (vectors.shape[1] * vectors.itemsize))
    for start in range(0, len(vectors), at_once):
        yield np.ascontiguousarray(vectors[start : start + at_once], kind)


def _write_npy(file: IO[bytes] | BufferedIOBase, vectors: Float[np.ndarray, "n d"], kind: np.dtype) -> None:
    header = {"descr": npy.dtype_to_descr(kind), "fortran_order": False, "shape": vectors.shape}
    npy.write_array_header_1_0(file, header)
    for block in _blocks(vectors, kind):
        file.write(block.data)


def _write_npz(file: IO[bytes], ids: Sequence[str], vectors: Float[np.ndarray, "n d"], kind: np.dtype) -> None:
    with zipfile.ZipFile(file, "w") as archive:  # `open` dates entries 1980, so the bytes do not depend on the time
        with archive.open("ids.npy", "w", force_zip64=True) as entry:
            npy.write_array(entry, np.array(ids, str), allow_pickle=False)
        with archive.open("embeddings.npy", "w", force_zip64=True) as entry:
            _write_npy(entry, vectors, kind)


def _write_parquet(file: IO[bytes], ids: Sequence[str], vectors: Float[np.ndarray, "n d"], kind: np.dtype) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    width = vectors.shape[1]
    schema = pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(pa.field("element", pa.from_numpy_dtype(kind), nullable=False), width)),
        ]
    )
    row = 0
    # No dictionary: values that hardly repeat would take more room.
    with pq.ParquetWriter(file, schema, use_dictionary=False, write_page_checksum=True) as writer:
        for block in _blocks(vectors, kind):
            lists = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), type=schema.field(1).type)
            writer.write_table(pa.table([pa.array(ids[row : row + len(block)]), lists], schema=schema))
            row += len(block)
