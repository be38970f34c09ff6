"""What a person sees: the table, the picture, and the comparison of runs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from aljax.commands.compare import Run, check_at, compare, join_trials
from aljax.errors import InputError
from aljax.loop.constant import Constant
from aljax.loop.history import Record
from aljax.queries.table import series_name
from aljax.reports import score_panels
from aljax.reports.comparison import compare_with
from aljax.reports.curves import Panel, _styles, draw_classes, draw_classes_at, draw_panels, set_title
from aljax.reports.tables import summary, table


def record(trial: int, labels: int, micro: float) -> Record:
    return Record(trial, 1, labels, micro, micro / 2, micro, micro, (), 1.0, 1.0, 1.0)


HISTORIES = {
    "Random": [record(1, 40, 0.5), record(2, 40, 0.6), record(1, 80, 0.7), record(2, 80, 0.7)],
    "MGE+Clustering": [record(1, 40, 0.5), record(1, 60, 0.8)],
}


@pytest.mark.parametrize(("trials", "expected"), [(1, "a"), (2, "a\nmean of 2 trials, band: one standard deviation")])
def test_title_speaks_of_a_mean_where_there_is_one(trials: int, expected: str) -> None:
    figure = Figure()
    set_title(figure, "a", [Panel("", {"b": [record(trial, 40, 0.5) for trial in range(trials)]}, "micro_f1")])
    assert figure.get_suptitle() == expected


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
    assert [row.split()[0] for row in rows[3:]] == ["40", "60", "80"]
    assert "55.00 ± 7.07" in rows[3]
    assert rows[4].split() == ["60", "-", "80.00", "40.00", "80.00"]  # one trial has no deviation
    assert rows[2].split() == ["micro", "F1", "macro", "F1", "mAP"] * 2
    assert rows[4].index("80.00") == rows[2].rindex("micro")
    assert "fitted" not in table(HISTORIES)


FITTED = {
    name: [
        replace(
            one,
            validation_threshold=0.3,
            micro_f1_at_validation_threshold=one.micro_f1 + 0.1,
            macro_f1_at_validation_threshold=one.macro_f1 + 0.1,
            class_thresholds=(0.3, 0.2),
            micro_f1_at_class_thresholds=one.micro_f1 + 0.12,
            macro_f1_at_class_thresholds=one.macro_f1 + 0.12,
        )
        for one in series
    ]
    for name, series in HISTORIES.items()
}


def test_table_and_summary_have_f1_at_fitted_thresholds_where_the_history_has_it() -> None:
    half, common, own = table(FITTED).split("\n\n")
    assert half.splitlines() == table(HISTORIES).splitlines()
    assert common.splitlines()[0] == "F1 at the threshold fitted to the validation tiles"
    assert common.splitlines()[4].split() == ["60", "-", "90.00", "50.00"]
    assert own.splitlines()[0] == "F1 at a threshold for each class, fitted to the validation tiles"
    assert "67.00 ± 7.07" in own
    older, newer = summary(HISTORIES)["Random"], summary(FITTED)["Random"]
    for before, after in zip(older, newer, strict=True):
        assert dict(list(after.items())[: len(before)]) == before
    assert newer[0]["micro_f1_at_validation_threshold"] == pytest.approx(0.65)
    half_known = summary({"a": [*FITTED["Random"][:1], *HISTORIES["Random"][1:]]})["a"][0]
    assert "micro_f1_at_validation_threshold" not in half_known
    assert list(compare_with(FITTED["Random"], FITTED["MGE+Clustering"])) == [
        *("micro_f1", "macro_f1", "mean_average_precision"),
        *("micro_f1_at_validation_threshold", "macro_f1_at_validation_threshold"),
        *("micro_f1_at_class_thresholds", "macro_f1_at_class_thresholds"),
    ]
    assert len(compare_with(FITTED["Random"], HISTORIES["MGE+Clustering"])) == 3


CONSTANT = Constant(("trees", "water"), 0.62, 0.21)


def axes_of(monkeypatch, folder: Path, histories, constant: Constant | None) -> list:
    """The axes of the picture of all scores."""
    figures = []
    monkeypatch.setattr(score_panels, "save_figure", lambda figure, path: figures.append(figure))
    score_panels.draw_scores(folder / "curve.png", histories, "noise", constant)
    return figures[0].axes


def test_picture_has_f1_at_both_thresholds_and_map_and_the_constant_line_in_every_f1(tmp_path, monkeypatch) -> None:
    axes = axes_of(monkeypatch, tmp_path, FITTED, CONSTANT)
    shown = [one for one in axes if one.lines]
    assert [(one.get_ylabel()[:8], one.get_title()) for one in shown] == [
        ("Micro F1", score_panels.HALF),
        ("Micro F1", score_panels.FITTED),
        ("mAP (%)", ""),
        ("Macro F1", score_panels.HALF),
        ("Macro F1", score_panels.FITTED),
    ]
    levels = [[line.get_ydata()[0] for line in one.lines if line.get_linestyle() == ":"] for one in shown]
    assert levels == [[pytest.approx(62)], [pytest.approx(62)], [], [pytest.approx(21)], [pytest.approx(21)]]
    assert shown[0].get_ylim() == shown[1].get_ylim()
    assert list(shown[1].lines[1].get_ydata()) == pytest.approx([60, 90])
    (legend,) = [one.get_legend() for one in axes if one.get_legend() is not None]
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["Random", "MGE+Clustering", "always the 2 commonest classes"]


def test_panels_of_the_fitted_threshold_are_left_out_where_a_series_has_none(tmp_path, monkeypatch) -> None:
    mixed = {**HISTORIES, "Random": FITTED["Random"]}
    for histories in (HISTORIES, mixed):
        shown = [one for one in axes_of(monkeypatch, tmp_path, histories, None) if one.lines]
        assert [one.get_ylabel() for one in shown] == ["Micro F1 (%)", "Macro F1 (%)", "mAP (%)"]


def test_table_says_where_means_are_of_fewer_trials() -> None:
    running = {"MGE": [record(1, 40, 0.5), record(2, 40, 0.6), record(1, 80, 0.7)]}
    assert table(running).splitlines()[-1] == "trials of MGE, by labels: 2 with 40, 1 with 80"


def test_dollar_signs_are_no_formula(tmp_path: Path) -> None:
    histories = {"a $x_$ b": HISTORIES["Random"]}
    draw_panels(tmp_path / "one.png", [Panel("", histories, "micro_f1")], "$tiles_$")
    classes = {"a $x_$": [replace(one, class_f1=(0.5,)) for one in HISTORIES["Random"]]}
    draw_classes(tmp_path / "classes.png", classes, ["$wood_$"], [3], "$tiles_$")
    assert {path.name for path in tmp_path.iterdir()} == {"one.png", "classes.png"}


def test_more_series_than_colours_look_different() -> None:
    assert len(set(_styles(18))) == 18


def test_picture_has_a_panel_per_metric_and_is_not_blank(tmp_path: Path) -> None:
    draw_panels(tmp_path / "one.png", [Panel("", HISTORIES, "micro_f1")], "noise")
    draw_panels(tmp_path / "two.png", [Panel("", HISTORIES, metric) for metric in ("micro_f1", "macro_f1")], "noise")
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
