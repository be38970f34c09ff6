"""Features that cannot be used are refused with one line: file, row, and what to do."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aljax.data.features import open_features, read_features
from aljax.data.features.numpy_files import ids_beside
from aljax.errors import InputError

ONES = np.ones((3, 2), np.float32)
F32 = pa.list_(pa.float32())


def refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_features(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert ": " in str(error.value)


def with_value(value: float, dtype: str = "float32") -> np.ndarray:
    vectors = ONES.astype(dtype)
    with np.errstate(over="ignore"):
        vectors[1, 1] = value
    return vectors


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (ONES.astype(int), r"of shape \(3, 2\) and type int64: give \(tiles, features\), float16, float32 or float64"),
        (ONES.astype(complex), "type complex128: give"),
        (ONES.astype(np.longdouble), "type float128: give"),
        (ONES[0], r"of shape \(2,\) and type float32: give"),
        (ONES[:, :0], r"of shape \(3, 0\)"),
        (ONES[:0], "has no rows: it is to have one for each tile"),
        (with_value(np.nan), "row 2: a feature is not a finite number: mend or remove the row"),
        (with_value(-np.inf), "row 2: a feature is not a finite number"),
        (with_value(7e4, "float16"), "row 2: a feature is not a finite number; half precision overflows at 65,504"),
        (with_value(1e39, "float64"), "row 2: a feature is not a finite number in float32"),
    ],
)
def test_array_that_is_no_table_of_finite_floats(values: np.ndarray, message: str, tmp_path) -> None:
    np.save(tmp_path / "f.npy", values)
    refused(tmp_path / "f.npy", message)
    np.savez(tmp_path / "f.npz", ids=list("abc")[: len(values)], embeddings=values)
    refused(tmp_path / "f.npz", message)


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_objects_are_never_unpickled(tmp_path) -> None:
    evil = np.array([Touch(tmp_path / "touched")], object)
    np.save(tmp_path / "f.npy", evil, allow_pickle=True)
    refused(tmp_path / "f.npy", "holds Python's objects, which are not read here: write ids as")
    np.savez(tmp_path / "f.npz", ids=evil, embeddings=ONES[:1])
    refused(tmp_path / "f.npz", "holds Python's objects")
    (tmp_path / "p.npy").write_bytes(pickle.dumps(evil))
    refused(tmp_path / "p.npy", "p.npy")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"embeddings": ONES}, r"lacks ids \(it holds embeddings\): write it with numpy.savez"),
        ({"ids": list("abc"), "x": ONES}, r"lacks embeddings \(it holds ids, x\)"),
        ({"ids": list("ab"), "embeddings": ONES}, "has 2 ids and .* 3 rows of features: give one id for each row"),
        ({"ids": list("aba"), "embeddings": ONES}, r"row 3: the id a is there already \(.*row 1\): remove one"),
        ({"ids": ["a", "", "b"], "embeddings": ONES}, "row 2: the id is empty: name the tile"),
        ({"ids": [["a", "b", "c"]], "embeddings": ONES}, r"ids of shape \(1, 3\)"),
        ({"ids": [0.5, 1.0, 2.0], "embeddings": ONES}, "type float64: give a row of texts or numbers"),
        ({"ids": [b"a", b"b", b"\xff"], "embeddings": ONES}, "ids that are not UTF-8"),
        ({"ids": ["u\u0308", "\u00fc", "b"], "embeddings": ONES}, "row 2: the id \u00fc is there already"),
    ],
)
def test_npz_without_ids_that_fit(arrays: dict, message: str, tmp_path) -> None:
    np.savez(tmp_path / "f.npz", **arrays)
    refused(tmp_path / "f.npz", message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id\na\nb\n", "f.ids.csv has 2 ids and .*f.npy 3 rows"),
        ("name\na\nb\nc\n", "has the header name: it is to be one column, id"),
        ("id\na\nb,c\nd\n", "row 3: 2 fields instead of 1"),
        ("", "is not readable as ids"),
    ],
)
def test_ids_beside_a_npy_file_that_do_not_fit(text: str, message: str, tmp_path) -> None:
    np.save(tmp_path / "f.npy", ONES)
    ids_beside(tmp_path / "f.npy").write_text(text)
    with pytest.raises(InputError, match=message):
        read_features(tmp_path / "f.npy")


def table(ids: list, lists: list | pa.Array, kind: pa.DataType = F32) -> dict:
    return {"id": ids, "x": lists if isinstance(lists, pa.Array) else pa.array(lists, kind)}


PAIRS = [[1.0, 2.0], [3.0, 4.0]]
HALVES = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(4, np.float16), mask=np.arange(4) == 2), 2)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (table(["a", "a"], PAIRS), r"row 2: the id a is there already \(.*row 1\): remove one"),
        (table(["a", None], PAIRS), "row 2: the id is empty: name the tile"),
        (table(["a", "b"], [[1.0, 2.0], [3.0]]), "row 2: tile b has 1 features and the first one 2: give each as many"),
        (table(["a", "b"], [[], []]), "row 1: tile a has 0 features"),
        (table(["a", "b"], [[1.0], None]), "row 2: tile b has no features: add them or remove the row"),
        (table(["a", "b"], [None, [1.0]]), "row 1: tile a has no features"),
        (table(["a", "b"], [[1.0, 2.0], [3.0, None]]), "row 2: a feature of tile b is null: mend or remove the row"),
        (table(["a", "b"], HALVES), "row 2: a feature of tile b is null"),
        # pyarrow 17 does not read this one itself.
        (table(["a", "b"], [[1.0, 2.0], None], pa.list_(pa.float32(), 2)), "row 2: tile b has no feat|Expected all li"),
        (table(["a", "b"], [[1.0, 2.0], [3.0, float("nan")]]), "row 2: a feature is not a finite number"),
        (table(["a", "b"], [[1.0], [float("inf")]]), "row 2: a feature is not a finite number"),
        (table([], []), "has no rows: it is to have one for each tile"),
        (table(["a"], [[1]], pa.list_(pa.int64())), "column x holds lists of int64: write floating-point numbers"),
        (table(["a"], [["1"]], pa.list_(pa.string())), "column x holds lists of string: write floating-point"),
        ({"id": ["a"], "x": [1.0]}, r"has 0 columns of lists of floats \(none\) among id, x: it is to have one"),
        ({"x": pa.array([[1.0]])}, r"has 0 columns of ids \(none\) among x: it is to have one"),
        ({"p": ["a"], "q": ["b"], "x": pa.array([[1.0]])}, r"has 2 columns of ids \(p, q\) among p, q, x: it is to"),
        ({**table(["a"], PAIRS[:1]), "y": pa.array(PAIRS[:1])}, r"has 2 columns of lists of floats \(x, y\) among"),
        ({"id": ["a"], "name": ["b"], "x": pa.array([[1.0]])}, r"has 2 columns of ids \(id, name\)"),
    ],
)
def test_parquet_that_is_no_table_of_features(columns: dict, message: str, tmp_path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    refused(tmp_path / "f.parquet", message)


def test_named_column_is_meant_where_there_are_two(tmp_path) -> None:
    columns = {"id": ["a"], "city": ["Berlin"], "scores": pa.array([[0.5]]), "embedding": pa.array([[1.0, 2.0]])}
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    assert read_features(tmp_path / "f.parquet").vectors.tolist() == [[1.0, 2.0]]


def test_row_of_a_folder_is_that_of_its_file(tmp_path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    pq.write_table(pa.table(table(["a", "b"], PAIRS)), folder / "0.parquet")
    for second, message in {
        "row": (table(["c", "d"], [[1.0, 2.0], [1.0, float("nan")]]), r"1.parquet, row 2: a feature is not"),
        "id": (table(["c", "b"], PAIRS), r"1.parquet, row 2: the id b is there already \(.*0.parquet, row 2\)"),
        "length": (table(["c"], [[1.0]]), r"1.parquet, row 1: tile c has 1 features and the first one 2"),
        "type": (table(["c"], PAIRS[:1], pa.list_(pa.float64())), "1.parquet has features of float64, and .* float32"),
    }.values():
        pq.write_table(pa.table(second), folder / "1.parquet")
        refused(folder, message)


def npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones((300, 8), np.float32))


def npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, ids=[str(row) for row in range(300)], embeddings=np.ones((300, 8), np.float32))


def parquet(path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 8)).tolist()
    pq.write_table(pa.table(table([str(row) for row in range(300)], vectors)), path)


@pytest.mark.parametrize(("write", "name"), [(npy, "f.npy"), (npz, "f.npz"), (parquet, "f.parquet")])
def test_file_that_was_cut_or_is_empty(write: Callable[[Path], None], name: str, tmp_path) -> None:
    path = tmp_path / name
    write(path)
    assert len(read_features(path).vectors) == 300
    content = path.read_bytes()
    for end in (len(content) - 1, len(content) // 2, 100, 7, 0):
        path.write_bytes(content[:end])
        refused(path, "is not readable as")


def test_page_of_parquet_that_is_damaged(tmp_path) -> None:
    parquet(tmp_path / "f.parquet")
    content = bytearray((tmp_path / "f.parquet").read_bytes())
    content[4:400] = bytes(396)
    (tmp_path / "f.parquet").write_bytes(content)
    refused(tmp_path / "f.parquet", "is not readable as Parquet .*: write it again")


def test_path_that_is_no_file_of_features(tmp_path) -> None:
    for name in ("f.npy", "f.npz", "f.parquet", "folder"):
        refused(tmp_path / name, "is not there: give a file of features, or a folder of them")
    (tmp_path / "f.csv").write_text("id,x\n")
    refused(tmp_path / "f.csv", "holds no features: give a .npy, .npz or .parquet file")
    refused(tmp_path, re.escape("holds no Parquet files (.parquet, .geoparquet, .pq): give the folder"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a,1", "x,1", "y,0"], r"l.csv, row 3: 2 ids have no features in .*f.npz \(x, y\): mend or add them"),
        (["c,1"], r"l.csv, row 2: the id c may be p/c.tif or q/c.tif in .*: write it in full"),
        (["a,1", "a.tif,1"], r"l.csv, row 3: a and a.tif both name a.tif in .*f.npz: remove one"),
    ],
)
def test_labels_that_no_features_have(rows: list[str], message: str, tmp_path) -> None:
    np.savez(tmp_path / "f.npz", ids=["a.tif", "p/c.tif", "q/c.tif"], embeddings=ONES)
    (tmp_path / "l.csv").write_text("id,A\n" + "\n".join(rows) + "\n")
    with pytest.raises(InputError, match=message):
        open_features(tmp_path / "f.npz", tmp_path / "l.csv")


def test_npy_with_another_number_of_rows_than_labels(tmp_path) -> None:
    np.save(tmp_path / "f.npy", ONES)
    (tmp_path / "l.csv").write_text("id,A\na,1\n")
    with pytest.raises(InputError, match=r"f.npy has 3 rows and the labels are of 1 tiles: give one for each"):
        open_features(tmp_path / "f.npy", tmp_path / "l.csv")
