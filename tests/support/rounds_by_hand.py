"""Rounds of annotation that a test plays by the command: its tiles, and what the person does."""

import csv
import json
from pathlib import Path

import numpy as np
from tiny import make_archive

ARCHIVE = make_archive(60)
TRUTH = dict(zip(ARCHIVE.ids, ARCHIVE.labels.tolist(), strict=True))
SMALL = ["--test", 8, "--initial", 8, "--budget", 4, "--epochs", 2, "--batch-size", 4, "--image-size", 32]


def read(form: Path) -> list[dict[str, str]]:
    with form.open(newline="") as file:
        return list(csv.DictReader(file))


def fill(form: Path) -> None:
    """What the person does, with a spreadsheet that writes semicolons."""
    rows = read(form)
    assert all(row[name] == "" for row in rows for name in ARCHIVE.class_names)
    with form.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["id", "split", *ARCHIVE.class_names])
        writer.writerows([row["id"], row["split"], *TRUTH[row["id"].removesuffix(".png")]] for row in rows)


def write_start(path: Path, count: int) -> Path:
    """Labels that are there already: of the first tiles, eight of them for the test."""
    parts = ["test"] * 8 + ["pool"] * (count - 8)
    rows = [f"{tile},{part},{','.join(map(str, TRUTH[tile]))}" for tile, part in zip(ARCHIVE.ids, parts, strict=False)]
    path.write_text("\n".join(["id,split,class0,class1,class2", *rows]))
    return path


def rounds(call, run_dir: Path, last: int, *arguments: object) -> list[list[dict[str, str]]]:
    """The rows of the form of each round; the last form is left blank."""
    forms = []
    for number in range(1, last + 1):
        assert call(*arguments, run_dir=run_dir.name) == 0
        form = run_dir / f"round-{number}" / "to_label.csv"
        forms.append(read(form))
        if number < last:
            fill(form)
    return forms


def write_features(path: Path, tiles: int = 60, noise: float = 0.0) -> Path:
    """What a network trained elsewhere might say of the tiles, in another order than the folder's."""
    pixels = np.asarray(ARCHIVE.images).reshape(60, -1, 3).astype(np.float32)
    vectors = np.concatenate([pixels.mean(1), pixels.std(1)], axis=1)[::-1][:tiles]
    vectors = vectors + noise * np.random.default_rng(0).normal(size=vectors.shape).astype(np.float32)
    np.savez(path, ids=np.array([f"{tile}.png" for tile in ARCHIVE.ids[::-1][:tiles]]), embeddings=vectors)
    return path


def open_cells(form: Path, rows: dict[int, list[str]]) -> list[str]:
    """Fills in a form but for the rows of these numbers, which have these cells; gives their tiles."""
    fill(form)
    lines = [line.split(";") for line in form.read_text().splitlines()]
    for number, cells in rows.items():
        lines[number - 1][2:] = cells
    form.write_text("\n".join(map(";".join, lines)))
    return [lines[number - 1][0] for number in rows]


def trained_on(folder: Path) -> list[int]:
    return [json.loads(line)["num_labeled"] for line in (folder / "history.jsonl").read_text().splitlines()]
