"""Copies of tiles are warned of, and no copy of a training tile is in the test."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiles_on_disk import pixels, write_geotiff
from tiny import make_archive

from aljax.annotation.labelling import choose_initial, split_labelled
from aljax.commands.run import OwnArchiveSettings, choose_split
from aljax.data.archive import Split, random_split
from aljax.data.archives import copies, index
from aljax.data.archives.copies import find_copies, find_equal_rows
from aljax.data.archives.folder import open_folder
from aljax.data.archives.index import open_index
from aljax.data.archives.scanning import find_tiles
from aljax.data.features import open_features
from aljax.errors import InputError, InputWarning

TILES = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tiles of one size in bytes, and a copy of their folder."""
    for number in range(TILES):
        write_geotiff(tmp_path / "tiles" / "a" / f"{number:02d}.tif", pixels(seed=number))
    shutil.copytree(tmp_path / "tiles" / "a", tmp_path / "tiles" / "a (copy)")
    return tmp_path


def test_copies_are_found_and_others_as_large_are_not_read_whole(tmp_path: Path, monkeypatch) -> None:
    contents = {"a": b"1" * 50_000, "b": b"2" * 50_000, "c": b"1" * 50_000, "d": b"1" * 49_999, "e": b"", "f": b""}
    contents["g"] = b"1" * 10_000 + b"0" + b"1" * 39_999  # another where no sample is taken
    for name, content in contents.items():
        (tmp_path / f"{name}.tif").write_bytes(content)
    read = []
    monkeypatch.setattr(index, "read_file", lambda path: read.append(path.stem) or path.read_bytes())
    assert find_copies(open_index(find_tiles(tmp_path))).tolist() == [0, 1, 0, 3, 4, 4, 6]
    assert sorted(read) == ["a", "c", "e", "f", "g"]


def test_copies_of_a_folder_are_reported_and_stay_in_one_part(folder: Path) -> None:
    message = (
        rf"{TILES} tiles are copies of others, byte for byte, as .*a \(copy\)/00\.tif of .*|a/00\.tif of .*\(copy\)/00"
    )
    rows = [f"{where}/{number:02d}.tif,1" for where in ("a", "a (copy)") for number in range(TILES)]
    (folder / "labels.csv").write_text("\n".join(["id,tree", *rows]))
    with pytest.warns(InputWarning, match=message):
        archive = open_folder(folder / "tiles", folder / "labels.csv", 16)
    settings = OwnArchiveSettings(labels=folder / "labels.csv", images=folder / "tiles")
    for seed in range(5):
        split = choose_split(replace(settings, seed=seed), archive)
        assert sorted(np.concatenate(split).tolist()) == [*range(2 * TILES)]
        scenes = [{archive.ids[row].rpartition("/")[2] for row in part} for part in split]
        assert sum(map(len, scenes)) == TILES
        assert [len(part) for part in split] == [14, 4, 6]


def test_copies_that_a_users_split_parts_are_reported(folder: Path) -> None:
    shutil.rmtree(folder / "tiles" / "a (copy)")
    shutil.copy(folder / "tiles" / "a" / "03.tif", folder / "tiles" / "other.tif")
    rows = [f"{number:02d},1,pool" for number in range(TILES)]
    for part, remedy in (
        ("test", "1 are in another part of the split than the first"),
        ("pool", "a split keeps them tog"),
    ):
        (folder / "labels.csv").write_text("\n".join(["id,tree,split", *rows, f"other,1,{part}"]))
        with pytest.warns(InputWarning, match=rf"1 tiles are copies of others, .*other\.tif of .*03\.tif: {remedy}"):
            open_folder(folder / "tiles", folder / "labels.csv", 16)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_equal_features_are_reported_and_stay_in_one_part(dtype: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(copies, "ROW_BYTES_AT_ONCE", 100)
    vectors = np.random.default_rng(0).normal(size=(20, 8)).astype(dtype)
    vectors[13], vectors[7] = vectors[2], vectors[3][::-1]  # the same, and another of the same sum
    np.savez(tmp_path / "features.npz", ids=np.arange(20), embeddings=vectors)
    (tmp_path / "labels.csv").write_text("\n".join(["id,tree", *(f"{tile},1" for tile in range(20))]))
    with pytest.warns(InputWarning, match="1 tiles have the very features of others, as 13 of 2: a split keeps them"):
        archive = open_features(tmp_path / "features.npz", tmp_path / "labels.csv")
    assert archive.copy_of is not None
    assert archive.copy_of.tolist() == [2 if row == 13 else row for row in range(20)]


def test_split_without_copies_is_that_of_before() -> None:
    for part, other in zip(random_split(3, 90, 13, 20), random_split(3, 90, 13, 20, np.arange(90)), strict=True):
        assert part.tolist() == other.tolist()


def test_copies_that_leave_a_part_without_tiles_are_refused() -> None:
    with pytest.raises(InputError, match="copies of 10 tiles belong together, and leave a part without any"):
        random_split(0, 10, 2, 2, np.zeros(10, int))


def test_rounds_ask_for_a_scene_once_and_learn_nothing_that_they_measure_with() -> None:
    archive = make_archive(60)
    nothing = np.zeros(60, bool)
    archive = replace(archive, labelled=nothing, copy_of=np.arange(60) % 30)
    assignment = choose_initial(split_labelled(archive), 0, 1, initial=12, test=10)
    assert assignment is not None
    assert len(assignment.rows) == 22 == len({*(assignment.rows % 30).tolist()})
    with pytest.raises(InputError, match="there are 30 tiles without labels and 32 to begin with"):
        choose_initial(split_labelled(archive), 0, 1, initial=22, test=10)
    labelled = np.isin(np.arange(60), assignment.rows)
    tests, pool = assignment.rows[assignment.parts == 2], assignment.rows[assignment.parts == 0]
    partly_labelled = replace(archive, labelled=labelled, split=Split(np.sort(pool), np.arange(0), np.sort(tests)))
    labelling = split_labelled(partly_labelled)
    of_pool = labelling.split.pool
    learnt = of_pool[labelling.labelled | labelling.unlabelled] % 30
    assert not {*learnt.tolist()} & {*(tests % 30).tolist()}
    assert len(learnt) == 60 - 2 * 10


def test_equal_rows_are_found_among_rows_of_the_same_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "ROW_BYTES_AT_ONCE", 24)  # three rows of it
    rows = np.array([[1, 3], [2, 2], [1, 3], [0, 9], [3, 1], [2, 2], [1, 3], [7, 7]], np.float32)
    assert find_equal_rows(rows).tolist() == [0, 1, 0, 3, 4, 1, 0, 7]
    assert find_equal_rows(rows[3:4]).tolist() == [0]
