"""TreeSatAI as it is downloaded: which tiles, which labels, which split, and what is refused."""

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from archives_on_disk import write_treesatai, zip_treesatai
from run_command import run

from aljax.data.archive import Archive
from aljax.data.archives.treesatai import (
    GENERA,
    LABEL_FILE,
    genus_labels,
    list_treesatai,
    open_treesatai,
    read_areas,
    read_list,
    read_tables,
    split_treesatai,
)
from aljax.errors import InputError, InputWarning
from experiments import treesatai as experiment

TRAIN, TEST = "train_filenames.lst", "test_filenames.lst"


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return write_treesatai(tmp_path_factory.mktemp("treesatai"))


@pytest.fixture
def archive_dir(sound: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(sound, tmp_path / "archive")


def pixels(archive: Archive) -> np.ndarray:
    return np.stack([archive.images[index] for index in range(len(archive.ids))])


def lists(folder: Path) -> tuple[list[str], list[str]]:
    train, test = ((folder / name).read_text().split() for name in (TRAIN, TEST))
    return train, test


def change_labels(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "labels" / LABEL_FILE
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def tile_file(folder: Path) -> Path:
    return folder / "aerial/60m" / lists(folder)[0][3]


# Labels.


@pytest.mark.parametrize(
    ("areas", "expected"),
    [
        ([["Fagus", 1.0]], ["Fagus"]),
        ([["Fagus", 1]], ["Fagus"]),
        ([["Quercus", 0.9], ["Fagus", 0.07]], ["Quercus"]),
        ([["Quercus", 0.9], ["Fagus", 0.07001]], ["Fagus", "Quercus"]),
        ([["Picea", 0.05], ["Abies", 0.06], ["Picea", 0.05]], ["Picea"]),
        ([["Picea", 0.03], ["Picea", 0.04]], []),
        ([["Tilia", 1.2], ["Acer", 0.5], ["Tilia", 0.0]], ["Acer", "Tilia"]),
        ([["Cleared", 0.0]], []),
        ([], []),
    ],
)
def test_genus_counts_if_its_areas_add_up_to_more_than_seven_percent(areas, expected) -> None:
    labels = genus_labels(areas)
    assert [GENERA[index] for index in np.flatnonzero(labels)] == expected
    assert labels.dtype == np.uint8


def test_tiles_without_a_label_are_dropped_and_the_others_keep_the_order_of_the_lists(archive_dir: Path) -> None:
    train, test = lists(archive_dir)
    train, test = train[::-1], test[::-1]
    (archive_dir / TRAIN).write_text("\n".join(train))
    (archive_dir / TEST).write_text("\n\n".join(test))
    bare = {train[2]: [], train[5]: [["Abies", 0.07], ["Acer", 0.06]], test[1]: [["Abies", 0.01]]}
    change_labels(archive_dir, lambda content: content.update(bare))
    listing = list_treesatai(archive_dir)
    assert listing.ids == tuple(tile for tile in (*train, *test) if tile not in bare)
    assert dict(listing.parts) == {"train": len(train) - 2, "test": len(test) - 1}
    areas = json.loads((archive_dir / "labels" / LABEL_FILE).read_text())
    for tile, row in zip(listing.ids, listing.labels, strict=True):
        assert row.tolist() == genus_labels(areas[tile]).tolist()
        assert row.any()


def test_tiles_are_found_by_their_names_with_every_pixel(sound: Path) -> None:
    archive = open_treesatai(sound, 32, seed=0)
    assert archive.class_names == GENERA
    assert archive.images.shape == (24, 32, 32, 4)
    listing = list_treesatai(sound)
    for index, tile in enumerate(archive.ids):
        assert listing.read(index) == (sound / "aerial/60m" / tile).read_bytes()
    assert open_treesatai(sound, 20, seed=0).images[0].shape == (20, 20, 4)


def test_validation_is_fifteen_percent_of_the_train_list_and_the_test_list_is_the_test(sound: Path) -> None:
    archive = open_treesatai(sound, 32, seed=0)
    assert archive.split is not None
    train, test = lists(sound)
    assert [len(part) for part in archive.split] == [len(train) - 2, 2, len(test)]
    assert {archive.ids[index] for part in archive.split[:2] for index in part} == set(train)
    assert [archive.ids[index] for index in archive.split.test] == test
    other = open_treesatai(sound, 32, seed=1).split
    assert other is not None
    np.testing.assert_array_equal(other.test, archive.split.test)
    assert set(other.validation.tolist()) != set(archive.split.validation.tolist())


def test_zips_give_the_same_archive_as_the_folder(sound: Path, tmp_path: Path) -> None:
    zipped, unpacked = open_treesatai(zip_treesatai(sound, tmp_path / "zips"), 32, 0), open_treesatai(sound, 32, 0)
    np.testing.assert_array_equal(pixels(zipped), pixels(unpacked))
    assert zipped.fingerprint() == unpacked.fingerprint()
    assert zipped.ids == unpacked.ids


@pytest.mark.parametrize("move", [("aerial/60m", "60m"), ("aerial/60m", "aerial_60m"), ("labels", "LABELS")])
def test_files_are_found_wherever_people_unpack_them(move, archive_dir: Path) -> None:
    before = open_treesatai(archive_dir, 32, 0).fingerprint()
    (archive_dir / move[0]).rename(archive_dir / move[1])
    if move[1] == "LABELS":
        (archive_dir / "LABELS" / LABEL_FILE).rename(archive_dir / LABEL_FILE)
    for folder in ("aerial/60m", "60m", "aerial_60m"):
        for path in sorted((archive_dir / folder).glob("Fagus*")):
            (archive_dir / folder / "Fagus sylvatica ü").mkdir(exist_ok=True)
            path.rename(archive_dir / folder / "Fagus sylvatica ü" / path.name)
    (next((archive_dir).rglob("Fagus sylvatica ü")) / "notes.txt").write_text("not a tile")
    assert open_treesatai(archive_dir, 32, 0).fingerprint() == before


def test_byte_order_mark_and_either_line_end_are_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes("\ufeffa.tif\r\n b.tif \n\nc ü.tif".encode())
    assert read_list(tmp_path / "list") == ("a.tif", "b.tif", "c ü.tif")


def test_links_out_of_the_folder_are_not_followed_and_links_within_it_are(archive_dir: Path) -> None:
    tile = tile_file(archive_dir)
    inside = archive_dir / "aerial/60m/moved" / f"{tile.name}.kept"
    inside.parent.mkdir()
    tile.rename(inside)
    tile.symlink_to(inside)
    assert tile.name in list_treesatai(archive_dir).ids
    outside = shutil.move(inside, archive_dir / "outside.tif")
    tile.unlink()
    tile.symlink_to(outside)
    missing = rf"1 listed tiles are not there \({tile.name}\)"
    with pytest.warns(InputWarning, match="1 symbolic links"), pytest.raises(InputError, match=missing):
        list_treesatai(archive_dir)
    tile.unlink()
    tile.with_suffix("").symlink_to(archive_dir, target_is_directory=True)
    with pytest.warns(InputWarning, match="1 symbolic links"), pytest.raises(InputError, match=missing):
        list_treesatai(archive_dir)


# Refusals.


def set_entry(entry: object) -> Callable[[Path], None]:
    return lambda folder: change_labels(folder, lambda content: content.update({lists(folder)[0][0]: entry}))


def append(name: str, text: Callable[[Path], str]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_text(path.read_text() + text(folder) + "\n")

    return spoil


def break_zip(folder: Path) -> None:
    shutil.rmtree(folder / "aerial")
    (folder / "aerial_60m_abies_alba.zip").write_bytes(b"PK\3\4 and then nothing")


def break_labels_zip(folder: Path) -> None:
    shutil.rmtree(folder / "labels")
    with zipfile.ZipFile(folder / "labels.zip", "w") as file:
        file.writestr("labels/other.json", "{}")


def damage_labels_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "labels.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.write(folder / "labels" / LABEL_FILE, LABEL_FILE)
    data = bytearray((folder / "labels.zip").read_bytes())
    data[200:260] = b"\xff" * 60
    (folder / "labels.zip").write_bytes(data)
    shutil.rmtree(folder / "labels")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda d: d.rename(d.with_name("gone")), "/[^ ]+ is not a folder: give the one that holds"),
    "no labels": (lambda d: shutil.rmtree(d / "labels"), f"no {LABEL_FILE} in .*put it, or labels.zip, there"),
    "json broken": (lambda d: (d / "labels" / LABEL_FILE).write_text('{"a": ['), f"{LABEL_FILE} is not readable as"),
    "json too deep": (lambda d: (d / "labels" / LABEL_FILE).write_text("[" * 200_000), "is not readable as JSON"),
    "json not UTF-8": (lambda d: (d / "labels" / LABEL_FILE).write_bytes(b'{"\xfc": []}'), "is not readable as JSON"),
    "json is a list": (lambda d: (d / "labels" / LABEL_FILE).write_text("[]"), f"{LABEL_FILE} names no tiles"),
    "json names none": (lambda d: (d / "labels" / LABEL_FILE).write_text("{}"), f"{LABEL_FILE} names no tiles"),
    "tile twice in labels": (
        lambda d: (d / "labels" / LABEL_FILE).write_text('{"a.tif": [["Fagus", 1.0]], "b.tif": [], "a.tif": []}'),
        rf"{LABEL_FILE}: a\.tif is there twice: remove one of its entries",
    ),
    "areas no list": (set_entry({"Fagus": 1.0}), r"tile \w+.*\.tif: \{'Fagus': 1.0\} is not a list of genera"),
    "unknown genus": (set_entry([["Fagus", 0.5], ["Ginkgo", 0.5]]), "tile .*tif: Ginkgo is none of the 15 genera"),
    "negative area": (set_entry([["Fagus", -0.1]]), "tile .*tif: the area -0.1 of Fagus is not a fraction"),
    "NaN area": (set_entry([["Fagus", float("nan")]]), "the area nan of Fagus is not a fraction"),
    "infinite area": (set_entry([["Fagus", float("inf")]]), "the area inf of Fagus is not a fraction"),
    "endless area": (set_entry([["Fagus", 10**400]]), "the area 10+ of Fagus is not a fraction"),
    "bool as area": (set_entry([["Fagus", True]]), r"\['Fagus', True\] is not a genus with its area"),
    "string as area": (set_entry([["Fagus", "0.5"]]), r"\['Fagus', '0.5'\] is not a genus with its area"),
    "no area": (set_entry([["Fagus"]]), r"\['Fagus'\] is not a genus with its area"),
    "genus alone": (set_entry(["Fagus"]), "'Fagus' is not a genus with its area"),
    "in both lists": (append(TEST, lambda d: lists(d)[0][0]), "tile .* is in both lists: download them again"),
    "twice in a list": (append(TEST, lambda d: lists(d)[1][0]), rf"{TEST}, line 7: .*tif is there already on line 1"),
    "tile without labels": (append(TRAIN, lambda d: "new.tif"), f"{TRAIN} names new.tif, which has no entry in"),
    "tile without file": (lambda d: tile_file(d).unlink(), r"1 listed tiles are not there \(.*\.tif\): complete"),
    "two files of a name": (
        lambda d: shutil.copytree(d / "aerial/60m", d / "aerial/60m/copy"),
        "tile .*tif is there twice, as .* and .*: remove one",
    ),
    "list missing": (lambda d: (d / TEST).unlink(), rf"{TEST} is not readable \(No such file"),
    "list empty": (lambda d: (d / TRAIN).write_text("\n \n"), f"{TRAIN} names no tiles: download it again"),
    "list not UTF-8": (lambda d: (d / TRAIN).write_bytes(b"\xfc.tif\n"), rf"{TRAIN} is not readable \(.*invalid start"),
    "no tiles": (lambda d: shutil.rmtree(d / "aerial"), r"no tiles in .*: put aerial/60m or the aerial_60m_\*\.zip"),
    "zip broken": (break_zip, "aerial_60m_abies_alba.zip is not a sound zip file"),
    "labels.zip without labels": (break_labels_zip, f"labels.zip holds no {LABEL_FILE}"),
    "labels.zip damaged": (damage_labels_zip, f"labels.zip/{LABEL_FILE} is not readable"),
    "nothing labelled": (
        lambda d: change_labels(d, lambda content: content.update({tile: [] for tile in content})),
        "no listed tile has a genus on more than 7%",
    ),
    "test list without a label": (
        lambda d: change_labels(d, lambda content: content.update({tile: [] for tile in lists(d)[1]})),
        "18 tiles for training and 0 for the test are too few",
    ),
    "line break in a name": (set_entry([["Fa\ngus", 0.5]]), r"Fa\\ngus is none of"),
    "truncated tile": (lambda d: tile_file(d).write_bytes(tile_file(d).read_bytes()[:2000]), "is not readable as an"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_archive_is_one_line_with_the_file_and_what_to_do(
    kind: str, archive_dir: Path, monkeypatch, tmp_path: Path, capsys
) -> None:
    spoil, message = BROKEN[kind]
    spoil(archive_dir)
    arguments = ["--data-dir", archive_dir, "--run-dir", tmp_path / "run", "--tiles-in", "memory", "--image-size", 32]
    assert run(monkeypatch, experiment.main, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)
    assert line.startswith("error: ")
    assert len(line.split(": ")) >= 3  # and what to do
    assert not (tmp_path / "run").exists()


# The real files.


@pytest.mark.treesatai_labels
def test_real_labels_list_a_genus_twice_on_1726_tiles(treesatai_labels: Path) -> None:
    areas = read_areas(treesatai_labels / LABEL_FILE)
    assert sum(len({genus for genus, _ in rows}) < len(rows) for rows in areas.values()) == 1726


@pytest.mark.treesatai_labels
def test_real_lists_give_the_split_of_the_paper(treesatai_labels: Path) -> None:
    table = read_tables(treesatai_labels)
    assert dict(table.parts) == {"train": 45_330, "test": 5_044}
    assert [len(part) for part in split_treesatai(0, *table.parts.values())] == [38_531, 6_799, 5_044]
    assert table.labels.any(0).all()


@pytest.mark.treesatai_labels
def test_as_many_tiles_as_the_real_archive_has_are_found_in_a_zip(treesatai_labels: Path, tmp_path: Path) -> None:
    for name in (LABEL_FILE, TRAIN, TEST):
        shutil.copy(treesatai_labels / name, tmp_path)
    ids = read_tables(tmp_path).ids
    with zipfile.ZipFile(tmp_path / "aerial_60m_all.zip", "w") as file:
        for tile in sorted(ids):
            file.writestr(f"tiles/{tile}", tile)
    listing = list_treesatai(tmp_path)
    assert listing.ids == ids
    assert [listing.read(index).decode() for index in (0, 20_000, 50_373)] == [ids[0], ids[20_000], ids[-1]]
