"""Annotation by a person: every round asks for tiles that have no labels, and learns from the answers to all rounds."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from rounds_by_hand import ARCHIVE, TRUTH, fill, open_cells, read, rounds, trained_on, write_features, write_start
from tiles_on_disk import write_geotiff

import aljax
from aljax.annotation import round_files
from aljax.data.label_rows import REASON_COLUMNS
from aljax.runs.run_dir import RunStore


def test_rounds_ask_for_new_tiles_and_train_on_all_labels(call, tmp_path, capsys, monkeypatch) -> None:
    first, second, third = rounds(call, tmp_path / "run", 3)
    assert [row["split"] for row in first] == ["test"] * 8 + ["pool"] * 8
    assert [len(second), len(third)] == [4, 4]
    assert {row["split"] for row in second + third} == {"pool"}
    ids = [row["id"] for row in first + second + third]
    assert len(set(ids)) == len(ids) == 24
    records = [json.loads(line) for line in (tmp_path / "run/round-3/history.jsonl").read_text().splitlines()]
    assert [record["num_labeled"] for record in records] == [8, 12]
    assert [record["selected"] for record in records] == [[row["id"] for row in form] for form in (second, third)]
    labels = {row["id"]: row for row in read(tmp_path / "run/labels.csv")}
    assert labels.keys() == {row["id"] for row in first + second}
    for tile, row in labels.items():
        assert [int(row[name]) for name in ARCHIVE.class_names] == TRUTH[tile.removesuffix(".png")]
    predicted = {row["id"] for row in read(tmp_path / "run/round-3/predictions.csv")}
    assert len(predicted) == 60 - 8 - 12
    assert predicted >= {row["id"] for row in third}
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"curve.png", "summary.json", "labels.csv"}
    assert not list((tmp_path / "run").rglob("*.png"))[1:]  # the curve alone
    page = (tmp_path / "run/round-3/label.html").read_text()
    assert re.findall(r'"start": "([^"]*),pool"', page) == [row["id"] for row in third]
    said = capsys.readouterr().out
    assert re.search(r"round 3: trained on 12 tiles; micro F1 .* on 8 test tiles", said)
    assert re.search(r"4 tiles to label: open \S*round-3/label.html in a browser", said)


def test_form_tells_why_its_tiles_were_chosen_and_nothing_is_read_from_that(call, tmp_path) -> None:
    rounds(call, tmp_path / "run", 1)
    form = tmp_path / "run/round-1/to_label.csv"
    assert form.read_text().splitlines()[0] == ",".join(["id", "split", *ARCHIVE.class_names, *REASON_COLUMNS])
    assert all(row[name] == "" for row in read(form) for name in REASON_COLUMNS)  # random tiles
    fill(form)
    assert call() == 0
    form = tmp_path / "run/round-2/to_label.csv"
    labelled = {row["id"] for row in read(tmp_path / "run/labels.csv") if row["split"] == "pool"}
    ranks = []
    for row in read(form):
        assert {row["why: nearest labelled"]} <= labelled
        doubts = row["why: in doubt"].split(", ")
        assert sorted(doubt.split(" ")[1] for doubt in doubts) == sorted(ARCHIVE.class_names)
        assert all(0 <= float(doubt.split(" ")[0]) <= 1 for doubt in doubts)
        assert float(row["why: score"]) > 0
        assert float(row["why: distance"]) >= 0
        assert (int(row["why: cluster"]), int(row["why: cluster size"])) >= (1, 1)
        ranks.append(int(row["why: rank"]))
    assert ranks == sorted(set(ranks))
    assert ranks[0] == 1
    rows = read(form)
    with form.open("w", newline="") as file:  # filled in with its reasons, and one of them lost
        writer = csv.DictWriter(file, ["id", "split", *ARCHIVE.class_names, *REASON_COLUMNS[1:]], extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            answers = zip(ARCHIVE.class_names, TRUTH[row["id"].removesuffix(".png")], strict=True)
            writer.writerow({**row, **dict(answers)})
    assert call() == 0
    assert trained_on(tmp_path / "run/round-3") == [8, 12]
    assert (tmp_path / "run/labels.csv").read_text().splitlines()[0] == ",".join(["id", "split", *ARCHIVE.class_names])


def test_round_that_an_older_version_trained_has_a_form_without_reasons(call, tmp_path) -> None:
    rounds(call, tmp_path / "run", 2)
    for name in ("reasons.csv", "to_label.csv"):
        (tmp_path / "run/round-2" / name).unlink()
    assert call() == 0
    rows = read(tmp_path / "run/round-2/to_label.csv")
    assert len(rows) == 4
    assert {row[name] for row in rows for name in REASON_COLUMNS} == {""}


def test_tiles_without_data_are_in_no_first_round(call, tmp_path, capsys) -> None:
    empty = {f"tile{number:03d}.png" for number in (0, 30, 59)}
    for tile in empty:
        (tmp_path / "tiles" / tile).write_bytes(b"")
    assert call("--initial", 49) == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert re.match(r"warning: 3 of 60 tiles cannot be read: .*tile000.*tile030.*tile059", warning)
    assert {row["id"] for row in read(tmp_path / "run/round-1/to_label.csv")} == {
        f"{tile}.png" for tile in ARCHIVE.ids
    } - empty


def test_predictions_are_those_of_the_rounds_model(call, tmp_path) -> None:
    rounds(call, tmp_path / "run", 2)
    trained = aljax.load(tmp_path / "run/round-2")
    rows = read(tmp_path / "run/round-2/predictions.csv")
    images = np.stack([np.asarray(ARCHIVE.images)[ARCHIVE.ids.index(row["id"].removesuffix(".png"))] for row in rows])
    written = [[float(row[name]) for name in ARCHIVE.class_names] for row in rows]
    np.testing.assert_allclose(trained.predict(images), written, atol=1e-4)


def test_form_that_waits_is_left_alone(call, tmp_path, capsys) -> None:
    assert call() == 0
    files = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert call() == 0
    assert "16 tiles to label" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == files


def test_round_that_was_killed_goes_on_to_the_same_tiles(call, tmp_path, monkeypatch) -> None:
    rounds(call, tmp_path / "run", 1)
    fill(tmp_path / "run/round-1/to_label.csv")
    shutil.copytree(tmp_path / "run", tmp_path / "killed")
    assert call() == 0
    save, saves = RunStore.save, []

    def save_and_die(store, state) -> None:
        save(store, state)
        saves.append(state)
        if len(saves) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "save", save_and_die)
        assert call("--checkpoint-seconds", 0, run_dir="killed") == 130
    assert not (tmp_path / "killed/round-2/to_label.csv").exists()
    assert call(run_dir="killed") == 0
    for name in ("to_label.csv", "label.html", "predictions.csv"):
        assert (tmp_path / "killed/round-2" / name).read_bytes() == (tmp_path / "run/round-2" / name).read_bytes()


def test_labels_that_are_there_already_spare_the_first_round(call, tmp_path) -> None:
    start = write_start(tmp_path / "start.csv", 18)
    assert call(first=["--labels", start]) == 0
    suggested = [row["id"].removesuffix(".png") for row in read(tmp_path / "run/round-1/to_label.csv")]
    assert len(suggested) == 4
    assert not {*suggested} & {*ARCHIVE.ids[:18]}
    assert (tmp_path / "run/round-1/history.jsonl").exists()


def test_tpd_compares_with_the_round_before_where_there_is_one(call, tmp_path, capsys) -> None:
    rounds(call, tmp_path / "run", 3, "--query", "tpd")
    shutil.copytree(tmp_path / "run", tmp_path / "tpd")
    shutil.copytree(tmp_path / "run", tmp_path / "random")
    fill(tmp_path / "tpd/round-3/to_label.csv")
    assert call("--query", "tpd", run_dir="tpd") == 0
    assert len(read(tmp_path / "tpd/round-4/to_label.csv")) == 4
    fill(tmp_path / "random/round-3/to_label.csv")
    assert call("--query", "random", run_dir="random") == 0
    assert not (tmp_path / "random/round-4/predictions.csv").exists()
    fill(tmp_path / "random/round-4/to_label.csv")
    # With a tile more the rows of the pool are others.
    fill(tmp_path / "tpd/round-4/to_label.csv")
    shutil.copy(tmp_path / "tiles/tile000.png", tmp_path / "tiles/another.png")
    for run_dir in ("random", "tpd"):
        assert call("--query", "tpd", "--start", "cold", run_dir=run_dir) == 2
        assert "TPD compares with the probabilities of the round before" in capsys.readouterr().err


def test_tpd_compares_a_part_of_the_pool_that_stays_over_the_rounds(call, tmp_path) -> None:
    forms = rounds(call, tmp_path / "run", 4, "--query", "tpd", "--candidates", 16)
    parts = [{row["id"] for row in read(tmp_path / f"run/round-{number}/predictions.csv")} for number in (2, 3, 4)]
    assert [len(part) for part in parts] == [16] * 3
    for before, after, form in zip(parts, parts[1:], forms[2:], strict=False):
        assert len(after & before) == 12
        assert {row["id"] for row in form} <= before & after


def test_another_network_starts_afresh_and_says_so(call, tmp_path, capsys) -> None:
    rounds(call, tmp_path / "run", 2)
    fill(tmp_path / "run/round-2/to_label.csv")
    assert call("--query", "ll") == 0
    assert "had another network (with or without a loss head)" in capsys.readouterr().err


def test_all_labelled_is_the_end(call, tmp_path, capsys) -> None:
    start = write_start(tmp_path / "start.csv", 60)
    for _ in range(2):  # repeating it changes nothing
        assert call(first=["--labels", start]) == 0
        assert re.search(r"round 1: trained on 52 tiles.*\nall labels: \S+run/labels.csv", capsys.readouterr().out)
        assert trained_on(tmp_path / "run/round-1") == [52]
    assert not (tmp_path / "run/round-1/to_label.csv").exists()


def test_last_labels_are_learnt_when_the_budget_ends(call, tmp_path, capsys) -> None:
    assert call("--finish") == 2  # nothing is labelled yet
    rounds(call, tmp_path / "run", 2)
    assert call("--finish") == 0
    assert "nothing was labelled since" in capsys.readouterr().out
    fill(tmp_path / "run/round-2/to_label.csv")
    assert call("--finish") == 0
    assert "round 3: trained on 12 tiles" in capsys.readouterr().out
    assert trained_on(tmp_path / "run/round-3") == [8, 12]
    assert aljax.load(tmp_path / "run/round-3").num_labeled == 12
    assert not list((tmp_path / "run/round-3").glob("*.csv"))
    assert call() == 2
    assert re.search(r"delete \S+round-3 to begin that round anew", capsys.readouterr().err)


@pytest.mark.parametrize("query", ["mge", "tpd"])
def test_tile_that_cannot_be_labelled_never_comes_back(query, call, tmp_path) -> None:
    first, second = rounds(call, tmp_path / "run", 2, "--query", query)
    skipped = [row["id"] for row in second[:3]]
    form = tmp_path / "run/round-2/to_label.csv"
    fill(form)
    text = form.read_text()
    for tile in skipped:
        text = re.sub(rf"{re.escape(tile)};pool;.;.;.", f"{tile};skip;;;", text)
    form.write_text(text)
    suggested = [row["id"] for row in first + second]
    for number in range(3, 20):
        assert call("--budget", 12, "--query", query) == 0
        form = tmp_path / f"run/round-{number}/to_label.csv"
        if not form.exists():
            break
        suggested += [row["id"] for row in read(form)]
        fill(form)
    assert len(suggested) == len(set(suggested)) == 60
    assert trained_on(tmp_path / f"run/round-{number}")[-1] == 60 - 8 - 3
    kept = {row["id"]: row for row in read(tmp_path / "run/labels.csv")}
    assert [(kept[tile]["split"], kept[tile]["class0"]) for tile in skipped] == [("skip", "")] * 3
    predicted = {row["id"] for row in read(tmp_path / "run/round-3/predictions.csv")}
    assert not {*skipped} & predicted


def test_form_of_skipped_tiles_alone_is_filled_in(call, tmp_path) -> None:
    rounds(call, tmp_path / "run", 2)
    form = tmp_path / "run/round-2/to_label.csv"
    form.write_text(form.read_text().replace(",pool,", ",skip,"))
    assert call() == 0
    assert len(read(tmp_path / "run/round-3/to_label.csv")) == 4
    assert trained_on(tmp_path / "run/round-3") == [8, 8]


def test_labels_that_were_brought_need_not_be_named_again(call, tmp_path) -> None:
    start = write_start(tmp_path / "start.csv", 18)
    assert call(first=["--labels", start]) == 0
    fill(tmp_path / "run/round-1/to_label.csv")
    assert call() == 0  # with --classes
    assert trained_on(tmp_path / "run/round-2") == [10, 14]
    fill(tmp_path / "run/round-2/to_label.csv")
    assert call(first=[]) == 0
    assert trained_on(tmp_path / "run/round-3") == [10, 14, 18]


def test_form_without_its_split_is_refused(call, tmp_path, capsys) -> None:
    assert call() == 0
    form = tmp_path / "run/round-1/to_label.csv"
    fill(form)
    rows = [line.split(";") for line in form.read_text().splitlines()]
    form.write_text("\n".join(";".join([first, *cells]) for first, _, *cells in rows))
    assert call() == 2
    assert "round-1/to_label.csv has lost its column split" in capsys.readouterr().err
    assert not (tmp_path / "run/round-2").exists()


@pytest.mark.parametrize("header", ["id,water,labels", "id,labels"])
def test_class_that_a_form_could_not_have_is_refused_before_anything_is_labelled(
    header, call, tmp_path, capsys
) -> None:
    cells = "split" if header == "id,labels" else "0,1"
    (tmp_path / "start.csv").write_text(f"{header}\n{ARCHIVE.ids[0]},{cells}\n")
    assert call(first=["--labels", tmp_path / "start.csv"]) == 2
    assert "as columns of a form are called: rename it" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_labels_for_all_and_no_test_is_reported(call, tmp_path, capsys) -> None:
    rows = [f"{tile},{','.join(map(str, labels))}" for tile, labels in TRUTH.items()]
    (tmp_path / "start.csv").write_text("\n".join([f"id,{','.join(ARCHIVE.class_names)}", *rows]))
    assert call(first=["--labels", tmp_path / "start.csv"]) == 2
    assert "every tile is labelled and none is for the test: write test into a column split" in capsys.readouterr().err


def test_wrong_id_is_reported_with_its_row_and_not_kept(call, tmp_path, capsys) -> None:
    rounds(call, tmp_path / "run", 2)
    form = tmp_path / "run/round-2/to_label.csv"
    fill(form)
    before, text = (tmp_path / "run/labels.csv").read_bytes(), form.read_text()
    form.write_text(re.sub(r"\n[^;]*;", "\nnosuch.png;", text, count=1))
    assert call() == 2
    assert re.search(r"round-2/to_label.csv, row 2: 1 ids have no tile in \S+ \(nosuch.png\)", capsys.readouterr().err)
    assert (tmp_path / "run/labels.csv").read_bytes() == before
    form.write_text(text)
    assert call() == 0
    assert len(list((tmp_path / "run").glob("labels*.csv"))) == 1


def test_class_that_no_test_tile_has_is_reported(call, tmp_path, capsys) -> None:
    rounds(call, tmp_path / "run", 1)
    form = tmp_path / "run/round-1/to_label.csv"
    fill(form)
    form.write_text(re.sub(r"^(.*;test;.;.;).$", r"\g<1>0", form.read_text(), flags=re.M))
    assert call() == 0
    assert "no test tile has the class class2: macro F1 counts it as 0" in capsys.readouterr().err


def one_row(run_dir: Path) -> None:
    form = run_dir / "round-1/to_label.csv"
    header, first, *others = form.read_text().splitlines()
    form.write_text("\n".join([header, first.replace(",,,", ",0,1,0"), *others]))


BAD = {
    "a word in a form": (
        lambda run_dir: open_cells(run_dir / "round-1/to_label.csv", {4: ["1", "0", "perhaps"]}),
        *([], [], r"round-1/to_label\.csv, row 4, column class2: label 'perhaps' is neither 0 nor 1"),
    ),
    "a row of a form": (
        one_row,
        [],
        [],
        r"row 3: tile \S+ has no labels \(15 such rows\): write 0 or 1",
    ),
    "other classes while a form waits": (lambda run_dir: None, [], ["--classes", "a,b,c"], "and were class0,"),
    "no classes": (None, ["--run-dir", "new"], ["--classes", ""], "give either --labels, a CSV file, or --classes"),
    "class twice": (None, [], ["--classes", "tree,tree"], "--classes is 'tree,tree': give different names"),
    "class called id": (None, [], ["--classes", "id,tree"], "none of them id, split or labels"),
    "other classes": (lambda run_dir: fill(run_dir / "round-1/to_label.csv"), [], ["--classes", "a,b,c"], "and were"),
    "class called as a reason": (
        None,
        [],
        ["--classes", "tree,why:  rank"],
        "--classes has a class 'why: rank', as columns of a form are called: rename it",
    ),
    "classes between semicolons": (None, [], ["--classes", "a;b;c"], "give names between commas"),
    "no test": (None, ["--test", "0"], [], "--test is 0: it must be at least 1"),
    "too many to begin with": (None, ["--initial", "70", "--run-dir", "new"], [], "60 tiles without labels and 78"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_and_status_2(call, tmp_path, capsys, kind, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    damage, arguments, classes, message = BAD[kind]
    assert call() == 0
    if damage is not None:
        damage(tmp_path / "run")
    capsys.readouterr()
    assert call(*arguments, **({"first": classes} if classes else {})) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert not (tmp_path / "run/round-2").exists()


def test_a_round_that_is_gone_is_missed(call, tmp_path, capsys) -> None:
    rounds(call, tmp_path / "run", 4)
    before = (tmp_path / "run/labels.csv").read_bytes()
    fill(tmp_path / "run/round-4/to_label.csv")
    shutil.rmtree(tmp_path / "run/round-2")
    assert call() == 2
    error = capsys.readouterr().err
    assert re.search(r"round-2/to_label\.csv is missing, and there are later rounds: bring it back", error)
    assert (tmp_path / "run/labels.csv").read_bytes() == before


def test_labels_that_are_withdrawn_are_reported_and_kept_aside(call, tmp_path, capsys) -> None:
    rounds(call, tmp_path / "run", 3)
    before = (tmp_path / "run/labels.csv").read_bytes()
    fill(tmp_path / "run/round-3/to_label.csv")
    form = tmp_path / "run/round-2/to_label.csv"
    form.write_text("\n".join(form.read_text().splitlines()[:-1]) + "\n")
    assert call() == 0
    assert re.search(r"warning: 1 tiles of .*labels\.csv are in no form any more", capsys.readouterr().err)
    (kept,) = (tmp_path / "run").glob("labels-*.csv")
    assert kept.read_bytes() == before


def test_a_form_without_rows_is_not_waited_for(call, tmp_path, capsys) -> None:
    rounds(call, tmp_path / "run", 1)
    form = tmp_path / "run/round-1/to_label.csv"
    form.write_text(form.read_text().splitlines()[0] + "\n")
    assert call() == 2
    assert "names no tiles" in capsys.readouterr().err


def test_a_round_that_diverged_is_begun_anew_once_it_is_deleted(call, tmp_path, capsys) -> None:
    rounds(call, tmp_path / "run", 1)
    fill(tmp_path / "run/round-1/to_label.csv")
    assert call("--learning-rate", 1e30) == 1
    assert call() == 2
    error = capsys.readouterr().err
    assert "holds a run with other settings or data (learning_rate is" in error
    assert error.rstrip().endswith(f"or delete {tmp_path / 'run/round-2'} to begin that round anew")
    shutil.rmtree(tmp_path / "run/round-2")
    assert call() == 0


def test_sheets_are_drawn_where_they_are_asked_for(call, tmp_path, capsys) -> None:
    rounds(call, tmp_path / "run", 1)
    assert re.search(
        r"label.html in a browser and save what it makes as \S+, or write 0 or 1 into its cells",
        capsys.readouterr().out,
    )
    fill(tmp_path / "run/round-1/to_label.csv")
    assert call("--sheets") == 0
    assert re.search(r"or look at \S+round-2/sheet-\*.png and write 0 or 1 into", capsys.readouterr().out)
    assert (tmp_path / "run/round-2/sheet-1.png").read_bytes()[:4] == b"\x89PNG"
    assert "sheets" not in json.loads((tmp_path / "run/round-2/config.json").read_text())


def test_settings_of_the_sheets_do_not_make_another_round(call, tmp_path, monkeypatch) -> None:
    rounds(call, tmp_path / "run", 1)
    fill(tmp_path / "run/round-1/to_label.csv")

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(round_files, "write_round", stop)
        assert call() == 130
    assert call("--bands", "3,2,1") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run-dir", "tiles/run"], "is in --images: its pictures would be tiles"),
        (["--run-dir", "experiment"], "has the results of other runs"),
        (["--run-dir", "[2024] forests"], "checkpoints in it could not be read: give --run-dir another"),
        (["--labels", "run/labels.csv"], "is what the rounds write themselves"),
    ],
)
def test_rounds_write_over_nothing_else(call, tmp_path, capsys, monkeypatch, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/config.json").write_text("{}")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/labels.csv").write_text("id,class0\ntile000,1\n")
    files = sorted(tmp_path.rglob("*"))
    first = [] if "--labels" in arguments else ["--classes", ",".join(ARCHIVE.class_names)]
    assert call(*arguments, first=first) == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == files


def test_rounds_on_features_cover_them_first_and_learn_a_head(call, tmp_path, capsys) -> None:
    features = write_features(tmp_path / "features.npz")
    first, second, third = rounds(call, tmp_path / "run", 3, "--features", features)
    assert [row["split"] for row in first] == ["test"] * 8 + ["pool"] * 8
    assert [len(second), len(third)] == [4, 4]
    config = json.loads((tmp_path / "run/round-3/config.json").read_text())
    assert (config["query"], config["head"]) == ("boundary", "linear")
    covering = {row["id"] for row in first if row["split"] == "pool"}
    clusters = [(row["why: cluster"], row["why: cluster size"]) for row in first]
    assert clusters[:8] == [("", "")] * 8  # tiles of the test are random
    assert [number for number, _ in clusters[8:]] == [str(number) for number in range(1, 9)]
    sizes = [int(size) for _, size in clusters[8:]]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == 60 - 8
    assert {int(row["why: group"]) for row in first} == {1, 2, 3}  # six tiles in each on average
    (chance,) = rounds(call, tmp_path / "chance", 1, "--features", features, "--first", "random")
    assert {row["id"] for row in chance if row["split"] == "test"} == {r["id"] for r in first if r["split"] == "test"}
    assert {row["id"] for row in chance if row["split"] == "pool"} != covering
    assert b"data:image/jpeg" in (tmp_path / "run/round-3/label.html").read_bytes()
    trained = aljax.load(tmp_path / "run/round-3")
    rows = read(tmp_path / "run/round-3/predictions.csv")
    with np.load(features) as file:
        vectors = dict(zip(file["ids"].tolist(), file["embeddings"], strict=True))
    images = np.stack([vectors[row["id"]] for row in rows])[:, None, None]
    written = [[float(row[name]) for name in ARCHIVE.class_names] for row in rows]
    np.testing.assert_allclose(trained.predict(images), written, atol=1e-4)


def test_tiles_without_features_are_named(call, tmp_path, capsys) -> None:
    features = write_features(tmp_path / "features.npz", 58)
    assert call("--features", features) == 2
    error = capsys.readouterr().err
    assert re.match(r"error: 2 of 60 tiles have no features in \S*features.npz, as tile00", error)


def test_round_goes_on_from_one_that_does_not_know_its_pixel_type_and_not_on_another_type(call, tmp_path, capsys):
    assert call(first=["--labels", write_start(tmp_path / "start.csv", 18)]) == 0
    config = tmp_path / "run/round-1/config.json"
    older = json.loads(config.read_text())
    assert older.pop("pixel_type") == "uint8"
    config.write_text(json.dumps(older))
    fill(tmp_path / "run/round-1/to_label.csv")
    assert call() == 0
    fill(tmp_path / "run/round-2/to_label.csv")
    for tile, pixels in zip(ARCHIVE.ids, np.asarray(ARCHIVE.images), strict=True):
        write_geotiff(tmp_path / "tiles" / f"{tile}.png", pixels.astype(np.uint16) * 16, crs=None, transform=None)
    capsys.readouterr()
    assert call() == 2
    message = r"^error: pixel_type was uint8 in \S+/round-2 and is uint16: a warm start goes on with the same"
    assert re.search(message, capsys.readouterr().err)


def test_form_in_the_folder_of_another_round_is_reported(call, tmp_path, capsys) -> None:
    rounds(call, tmp_path / "run", 2, "--features", write_features(tmp_path / "features.npz"))
    shutil.copy(tmp_path / "run/round-1/to_label.csv", tmp_path / "run/round-2/to_label.csv")
    assert call() == 2
    message = (
        r"error: \S*round-2/to_label\.csv has the tiles of \S*round-1/to_label\.csv, so one of them is in the wrong "
    )
    assert re.search(f"{message}folder: save the form again from the label.html beside it\n$", capsys.readouterr().err)


def test_new_tiles_of_a_pool_are_reported_without_the_numbers_of_every_band(call, tmp_path, capsys) -> None:
    options = ["--features", write_features(tmp_path / "features.npz", 59)]
    (tmp_path / "tiles/tile000.png").rename(tmp_path / "tile000.png")
    rounds(call, tmp_path / "run", 2, *options)
    fill(tmp_path / "run/round-2/to_label.csv")
    (tmp_path / "tile000.png").rename(tmp_path / "tiles/tile000.png")
    write_features(tmp_path / "features.npz")
    capsys.readouterr()
    assert call(*options) == 2
    assert capsys.readouterr().err == (
        f"error: the pool has other tiles than in {tmp_path / 'run/round-2'}, and its bands another mean or deviation: "
        "a warm start goes on with the same; use --start cold\n"
    )
    assert call(*options, "--start", "cold") == 0


def test_names_that_a_spreadsheet_takes_for_formulas_are_reported(call, tmp_path, capsys) -> None:
    (tmp_path / "tiles/tile000.png").rename(tmp_path / "tiles/=1+1.png")
    assert call("--test", 52, first=["--classes", "trees,-water,+road"]) == 0
    form = tmp_path / "run/round-1/to_label.csv"
    assert capsys.readouterr().err == (
        f"warning: 3 names in {form} begin with =, +, - or @, as -water: a spreadsheet takes them for formulas; label "
        "on label.html, or rename them before you begin\n"
    )
    assert call("--test", 52, first=["--classes", "trees,water,road"], run_dir="other") == 0
    assert "warning: 1 names in" in capsys.readouterr().err
