"""What rounds say that they gained, and what another would likely bring."""

import json
import re

from rounds_by_hand import fill, read, rounds, write_features

GAIN = r"[+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]"


def test_rounds_say_what_they_gained_and_what_another_would_bring(call, tmp_path, capsys) -> None:
    options = ["--features", write_features(tmp_path / "features.npz", noise=60.0), "--test", 20]
    rounds(call, tmp_path / "run", 2, *options)
    assert "points" not in capsys.readouterr().out
    fill(tmp_path / "run/round-2/to_label.csv")
    assert call(*options) == 0
    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"points gained since round 2, with 4 labels: micro F1 {GAIN}, macro F1 {GAIN}", said[1])
    few = "unclear after so few rounds"
    assert said[2] == f"points that another 4 labels would likely bring: micro F1 {few}, macro F1 {few}"
    for number in (3, 4):
        fill(tmp_path / f"run/round-{number}/to_label.csv")
        assert call(*options) == 0
        said = capsys.readouterr().out.splitlines()
    gains = rf"micro F1 ({GAIN}), macro F1 {GAIN}"
    pattern = rf"points gained since round 4, with 4 labels: {gains}; since round 2, with 12 labels: {gains}"
    last, before = re.fullmatch(pattern, said[1]).groups()
    assert last != before
    records = [json.loads(line) for line in (tmp_path / "run/round-5/history.jsonl").read_text().splitlines()]
    assert last.startswith(f"{100 * (records[-1]['micro_f1'] - records[-2]['micro_f1']) + 0.0:+.1f} [")
    outlook = rf"(unclear, )?{GAIN}"
    pattern = rf"points that another 4 labels would likely bring: micro F1 {outlook}, macro F1 {outlook}"
    assert re.fullmatch(pattern, said[2])
    # A round that was repeated says the same.
    (tmp_path / "run/round-5/to_label.csv").unlink()
    assert call(*options) == 0
    assert capsys.readouterr().out.splitlines() == said


def test_rounds_on_other_tiles_are_not_compared(call, tmp_path, capsys) -> None:
    rounds(call, tmp_path / "run", 3, "--features", write_features(tmp_path / "features.npz"))
    chosen = {row["id"] for row in read(tmp_path / "run/round-3/to_label.csv")}
    predicted = {row["id"] for row in read(tmp_path / "run/round-3/predictions.csv")}
    fill(tmp_path / "run/round-3/to_label.csv")
    spare = min(predicted - chosen)
    (tmp_path / "tiles" / spare).unlink()
    capsys.readouterr()
    assert call("--features", tmp_path / "features.npz", "--start", "cold") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1] == f"gains: unclear, as the tiles or the scores of {tmp_path / 'run/round-3'} are others"
