"""A prediction that was stopped or killed goes on with the rows that it has, and writes the bytes of a whole one."""

import csv
import json
import os
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from killed_passes import kill_after
from PIL import Image
from run_command import run as run_command
from small_runs import run, settings
from tiny import make_archive

from aljax.commands import predict
from aljax.commands import run as run_archive
from aljax.data import predictions
from aljax.data.archive import Tiles
from aljax.data.features.unfinished import Unfinished

COUNT, BATCH = 11, 4
BROKEN = "02.png", "09.png"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on pixels, `pixels`, one on features, `vectors`, and what they are to predict."""
    folder = tmp_path_factory.mktemp("made")
    run(settings(folder / "pixels", max_labels=8))
    (folder / "tiles").mkdir()
    for index, pixels in enumerate(make_archive(COUNT).images):
        Image.fromarray(pixels).save(folder / "tiles" / f"{index:02d}.png")
    for name in BROKEN:
        path = folder / "tiles" / name
        path.write_bytes(path.read_bytes()[:200])
    rng = np.random.default_rng(0)
    for name, count in (("f", 40), ("others", COUNT)):
        ids = np.arange(count).astype(str)
        np.savez(folder / f"{name}.npz", ids=ids, embeddings=rng.normal(size=(count, 5)).astype(np.float32))
    rows = [f"{tile},{tile % 2},{tile % 3 % 2}" for tile in range(40)]
    (folder / "labels.csv").write_text("\n".join(["id,a,b", *rows]) + "\n")
    sizes = ["--trials", 1, "--initial", 8, "--budget", 4, "--max-labels", 12]
    with pytest.MonkeyPatch.context() as patch:
        given = ["--features", folder / "f.npz", "--labels", folder / "labels.csv", "--run-dir", folder / "vectors"]
        assert run_command(patch, run_archive.main, *given, *sizes) == 0
    return folder


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tiles, "at_once", property(lambda tiles: BATCH))


def arguments(made: Path, out: Path, kind: str = "pixels") -> tuple[object, ...]:
    given = ("--images", made / "tiles") if kind == "pixels" else ("--features", made / "others.npz")
    return "--run-dir", made / kind, *given, "--out", out


@pytest.mark.parametrize("kind", ["pixels", "vectors"])
@pytest.mark.parametrize(("appends", "is_saved"), [(1, True), (2, True), (2, False), (3, True)])
def test_killed_and_repeated_gives_the_same_bytes(kind, appends, is_saved, made, monkeypatch, tmp_path, capsys) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "p.csv"
    assert run_command(monkeypatch, predict.main, *arguments(made, whole, kind)) == 0
    told = capsys.readouterr().err
    kill_after(appends, is_saved, monkeypatch, predict.main, arguments(made, out, kind))
    assert not out.exists()
    done = json.loads((tmp_path / "p.csv.part.json").read_text())["done"]
    assert done == (min(appends * BATCH, COUNT) if is_saved else 0)
    made_again: list[int] = []
    append = Unfinished.append
    monkeypatch.setattr(Unfinished, "append", lambda self, rows: (made_again.append(len(rows)), append(self, rows)))
    assert run_command(monkeypatch, predict.main, *arguments(made, out, kind)) == 0
    assert sum(made_again) == COUNT - done
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.part*"))
    if kind == "pixels":  # also the tiles that the killed process could not read are named
        assert capsys.readouterr().err.count("2 of 11 tiles cannot be read") == told.count("2 of 11") == 1


@pytest.mark.parametrize("threshold", [(), ("--threshold", 0.4)])
def test_parquet_has_the_columns_of_the_csv_also_after_a_kill(threshold, made, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(predictions, "BYTES_AT_ONCE", 4 * 12)  # a few tiles in a row group
    for name in ("whole.csv", "whole.parquet"):
        assert run_command(monkeypatch, predict.main, *arguments(made, tmp_path / name), *threshold) == 0
    given = (*arguments(made, tmp_path / "p.parquet"), *threshold)
    kill_after(2, True, monkeypatch, predict.main, given)
    assert not (tmp_path / "p.parquet").exists()
    assert run_command(monkeypatch, predict.main, *given) == 0
    assert (tmp_path / "p.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    file = pq.ParquetFile(tmp_path / "p.parquet")
    with (tmp_path / "whole.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    found = file.read().to_pylist()
    assert file.num_row_groups == (1 if threshold else 3)
    assert [[*row] for row in found] == [[*row] for row in rows]
    shown = "{}" if threshold else "{:.4f}"
    texts = [
        {name: shown.format(cell) if type(cell) in (int, float) else cell or "" for name, cell in row.items()}
        for row in found
    ]
    assert texts == rows
    assert len(rows) == COUNT - (len(BROKEN) if threshold else 0)
    assert str(file.schema_arrow.field(1).type) == ("uint8" if threshold else "float")


def test_signal_saves_and_another_threshold_goes_on(made, monkeypatch, tmp_path) -> None:
    append = Unfinished.append

    def append_and_signal(self: Unfinished, rows: np.ndarray) -> None:
        append(self, rows)
        if self.done == 2 * BATCH:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "append", append_and_signal)
        assert run_command(patch, predict.main, *arguments(made, tmp_path / "p.csv")) == 143
    assert json.loads((tmp_path / "p.csv.part.json").read_text())["done"] == 2 * BATCH
    for name in ("p.csv", "whole.csv"):
        assert run_command(monkeypatch, predict.main, *arguments(made, tmp_path / name), "--threshold", 0.4) == 0
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_rows_of_other_weights_or_tiles_are_not_mixed(made, monkeypatch, tmp_path, capsys) -> None:
    out = tmp_path / "p.csv"
    kill_after(1, True, monkeypatch, predict.main, arguments(made, out))
    run(settings(tmp_path / "other", max_labels=8, seed=1))
    given = ("--run-dir", tmp_path / "other", "--images", made / "tiles", "--out", out)
    assert run_command(monkeypatch, predict.main, *given) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {out}.part was begun with other weights: name another --out, or remove p.csv.part and p.csv.part.json "
        "to begin anew"
    )
    (tmp_path / "tiles").mkdir()
    for path in (made / "tiles").iterdir():
        (tmp_path / "tiles" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "tiles" / BROKEN[0]).write_bytes((made / "tiles" / "01.png").read_bytes())
    given = ("--run-dir", made / "pixels", "--images", tmp_path / "tiles", "--out", out)
    assert run_command(monkeypatch, predict.main, *given) == 2
    assert "was begun with other tiles: name" in capsys.readouterr().err


def test_what_cannot_be_written_leaves_no_rows(made, monkeypatch, tmp_path, capsys) -> None:
    (tmp_path / "tiles").mkdir()
    for name in BROKEN:
        (tmp_path / "tiles" / name).write_bytes((made / "tiles" / name).read_bytes())
    given = ("--run-dir", made / "pixels", "--images", tmp_path / "tiles", "--out", tmp_path / "p.csv")
    assert run_command(monkeypatch, predict.main, *given) == 2
    assert not list(tmp_path.glob("p.csv*"))
