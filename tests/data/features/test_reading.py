"""Features that others have written are read as they are: NumPy, pyarrow, pandas, GeoPandas."""

import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from places import ROOT
from shapely.geometry import box

from aljax.data.features import open_features, read_features
from aljax.data.features.numpy_files import ids_beside
from aljax.data.features.parquet import read_parquet
from aljax.errors import InputWarning

IDS = tuple(f"deep/tile-{index}.tif" for index in range(23))
VECTORS = np.random.default_rng(0).normal(size=(23, 5))


def lists(values: np.ndarray, kind: str) -> pa.Array:
    flat = pa.array(values.ravel())
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    ends = np.arange(0, values.size + 1, values.shape[1])
    if kind == "large":
        return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), flat)
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_npy_is_mapped_and_has_the_ids_of_the_labels(dtype: str, tmp_path) -> None:
    np.save(tmp_path / "f.npy", VECTORS.astype(dtype))
    (tmp_path / "l.csv").write_text("id,A\n" + "".join(f"t{index},{index % 2}\n" for index in range(23)))
    features = read_features(tmp_path / "f.npy")
    assert features.ids is None
    assert isinstance(features.vectors, np.memmap)
    np.testing.assert_array_equal(features.vectors, VECTORS.astype(dtype))
    archive = open_features(tmp_path / "f.npy", tmp_path / "l.csv")
    assert isinstance(archive.images, np.memmap)
    assert (archive.images.shape, archive.images.dtype) == ((23, 1, 1, 5), dtype)
    assert archive.ids == tuple(f"t{index}" for index in range(23))
    assert archive.labelled is None
    assert open_features(tmp_path / "f.npy", None).ids[:2] == ("0", "1")


@pytest.mark.parametrize("values", [VECTORS.astype(">f4"), np.asfortranarray(VECTORS.astype(np.float32))])
def test_another_order_of_bytes_or_axes_gives_the_same_numbers(values: np.ndarray, tmp_path) -> None:
    np.save(tmp_path / "f.npy", values)
    found = read_features(tmp_path / "f.npy")
    assert found.vectors.dtype.isnative
    np.testing.assert_array_equal(found.vectors, VECTORS.astype(np.float32))
    np.save(tmp_path / "plain.npy", VECTORS.astype(np.float32))
    assert found.digest == read_features(tmp_path / "plain.npy").digest


def test_ids_beside_a_npy_file_are_its_rows(tmp_path) -> None:
    np.save(tmp_path / "f.npy", VECTORS)
    ids_beside(tmp_path / "f.npy").write_text("id\n" + "\n".join(IDS) + "\n")
    assert read_features(tmp_path / "f.npy").ids == IDS


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("ids", [np.array(IDS), np.array([tile.encode() for tile in IDS]), np.arange(23)])
def test_npz_with_texts_bytes_or_numbers_as_ids(save, ids: np.ndarray, tmp_path) -> None:
    save(tmp_path / "f.npz", ids=ids, embeddings=VECTORS)
    found = read_features(tmp_path / "f.npz")
    assert found.ids == (tuple(map(str, range(23))) if ids.dtype.kind == "i" else IDS)
    np.testing.assert_array_equal(found.vectors, VECTORS)


@pytest.mark.parametrize("kind", ["list", "large", "fixed"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_parquet_of_pyarrow_in_several_row_groups(kind: str, dtype: str, tmp_path) -> None:
    values = VECTORS.astype(dtype)
    pq.write_table(pa.table({"name": list(IDS), "embedding": lists(values, kind)}), tmp_path / "f.pq", row_group_size=4)
    found = read_features(tmp_path / "f.pq")
    assert (found.ids, found.vectors.dtype) == (IDS, dtype)
    np.testing.assert_array_equal(found.vectors, values)


def test_numbers_and_categories_are_ids(tmp_path) -> None:
    column = lists(VECTORS, "list")
    pq.write_table(pa.table({"tile_id": np.arange(23), "x": column}), tmp_path / "numbers.parquet")
    assert read_features(tmp_path / "numbers.parquet").ids == tuple(map(str, range(23)))
    pq.write_table(pa.table({"where": pa.array(IDS).dictionary_encode(), "x": column}), tmp_path / "words.parquet")
    assert read_features(tmp_path / "words.parquet").ids == IDS


@pytest.mark.parametrize("kind", ["list", "large", "fixed"])
def test_slices_of_chunked_lists_are_their_own_values(kind: str, tmp_path) -> None:
    twice = pa.chunked_array([lists(VECTORS, kind).slice(3, 8), lists(VECTORS, kind).slice(20)])
    table = pa.table({"id": [*IDS[3:11], *IDS[20:]], "x": twice}).slice(1)
    pq.write_table(table, tmp_path / "f.parquet", row_group_size=4)
    found = read_features(tmp_path / "f.parquet")
    assert found.ids == (*IDS[4:11], *IDS[20:])
    np.testing.assert_array_equal(found.vectors, np.concatenate([VECTORS[4:11], VECTORS[20:]]))


def test_rows_are_read_in_parts_whose_bounds_do_not_matter(tmp_path, monkeypatch) -> None:
    from aljax.data.features import parquet

    pq.write_table(pa.table({"id": list(IDS), "x": lists(VECTORS, "list")}), tmp_path / "f.parquet", row_group_size=10)
    monkeypatch.setattr(parquet, "MOST_ROWS_AT_ONCE", 3)
    ids, vectors, _ = read_parquet([tmp_path / "f.parquet"])
    assert tuple(ids) == IDS
    np.testing.assert_array_equal(vectors, VECTORS)


def test_folder_of_files_is_read_in_their_order(tmp_path) -> None:
    folder = tmp_path / "features"
    for part, (start, end) in {"a/part-0": (0, 9), "b/part-0": (9, 10), "c": (10, 23), "_old": (0, 2)}.items():
        path = folder / f"{part}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": list(IDS[start:end]), "x": lists(VECTORS[start:end], "fixed")}), path)
    (folder / "_SUCCESS").write_text("")
    found = read_features(folder)
    assert found.ids == IDS
    np.testing.assert_array_equal(found.vectors, VECTORS)


