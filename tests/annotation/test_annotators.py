"""Rounds of several people: what each is dealt, whose answers count, and what is told where they do not fit."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from run_command import run
from tiles_with_features import write_tiles_and_features
from tiny import make_archive

import aljax
from aljax.annotation.annotators import deal, parse_names
from aljax.commands import annotate
from aljax.errors import InputError

ARCHIVE = make_archive(60)
TRUTH = dict(zip((f"{tile}.png" for tile in ARCHIVE.ids), ARCHIVE.labels.tolist(), strict=True))
NAMES = ("ana", "ben")


@pytest.mark.parametrize(("people", "overlap"), [(2, 0.3), (3, 0.0), (3, 1.0)])
def test_tiles_are_dealt_evenly_and_the_share_goes_to_all(people: int, overlap: float) -> None:
    names = [f"p{index}" for index in range(people)]
    parts = np.array([2] * 20 + [0] * 11)
    masks = np.stack(list(deal(0, 1, parts, names, overlap).values()))
    assert (masks.sum(0) == people).sum() == round(20 * overlap) + round(11 * overlap)
    assert set(masks.sum(0)) <= {1, people}
    assert np.ptp(masks.sum(1)) <= 1
    assert (masks[:, parts == 2].all(0)).sum() == round(20 * overlap)  # test tiles, too
    np.testing.assert_array_equal(masks, np.stack(list(deal(0, 1, parts, names, overlap).values())))
    if overlap < 1:
        assert (masks != np.stack(list(deal(1, 1, parts, names, overlap).values()))).any()
    first = np.stack(list(deal(0, 1, parts, names, overlap, common=4).values()))
    assert first[:, :4].all()


def test_who_has_no_tile_has_no_form() -> None:
    assert list(deal(0, 1, np.zeros(2, int), ["a", "b", "c"], 0.0)) == ["b", "c"]


@pytest.mark.parametrize("text", ["ana,ana", "ana,Ana", "ana,b/c", "ana,", "ana", "ana,b c"])
def test_names_that_give_no_forms_of_their_own_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^--annotators"):
        parse_names(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiles_and_features(tmp_path, ARCHIVE)
    return tmp_path


@pytest.fixture
def call(folder: Path, monkeypatch):
    """The command for ana and ben, on features; gives its exit status."""

    def call(*arguments: object, people: str = ",".join(NAMES)) -> int:
        files = ["--images", folder / "tiles", "--features", folder / "features.npz", "--run-dir", folder / "run"]
        sizes = ["--classes", ",".join(ARCHIVE.class_names), "--test", 8, "--initial", 8, "--budget", 6]
        named = ["--annotators", people, "--overlap", 0.5] if people else []
        return run(monkeypatch, annotate.main, *files, *sizes, *named, *arguments)

    return call


def read(form: Path) -> list[dict[str, str]]:
    with form.open(newline="") as file:
        return list(csv.DictReader(file))


def form_of(folder: Path, number: int, name: str) -> Path:
    return folder / f"run/round-{number}/to_label-{name}.csv"


def fill(form: Path, wrong: tuple[str, ...] = (), rows: slice = slice(None)) -> None:
    """What a person does, who takes class0 for its opposite on the tiles `wrong`, in some rows of a form."""
    table = read(form)
    for row in table[rows]:
        cells = TRUTH[row["id"]].copy()
        cells[0] ^= row["id"] in wrong
        row.update(zip(ARCHIVE.class_names, map(str, cells), strict=True))
    with form.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)


def labels(folder: Path) -> dict[str, list[str]]:
    rows = read(folder / "run/labels.csv")
    return {row["id"]: [row["split"], *(row[name] for name in ARCHIVE.class_names)] for row in rows}


def expected(tile: str) -> list[str]:
    return list(map(str, TRUTH[tile]))


def test_a_class_that_is_added_is_unknown_in_what_people_answered_before(call, folder, capsys) -> None:
    assert call() == 0
    more = ",".join((*ARCHIVE.class_names, "later"))
    assert call("--classes", more) == 2
    assert "waits for labels and has no class later: fill it in first" in capsys.readouterr().err
    for name in NAMES:
        fill(form_of(folder, 1, name))
    assert call("--classes", "class0,class1,other") == 2  # whoever types, not the forms
    known = "class0,class1,class2"
    assert f"error: the classes are class0,class1,other and were {known}: the rounds of" in capsys.readouterr().err
    assert call("--classes", more) == 0
    said = capsys.readouterr().err
    assert "class later is unknown on 12 tiles, for want of a column in" in said or "on 24 tiles" in said
    assert list(read(form_of(folder, 2, "ana"))[0])[2:6] == [*ARCHIVE.class_names, "later"]
    rows = read(folder / "run/labels.csv")
    assert {row["later"] for row in rows} == {""}
    assert labels(folder)[rows[0]["id"]][1:] == expected(rows[0]["id"])
    for name in NAMES:
        form = form_of(folder, 2, name)
        fill(form)
        form.write_text(form.read_text().replace("later", "other"))
    assert call("--classes", more) == 2
    assert "classes" in capsys.readouterr().err


def test_each_has_a_form_and_a_page_and_the_round_goes_on_when_all_have_answered(call, folder, capsys) -> None:
    assert call() == 0
    said = capsys.readouterr().out
    assert "ana 12 of 12, ben 12 of 12. Each opens label-NAME.html" in said
    names = {path.name for path in (folder / "run/round-1").iterdir()}
    assert {"to_label-ana.csv", "to_label-ben.csv", "label-ana.html", "label-ben.html", "dealt.csv"} <= names
    assert not {"to_label.csv", "label.html"} & names
    ids = [{row["id"] for row in read(form_of(folder, 1, name))} for name in NAMES]
    shared = sorted(ids[0] & ids[1])
    assert len(ids[0] | ids[1]) == 16
    assert len(shared) == 8
    fill(form_of(folder, 1, "ana"))
    fill(form_of(folder, 1, "ben"), rows=slice(3, None))
    assert call() == 0
    assert "tiles left to label in" in (said := capsys.readouterr().out)
    assert "ana 0 of 12, ben 3 of 12" in said
    assert not (folder / "run/round-2").exists()
    fill(form_of(folder, 1, "ben"), wrong=(shared[0],))
    assert call() == 0
    said = capsys.readouterr().out
    assert re.search(r"alpha: class0 0\.\d\d, class1 1\.00, class2 1\.00\ndiffer: ana and ben in 1 of 24 cells\n", said)
    assert "round 2: trained on 8 tiles" in said
    assert "ana 5 of 5, ben 4 of 4" in said or "ana 4 of 4, ben 5 of 5" in said
    found = labels(folder)
    assert {tile: cells[1:] for tile, cells in found.items() if tile != shared[0]} == {
        tile: expected(tile) for tile in ids[0] | ids[1] if tile != shared[0]
    }
    assert found[shared[0]][1:] == ["", *expected(shared[0])[1:]]
    rows = read(folder / "run/agreement.csv")
    assert [(row["class"], row["tiles"], row["differ"]) for row in rows] == [
        *(("class0", "8", "1"), ("class1", "8", "0"), ("class2", "8", "0"))
    ]


def both_answer(call, folder: Path, wrong: tuple[str, ...] = ()) -> list[str]:
    """Makes the first round and answers it, ben with errors; gives the tiles that both have."""
    assert call() == 0
    ids = [{row["id"] for row in read(form_of(folder, 1, name))} for name in NAMES]
    fill(form_of(folder, 1, "ana"))
    fill(form_of(folder, 1, "ben"), wrong=wrong or tuple(sorted(ids[0] & ids[1])[:2]))
    return sorted(ids[0] & ids[1])


def test_disputed_tiles_come_back_once_and_the_newer_answer_of_a_person_counts(call, folder, capsys) -> None:
    shared = both_answer(call, folder)
    assert call("--disputed-first") == 0
    order = [row["id"] for row in read(form_of(folder, 2, "ana"))][:2]
    assert sorted(order) == shared[:2]
    for name in NAMES:
        assert [row["id"] for row in read(form_of(folder, 2, name))][:2] == order
    parts = {row["id"]: row["split"] for row in read(form_of(folder, 1, "ana"))}
    assert all(row["split"] == parts[row["id"]] for row in read(form_of(folder, 2, "ana"))[:2])
    fill(form_of(folder, 2, "ana"))
    fill(form_of(folder, 2, "ben"), wrong=(shared[0],))
    assert call("--disputed-first") == 0
    found = labels(folder)
    assert found[shared[1]][1:] == expected(shared[1])  # ben has corrected it
    assert found[shared[0]][1] == ""
    again = {row["id"] for name in NAMES for row in read(form_of(folder, 3, name))}
    assert not again & {*shared[:2]}  # it came back, and stays disputed


def test_a_class_that_is_added_to_an_older_form_stays_where_the_tile_came_back_without_it(call, folder, capsys) -> None:
    shared = both_answer(call, folder)
    assert call("--disputed-first") == 0
    for name in NAMES:
        fill(form_of(folder, 2, name))
    more = ("--classes", ",".join((*ARCHIVE.class_names, "later")))
    assert call("--disputed-first", *more) == 0  # round 3 has the class
    assert re.search(r"want of a column in 4 files, as \S+round-1/to_label-ana\.csv: add it", capsys.readouterr().err)
    for name in NAMES:
        fill(form_of(folder, 3, name))
        head, *rows = form_of(folder, 1, name).read_text().splitlines()
        form_of(folder, 1, name).write_text("\n".join([f"{head},later", *(f"{row},1" for row in rows)]) + "\n")
    assert call("--disputed-first", *more) == 0
    found = {row["id"]: row for row in read(folder / "run/labels.csv")}
    assert [found[tile]["later"] for tile in shared] == ["1"] * len(shared)
    assert [found[shared[0]][name] for name in ARCHIVE.class_names] == expected(shared[0])


def test_late_and_partial_forms_join_when_they_come(call, folder, capsys) -> None:
    assert call() == 0
    assert call("--go-on") == 0  # nobody has answered
    assert not (folder / "run/round-2").exists()
    fill(form_of(folder, 1, "ana"))
    late = form_of(folder, 1, "ben")
    fill(late, rows=slice(1))
    assert call("--go-on", "--initial", 4) == 0
    given = {row["id"]: row["split"] for row in read(late)}
    missing = {*given} - {row["id"] for row in read(form_of(folder, 1, "ana"))} - {read(late)[0]["id"]}
    assert {*labels(folder)}.isdisjoint(missing)
    asked = {row["id"] for name in NAMES for row in read(form_of(folder, 2, name))}
    tests = {tile for tile in missing if given[tile] == "test"}
    assert tests
    assert not asked & tests  # they are for the test when they come, and nothing else before
    fill(late)
    for name in NAMES:
        fill(form_of(folder, 2, name))
    capsys.readouterr()
    assert call("--initial", 4) == 0
    assert "on 8 test tiles" in capsys.readouterr().out
    assert {tile: cells[0] for tile, cells in labels(folder).items() if tile in tests} == dict.fromkeys(tests, "test")


def test_a_correction_in_an_older_form_counts_and_majority_decides(call, folder, capsys) -> None:
    assert call() == 0
    tests = [row["id"] for row in read(form_of(folder, 1, "ben")) if row["split"] == "test"]
    shared = both_answer(call, folder, wrong=tuple(tests))
    assert call() == 0
    fill(form_of(folder, 1, "ben"))
    for name in NAMES:
        fill(form_of(folder, 2, name))
    capsys.readouterr()
    assert call("--disagreement", "majority") == 0
    assert labels(folder)[shared[0]][1:] == expected(shared[0])
    said = capsys.readouterr().out
    assert "differ: ana and ben in 0 of" in said
    assert re.search(r"^points gained since .*\] \(by the test labels of now, which have changed\)$", said, re.M)


def test_rounds_of_one_person_and_of_several_go_together(call, folder, capsys) -> None:
    both_answer(call, folder)
    assert call(people="") == 0
    form = folder / "run/round-2/to_label.csv"
    assert len(read(form)) == 6
    fill(form)
    assert call(people="ana,ben,eva") == 0
    assert {path.name for path in (folder / "run/round-3").glob("to_label-*.csv")} == {
        f"to_label-{name}.csv" for name in ("ana", "ben", "eva")
    }
    assert all(labels(folder)[row["id"]][1:] == expected(row["id"]) for row in read(form))


def test_tile_that_all_have_skipped_is_skipped_and_of_one_the_others_answer_counts(call, folder) -> None:
    shared = both_answer(call, folder, wrong=("nothing",))
    for name, tiles in (("ana", shared[:1]), ("ben", shared[:2])):
        text = form_of(folder, 1, name).read_text()
        for tile in tiles:
            text = re.sub(rf"^{tile},\w+,.,.,.", f"{tile},skip,,,", text, flags=re.M)
        form_of(folder, 1, name).write_text(text)
    assert call("--initial", 4, "--test", 4) == 0
    found = labels(folder)
    assert found[shared[0]] == ["skip", "", "", ""]
    assert found[shared[1]][1:] == expected(shared[1])


def spoil(change):
    """A damage to ben's form of the first round, once both have answered."""

    def damage(folder: Path) -> None:
        path = form_of(folder, 1, "ben")
        path.write_text(change(path.read_text()))

    return damage


