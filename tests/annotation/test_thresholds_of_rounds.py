"""The threshold that rounds print scores and write predictions at."""

import json
import re

import numpy as np
from rounds_by_hand import ARCHIVE, fill, read, rounds, write_start

import aljax


def test_threshold_of_the_validation_tiles_is_that_of_printed_scores_and_predictions(call, tmp_path, capsys) -> None:
    start = write_start(tmp_path / "start.csv", 26)
    lines = start.read_text().splitlines()
    lines[9:17] = [line.replace(",pool,", ",validation,") for line in lines[9:17]]
    start.write_text("\n".join(lines))
    assert call("--threshold", "validation", first=["--labels", start]) == 0
    said = capsys.readouterr().out
    run_dir = tmp_path / "run/round-1"
    record = json.loads((run_dir / "history.jsonl").read_text())
    micro, macro = (record[f"{name}_f1_at_validation_threshold"] for name in ("micro", "macro"))
    assert f"micro F1 {micro:.1%}, macro F1 {macro:.1%} on 8 test tiles, threshold validation (" in said
    rows = read(run_dir / "predictions.csv")
    assert {row[name] for row in rows for name in ARCHIVE.class_names} <= {"0", "1"}
    trained = aljax.load(run_dir)
    images = np.stack([ARCHIVE.images[ARCHIVE.ids.index(row["id"].removesuffix(".png"))] for row in rows])
    expected = trained.predict(images) > trained.thresholds.validation
    np.testing.assert_array_equal([[int(row[name]) for name in trained.class_names] for row in rows], expected)
    assert {path.name for path in (run_dir / "probabilities/trial-1").iterdir()} == {"iteration-1.npz"}
    assert len(json.loads((run_dir / "config.json").read_text())["constant_classes"]) >= 1


def test_threshold_without_validation_tiles_is_refused_before_the_training(call, tmp_path, capsys) -> None:
    rounds(call, tmp_path / "run", 1)
    fill(tmp_path / "run/round-1/to_label.csv")
    assert call("--threshold", "per-class") == 2
    assert re.search(
        "^error: --threshold per-class: no tile is for validation: write validation into the column split of some "
        "rows of a form or of --labels, or give a number\n$",
        capsys.readouterr().err,
    )
    assert not (tmp_path / "run/round-2").exists()
    assert call("--threshold", "0.3") == 0
    assert "on 8 test tiles, threshold 0.3 (" in capsys.readouterr().out