def test_table_of_pandas_with_ids_as_column_or_index(tmp_path) -> None:
    rows = [*VECTORS.astype(np.float32)]
    labels = [["Forest", "Water"]] * 23  # lists too, of something else
    pandas.DataFrame({"id": IDS, "embedding": rows, "labels": labels}).to_parquet(tmp_path / "column.parquet")
    pandas.DataFrame({"embedding": rows}, index=IDS).to_parquet(tmp_path / "index.parquet")
    for path in sorted(tmp_path.glob("*.parquet")):
        found = read_features(path)
        assert (found.ids, found.vectors.dtype) == (IDS, np.float32)
        np.testing.assert_array_equal(found.vectors, rows)


@pytest.mark.parametrize("options", [{}, {"write_covering_bbox": True}, {"geometry_encoding": "geoarrow"}])
def test_geometry_of_geoparquet_does_not_disturb(options: dict, tmp_path) -> None:
    outlines = [box(index, 0, index + 1, 1) for index in range(23)]
    data = {"id": IDS, "city": ["Berlin"] * 23, "embedding": [*VECTORS]}
    geopandas.GeoDataFrame(data, geometry=outlines, crs=25832).to_parquet(tmp_path / "f.geoparquet", **options)
    found = read_features(tmp_path / "f.geoparquet")
    assert found.ids == IDS
    np.testing.assert_array_equal(found.vectors, VECTORS)


MEASURE = """
import resource, sys
from pathlib import Path
import pyarrow.parquet
from aljax.data.features import read_features
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
bytes = read_features(Path(sys.argv[1])).vectors.nbytes
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / bytes)
"""


@pytest.mark.parametrize("rows", [4096, 60_000])
def test_reading_parquet_takes_little_more_memory_than_the_array(rows: int, tmp_path) -> None:
    values = np.random.default_rng(0).normal(size=(60_000, 512)).astype(np.float32)  # 117 MiB
    table = pa.table({"id": list(map(str, range(len(values)))), "x": lists(values, "list")})
    pq.write_table(table, tmp_path / "f.parquet", row_group_size=rows)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "f.parquet")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert float(result.stdout) < 3.0


def write_labels(path: Path, rows: list[str]) -> Path:
    path.write_text("id,A,B,split\n" + "\n".join(rows) + "\n")
    return path


def test_labels_are_matched_by_id_and_tiles_without_are_unlabelled(tmp_path) -> None:
    np.savez(tmp_path / "f.npz", ids=IDS[:4], embeddings=VECTORS[:4])
    # As those of a folder of tiles: by path, by file name, by either without suffix.
    labels = write_labels(tmp_path / "l.csv", ["tile-3,1,0,test", "deep/tile-0.tif,0,1,pool", "tile-1.tif,1,1,skip"])
    archive = open_features(tmp_path / "f.npz", labels)
    assert archive.ids == IDS[:4]
    np.testing.assert_array_equal(archive.labels, [[0, 1], [0, 0], [0, 0], [1, 0]])
    np.testing.assert_array_equal(archive.labelled, [True, True, False, True])
    assert archive.split is not None
    assert [part.tolist() for part in archive.split] == [[0], [], [3]]


def test_class_of_no_tile_is_warned_of(tmp_path) -> None:
    np.savez(tmp_path / "f.npz", ids=IDS[:1], embeddings=VECTORS[:1])
    with pytest.warns(InputWarning, match="no tile has the class B"):
        open_features(tmp_path / "f.npz", write_labels(tmp_path / "l.csv", [f"{IDS[0]},1,0,pool"]))


def test_digest_tells_every_change(tmp_path) -> None:
    digests = set()
    changed = VECTORS.copy()
    changed[22, 4] += 1e-9
    for values in (VECTORS, changed, VECTORS.astype(np.float32), VECTORS[:, ::-1].copy()):
        np.save(tmp_path / "f.npy", values)
        digests.add(read_features(tmp_path / "f.npy").digest)
    assert len(digests) == 4
