"""What a person sees: the table, the picture, and the comparison of runs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aljax.commands.compare import Run, check_at, compare, join_trials
from aljax.errors import InputError
from aljax.loop.history import Record
from aljax.queries.table import series_name
from aljax.reports.curves import _styles, draw_classes, draw_classes_at, draw_curves, table


def record(trial: int, labels: int, micro: float) -> Record:
    return Record(trial, 1, labels, micro, micro / 2, micro, micro, (), 1.0, 1.0, 1.0)


HISTORIES = {
    "Random": [record(1, 40, 0.5), record(2, 40, 0.6), record(1, 80, 0.7), record(2, 80, 0.7)],
    "MGE+Clustering": [record(1, 40, 0.5), record(1, 60, 0.8)],
}


def write_run(folder: Path, query: str, **changes: object) -> Path:
    folder.mkdir()
    config = {"query": query, "clustering": True, "archive": "noise", "image_size": 32, "start": "warm", **changes}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "history.jsonl").write_text("".join(record(1, n, 0.5).to_line() + "\n" for n in (40, 60)))
    return folder


@pytest.mark.parametrize(
    ("query", "clustering", "name"),
    [("mge", True, "MGE+Clustering"), ("ll", False, "LL"), ("random", True, "Random")],
)
def test_series_carry_the_papers_names(query: str, clustering: bool, name: str) -> None:
    assert series_name(query, clustering) == name


def test_table_shows_mean_and_deviation_in_percent_and_gaps() -> None:
    rows = table(HISTORIES).splitlines()
    assert [row.split()[0] for row in rows[2:]] == ["40", "60", "80"]
    assert "55.00 ± 7.07" in rows[2]
    assert rows[3].split() == ["60", "-", "80.00", "40.00"]  # one trial has no deviation


def test_table_says_where_means_are_of_fewer_trials() -> None:
    running = {"MGE": [record(1, 40, 0.5), record(2, 40, 0.6), record(1, 80, 0.7)]}
    assert table(running).splitlines()[-1] == "trials of MGE, by labels: 2 with 40, 1 with 80"


def test_dollar_signs_are_no_formula(tmp_path: Path) -> None:
    histories = {"a $x_$ b": HISTORIES["Random"]}
    draw_curves(tmp_path / "one.png", histories, "$tiles_$")
    classes = {"a $x_$": [replace(one, class_f1=(0.5,)) for one in HISTORIES["Random"]]}
    draw_classes(tmp_path / "classes.png", classes, ["$wood_$"], [3], "$tiles_$")
    assert {path.name for path in tmp_path.iterdir()} == {"one.png", "classes.png"}


def test_more_series_than_colours_look_different() -> None:
    assert len(set(_styles(18))) == 18


def test_picture_has_a_panel_per_metric_and_is_not_blank(tmp_path: Path) -> None:
    draw_curves(tmp_path / "one.png", HISTORIES, "noise")
    draw_curves(tmp_path / "two.png", HISTORIES, "noise", ("micro_f1", "macro_f1"))
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert two.width == 2 * one.width
        assert np.asarray(two.convert("L")).std() > 10
    assert {path.name for path in tmp_path.iterdir()} == {"one.png", "two.png"}


def test_compare_names_runs_by_query_and_by_folder_where_that_is_not_enough(tmp_path: Path, capsys) -> None:
    runs = (write_run(tmp_path / "a", "mge"), write_run(tmp_path / "b", "random"), write_run(tmp_path / "c", "mge"))
    compare(runs, tmp_path / "all.png")
    out = capsys.readouterr().out
    assert "MGE+Clustering (a)" in out
    assert "MGE+Clustering (c)" in out
    assert "Random (" not in out
    assert (tmp_path / "all.png").exists()


@pytest.mark.parametrize("spoil", ["missing", "torn", "empty"])
def test_compare_refuses_what_is_not_a_run(spoil: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "mge")
    if spoil == "missing":
        (run / "config.json").unlink()
    else:
        (run / "history.jsonl").write_text('{"trial": 1' if spoil == "torn" else "")
    with pytest.raises(InputError, match=str(run)):
        compare((run,), tmp_path / "all.png")
    with pytest.raises(InputError, match="no runs named"):
        compare((), tmp_path / "all.png")


def test_compare_refuses_other_classes_and_does_not_pair_other_tiles(tmp_path: Path, capsys) -> None:
    random = write_run(tmp_path / "random", "random", class_names=["a"], fingerprint="1")
    forests = write_run(tmp_path / "forests", "mge", class_names=["b"], fingerprint="2")
    with pytest.raises(InputError, match=r"random and .*forests have other classes"):
        compare((random, forests), tmp_path / "all.png")
    other = write_run(tmp_path / "other", "mge", class_names=["a"], fingerprint="2")
    compare((random, other), tmp_path / "all.png")
    assert "not compared: other tiles" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "all.json").read_text())["series"]["MGE+Clustering"]["comparison"]
    assert "area_difference" not in numbers["micro_f1"]
    elsewhere = write_run(tmp_path / "elsewhere", "tpd", class_names=["a"], fingerprint="1", split="of its own")
    compare((random, elsewhere), tmp_path / "all.png")
    assert "not compared: other tiles or sets" in capsys.readouterr().out


def test_compare_refuses_a_run_that_is_named_twice_and_a_picture_without_its_ending(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "mge")
    with pytest.raises(InputError, match="is named twice"):
        compare((run, tmp_path / "." / "run"), tmp_path / "all.png")
    with pytest.raises(InputError, match=r"give it a name that ends in \.png"):
        compare((run,), tmp_path / "all.json")


def test_classes_with_a_shared_number_of_labels_are_drawn_by_query(tmp_path: Path) -> None:
    histories = {name: [replace(one, class_f1=(0.2, 0.6)) for one in series] for name, series in HISTORIES.items()}
    draw_classes_at(tmp_path / "classes.png", histories, ("trees", "water"), (3, 9), 40, "two classes")
    with Image.open(tmp_path / "classes.png") as picture:
        assert picture.width > 1000
    check_at(40, histories)
    with pytest.raises(InputError, match="--at 60: Random has scores with 40, 80 labels; choose a shared one"):
        check_at(60, histories)


def test_trials_of_runs_that_know_their_pixel_type_join_those_of_older_runs(tmp_path: Path) -> None:
    older = {"query": "mge", "fingerprint": "of the same tiles", "first_trial": 1}
    newer = {**older, "first_trial": 2, "pixel_type": "uint8"}
    runs = [Run(tmp_path / "1", older, [record(1, 40, 0.5)]), Run(tmp_path / "2", newer, [record(2, 40, 0.5)])]
    assert join_trials(runs) == [runs]
