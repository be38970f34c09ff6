"""Ask and tell: a program labels the rounds of the command, stops and goes on, and the command goes on after it."""

import json
from pathlib import Path

import numpy as np
import pytest
from run_command import run
from small_runs import run as make_run
from small_runs import settings
from tiles_on_disk import write_geotiff
from tiles_with_features import write_tiles_and_features
from tiny import make_archive

import aljax
from aljax.commands import annotate
from aljax.data.labels import read_form
from aljax.errors import InputError

ARCHIVE = make_archive(60)
TRUTH = dict(zip((f"{tile}.png" for tile in ARCHIVE.ids), ARCHIVE.labels, strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiles_and_features(tmp_path, ARCHIVE)
    return tmp_path


def begin(folder: Path, **settings) -> aljax.Session:
    sizes = {"test": 8, "initial": 8, "budget": 4, **settings}
    return aljax.Session(folder / "run", folder / "tiles", ARCHIVE.class_names, folder / "features.npz", **sizes)


def labels_of(ids: list[str]) -> np.ndarray:
    return np.stack([TRUTH[tile] for tile in ids])


def test_suggests_is_reported_and_predicts_over_restarts_and_beside_the_command(
    folder: Path, monkeypatch, capsys
) -> None:
    session = begin(folder)
    first = session.suggest()
    assert len(set(first)) == 16
    session.tell(first[:5], labels_of(first[:5]))
    session = begin(folder)  # another process
    assert session.suggest() == first[5:]
    with pytest.raises(InputError, match="nothing is learnt yet"):
        session.predict(first)
    session.tell(first[5:], labels_of(first[5:]).tolist())
    second = session.suggest(6)
    assert len(set(second)) == 6
    assert not {*second} & {*first}
    probabilities = session.predict(list(TRUTH))
    assert probabilities.shape == (60, 3)
    np.testing.assert_allclose(session.predict(list(TRUTH)[::-1]), probabilities[::-1], atol=1e-5)
    before = read_form(folder / "run/round-2/to_label.csv")
    session.tell(second[::-1], labels_of(second[::-1]))
    header, rows = read_form(folder / "run/round-2/to_label.csv")
    assert header == before[0]
    assert [row[5:] for row in rows] == [row[5:] for row in before[1]]  # why they were chosen
    assert [row[2:5] for row in rows] == labels_of(second).astype(str).tolist()
    arguments = ["--images", folder / "tiles", "--features", folder / "features.npz", "--run-dir", folder / "run"]
    sizes = ["--classes", ",".join(ARCHIVE.class_names), "--test", 8, "--initial", 8, "--budget", 4]
    assert run(monkeypatch, annotate.main, *arguments, *sizes) == 0
    assert "round 3: trained on 14 tiles" in capsys.readouterr().out
    records = (folder / "run" / "round-3" / "history.jsonl").read_text().splitlines()
    assert len(session.suggest()) == 4
    assert json.loads(records[-1])["num_labeled"] == 14
    saved = (folder / "run" / "labels.csv").read_text().splitlines()
    assert all(row.split(",")[2:] == list(map(str, TRUTH[row.split(",")[0]])) for row in saved[1:])


@pytest.mark.parametrize("kind", ["NaN", "None", "a mask"])
def test_classes_that_nobody_knows_are_reported_as_nan_none_or_masked(kind: str, folder: Path) -> None:
    session = begin(folder)
    ids = session.suggest()
    labels = labels_of(ids).astype(float)
    labels[0, 1] = labels[5] = np.nan
    if kind == "a mask":
        told = np.ma.masked_array(labels_of(ids), np.isnan(labels))
    else:
        told = labels if kind == "NaN" else [[None if x != x else int(x) for x in row] for row in labels.tolist()]
    session.tell(ids[:3], told[:3])
    session = begin(folder)
    session.tell(ids[3:], told[3:])
    assert len(session.suggest()) == 4
    rows = [row.split(",") for row in (folder / "run" / "labels.csv").read_text().splitlines()[1:]]
    kept = {tile: cells for tile, *cells in rows}
    truth = list(map(str, TRUTH[ids[0]]))
    assert kept[ids[0]][1:] == [truth[0], "", truth[2]]
    assert kept[ids[5]] == ["skip", "", "", ""]


@pytest.mark.parametrize(
    ("ids", "labels", "message"),
    [
        (["nowhere.png"], [[0, 1, 0]], "tile nowhere.png is not among the 16 that wait for labels"),
        (None, [[0, 1, 2]], "give 0 or 1 for 1 tiles and 3 classes"),
        (None, [[0, 1]], r"labels have the shape \(1, 2\)"),
        (None, [[0, 1, 255]], "give 0 or 1 for 1 tiles and 3 classes, or NaN where nobody knows"),
        (None, [[0, 1, "tree"]], "labels are no table of numbers"),
    ],
)
@pytest.mark.usefixtures("as_users_have_it")  # the checks of tests look at a random item of a list
def test_answers_that_do_not_fit_are_refused(ids, labels, message: str, folder: Path) -> None:
    session = begin(folder)
    suggested = session.suggest()
    with pytest.raises(InputError, match=message):
        session.tell(ids or suggested[:1], labels)
    assert session.suggest() == suggested


def test_tiles_of_another_pixel_type_than_those_of_the_rounds_are_not_predicted(folder: Path) -> None:
    make_run(settings(folder / "run" / "round-1", max_labels=8))
    session = aljax.Session(folder / "run", folder / "tiles", ARCHIVE.class_names)
    for tile, pixels in zip(ARCHIVE.ids, np.asarray(ARCHIVE.images), strict=True):
        write_geotiff(folder / "tiles" / f"{tile}.png", pixels.astype(np.uint16))
    with pytest.raises(InputError, match=r"the tiles are of type uint16, those in training were of uint8"):
        session.predict(["tile000.png"])


def test_broken_tile_among_others_ends_no_prediction_of_them(folder: Path) -> None:
    make_run(settings(folder / "run" / "round-1", max_labels=8))
    (folder / "tiles" / "tile007.png").write_bytes(b"")
    session = aljax.Session(folder / "run", folder / "tiles", ARCHIVE.class_names)
    assert session.predict(["tile000.png"]).shape == (1, len(ARCHIVE.class_names))
    with pytest.raises(InputError, match=r"tile007.png is empty"):
        session.predict(["tile007.png"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "[" * 100_000,
        '{"nowhere.png": [0, 1, 0]}',
        "[0, 1]",
        "[0, 1, 2]",
        '"010"',
        "[0, 1, true]",
        "3",
        "[0, 1, 1.0]",
    ],
)
def test_answers_that_were_cut_off_or_edited_are_refused_by_name(text: str, folder: Path) -> None:
    session = begin(folder)
    suggested = session.suggest()
    session.tell(suggested[:1], labels_of(suggested[:1]))
    answers = folder / "run/round-1/told.json"
    is_cells = text in ("[0, 1]", "[0, 1, 2]", '"010"', "[0, 1, true]", "3")
    answers.write_text(f'{{"{suggested[0]}": {text}}}' if is_cells else text)
    for call in (session.suggest, lambda: session.tell(suggested[1:2], labels_of(suggested[1:2]))):
        with pytest.raises(InputError, match=r"told.json is damaged \(.*\): bring it back, or remove it"):
            call()