def of_another(folder: Path) -> None:
    shutil.copy(form_of(folder, 1, "ana"), form_of(folder, 1, "ben"))


def twice(text: str) -> str:
    row = text.splitlines()[1]
    tile, part, cell, *others = row.split(",")
    return text + ",".join([tile, part, str(1 - int(cell)), *others]) + "\n"


BAD = {
    "other classes": (
        spoil(lambda text: text.replace("class1", "water", 1)),
        r"has the classes class0, water, class2, and",
    ),
    "a tile of nobody": (
        spoil(lambda text: re.sub(r"\n[^,]+,", "\nnosuch.png,", text, count=1)),
        r"row 2: tile nosuch\.png is not",
    ),
    "the form of another": (
        of_another,
        r"is not among the 12 that ben was given in round-1: save the form again from label-ben",
    ),
    "a tile twice": (spoil(twice), r"tile \S+ is there already in row 2 with other cells: keep the one that is right"),
    "no split": (
        spoil(lambda text: re.sub(r"^([^,]+),[^,]+,", r"\1,", text, flags=re.M)),
        r"to_label-ben\.csv has lost its column split: save it again from label-ben\.html",
    ),
    "two forms of a name": (
        lambda folder: shutil.copy(form_of(folder, 1, "ben"), form_of(folder, 1, "Ben")),
        r"to_label-Ben\.csv is the form of nobody, round-1 has to_label-ana\.csv, to_label-ben\.csv: rename or remove",
    ),
    "a form without a name": (
        lambda folder: shutil.copy(form_of(folder, 1, "ben"), folder / "run/round-1/to_label.csv"),
        r"to_label\.csv is the form of nobody",
    ),
    "no form": (
        lambda folder: form_of(folder, 1, "ben").unlink(),
        r"to_label-ben\.csv is missing: bring it back, or save",
    ),
    "another part": (
        spoil(lambda text: re.sub(r",(test|pool),", lambda found: ",validation,", text)),
        r"tile \S+ is in the part validation, and in \w+ in \S+to_label-ana\.csv, row \d+: give it the same in both",
    ),
    "a damaged list": (
        lambda folder: (folder / "run/round-1/dealt.csv").write_text("id,ana\na,1\n"),
        r"dealt\.csv is damaged: bring it back",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_and_status_2(kind: str, call, folder, capsys) -> None:
    damage, message = BAD[kind]
    both_answer(call, folder)
    damage(folder)
    capsys.readouterr()
    assert call() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert not (folder / "run/round-2").exists()


@pytest.mark.parametrize(
    ("arguments", "people", "message"),
    [
        (["--overlap", "1.5"], "ana,ben", "--overlap is 1.5: it is a share of the tiles, from 0 to 1"),
        (["--disputed-first"], "", "--disputed-first brings tiles back to several people: name them with --annotators"),
        ([], "ana,ana", "give different names"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(arguments, people: str, message: str, call, folder, capsys) -> None:
    assert call(*arguments, people=people) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "run").exists()


def test_a_session_is_of_one_person(call, folder) -> None:
    assert call() == 0
    session = aljax.Session(folder / "run", folder / "tiles", ARCHIVE.class_names, folder / "features.npz")
    with pytest.raises(InputError, match="round-1 waits for several annotators"):
        session.suggest()
    with pytest.raises(InputError, match="a session is of one annotator"):
        aljax.Session(folder / "run", folder / "tiles", ARCHIVE.class_names, annotators="ana,ben")
