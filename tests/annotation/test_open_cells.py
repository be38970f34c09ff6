"""Cells that nobody knows: from forms and brought labels to the scores."""

import json

import numpy as np
from rounds_by_hand import ARCHIVE, fill, open_cells, read, rounds, trained_on, write_start

import aljax


def test_cells_that_are_left_empty_are_unknown_from_the_form_to_the_scores(call, tmp_path, capsys) -> None:
    rounds(call, tmp_path / "run", 1)
    form = tmp_path / "run/round-1/to_label.csv"
    rows = {2: ["1", "", "0"], 3: ["?", "", "1"], 12: ["", "1", "0"], 13: ["?", "?", "?"]}
    tiles = open_cells(form, rows)
    capsys.readouterr()
    assert call("--initial", 7) == 0
    warning = f"{form}: 3 cells of 3 tiles are empty and count as unknown: fill them in if they were forgotten"
    assert capsys.readouterr().err.startswith(f"warning: {warning}\n")
    names = ("split", *ARCHIVE.class_names)
    kept = {row["id"]: [row[name] for name in names] for row in read(tmp_path / "run/labels.csv")}
    expected = [["test", "1", "", "0"], ["test", "", "", "1"], ["pool", "", "1", "0"], ["skip", "", "", ""]]
    assert [kept[tile] for tile in tiles] == expected
    assert trained_on(tmp_path / "run/round-2") == [7]  # all of the fourth is unknown: it is not labelled
    (record,) = (json.loads(line) for line in (tmp_path / "run/round-2/history.jsonl").read_text().splitlines())
    with np.load(tmp_path / "run/round-2/probabilities/trial-1/iteration-1.npz") as measured:
        order = [tile for tile in sorted(kept) if kept[tile][0] == "test"]
        table = np.array([[255 if cell == "" else int(cell) for cell in kept[tile][1:]] for tile in order], np.uint8)
        assert aljax.evaluate(measured["test"], table).micro_f1 == record["micro_f1"]
    assert tiles[3] not in {row["id"] for row in read(tmp_path / "run/round-2/to_label.csv")}
    fill(tmp_path / "run/round-2/to_label.csv")
    assert call("--initial", 7) == 0
    assert "count as unknown" not in capsys.readouterr().err  # it was told when the form was new


def test_unknown_cells_of_labels_that_are_brought_are_kept_and_reported(call, tmp_path, capsys) -> None:
    start = write_start(tmp_path / "start.csv", 18)
    lines = start.read_text().splitlines()
    for number, cells in {3: "1,,0", 12: ",?,1", 13: ",,", 14: "?,?,?", 4: ",,"}.items():
        lines[number - 1] = ",".join([*lines[number - 1].split(",")[:2], cells])
    start.write_text("\n".join(lines))
    assert call(first=["--labels", start]) == 0
    error = capsys.readouterr().err
    assert f"{start}: 2 cells of 2 tiles are empty and count as unknown; 2 tiles have no labels, as tile002" in error
    assert trained_on(tmp_path / "run/round-1") == [8]
    kept = {row["id"]: row for row in read(tmp_path / "run/labels-given.csv")}
    assert [kept["tile001"][name] for name in ARCHIVE.class_names] == ["1", "", "0"]
    assert [kept["tile010"][name] for name in ARCHIVE.class_names] == ["", "", "1"]
    fill(tmp_path / "run/round-1/to_label.csv")
    assert call() == 0
    assert trained_on(tmp_path / "run/round-2") == [8, 12]
    config = json.loads((tmp_path / "run/round-2/config.json").read_text())
    assert max(config["class_tiles"]) <= 12
