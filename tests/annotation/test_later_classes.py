"""Classes that are added in a later round."""

import json

from rounds_by_hand import ARCHIVE, TRUTH, read, write_features, write_start


def test_class_can_be_added_in_a_later_round(call, tmp_path, capsys) -> None:
    options = ["--features", write_features(tmp_path / "features.npz")]
    two = ["--classes", "class0,class1"]

    def fill_in(number: int, *names: str) -> None:
        form = tmp_path / f"run/round-{number}/to_label.csv"
        rows = [
            [row["id"], row["split"], *(TRUTH[row["id"].removesuffix(".png")][int(name[-1])] for name in names)]
            for row in read(form)
        ]
        form.write_text("\n".join(",".join(map(str, row)) for row in [["id", "split", *names], *rows]))

    assert call(*options, first=two) == 0
    fill_in(1, "class0", "class1")
    assert call(*options, first=two) == 0
    assert call(*options) == 2
    form = tmp_path / "run/round-2/to_label.csv"
    message = f"error: {form} waits for labels and has no class class2: fill it in first, and add the class to the "
    assert message in capsys.readouterr().err
    fill_in(2, "class0", "class1")
    assert call(*options) == 0
    said = capsys.readouterr()
    first, second = (tmp_path / f"run/round-{number}/to_label.csv" for number in (1, 2))
    assert f"class class2 is unknown on 20 tiles, for want of a column in {first}, {second}: add it" in said.err
    assert "no test tile has the class class2" in said.err
    assert "the round before had fewer classes: this one starts afresh" in said.err
    assert "gains: unclear" in said.out
    # Scores of different classes are no curve.
    scores = json.loads((tmp_path / "run/summary.json").read_text())
    assert list(scores) == ["annotation, 2 classes", "annotation, 3 classes"]
    rows = read(tmp_path / "run/labels.csv")
    assert {row["class2"] for row in rows} == {""}
    assert "class2" in read(tmp_path / "run/round-3/to_label.csv")[0]
    fill_in(3, "class0", "class1", "class2")
    # The class of older tiles is labelled later: on those of the test, it can be measured.
    fill_in(1, "class0", "class1", "class2")
    assert call(*options) == 0
    said = capsys.readouterr()
    assert f"class class2 is unknown on 4 tiles, for want of a column in {second}: add it" in said.err
    assert "no test tile" not in said.err
    known = {row["id"]: row["class2"] for row in read(tmp_path / "run/labels.csv")}
    asked = {row["id"] for row in read(second)}
    assert {tile for tile, cell in known.items() if cell == ""} == asked
    fill_in(4, "class0", "class1", "class2")
    assert call(*options, first=two) == 2
    assert "the classes are class0,class1 and were class0,class1,class2" in capsys.readouterr().err
    fill_in(4, "class0", "class1")
    assert call(*options) == 2
    said = capsys.readouterr().err
    assert "round-4/to_label.csv has the classes class0, class1, and" in said
    assert said.endswith("a class that is new comes by --classes first, and into older forms once a round has it\n")


def test_class_that_is_added_to_brought_labels_is_unknown_on_older_forms(call, tmp_path, capsys) -> None:
    start = write_start(tmp_path / "start.csv", 18)
    whole = start.read_text()
    start.write_text("\n".join(line.rpartition(",")[0] for line in whole.splitlines()))
    assert call(first=["--labels", start]) == 0
    form = tmp_path / "run/round-1/to_label.csv"
    rows = [[row["id"], "pool", *TRUTH[row["id"].removesuffix(".png")][:2]] for row in read(form)]
    form.write_text("\n".join(",".join(map(str, row)) for row in [["id", "split", "class0", "class1"], *rows]))
    start.write_text(whole)
    assert call(first=["--labels", start]) == 0
    assert f"class class2 is unknown on 4 tiles, for want of a column in {form}: add it" in capsys.readouterr().err
    assert read(tmp_path / "run/round-2/to_label.csv")[0]["class2"] == ""
    start.write_text(whole.replace("class1", "classX"))
    form = tmp_path / "run/round-2/to_label.csv"
    rows = [[row["id"], "pool", *TRUTH[row["id"].removesuffix(".png")]] for row in read(form)]
    form.write_text("\n".join(",".join(map(str, row)) for row in [["id", "split", *ARCHIVE.class_names], *rows]))
    assert call(first=["--labels", start]) == 2
    assert "the classes are class0,classX,class2 and were class0,class1" in capsys.readouterr().err
