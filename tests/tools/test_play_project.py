"""A whole project of two people goes through all commands, and what they make of the answers is checked."""

import re
from pathlib import Path

import numpy as np
import pytest

from aljax.data.generated.scenes import generate_scenes
from tools.play_project import Project
from tools.played_archive import Settings


def play(folder: Path, **more: object) -> Project:
    """Plays on scenes whose features are what they show, with noise."""
    archive = generate_scenes(140, 32)
    noise = np.random.default_rng(0).normal(0, 0.3, archive.labels.shape)
    np.savez(folder / "features.npz", ids=np.array(archive.ids), embeddings=(archive.labels + noise).astype(np.float32))
    sizes = {"tiles": 140, "pixels": 32, "initial": 12, "test": 12, "budget": 6}
    project = Project(Settings(out=folder / "out", features=folder / "features.npz", **sizes, **more))
    project.play()
    project.report()
    return project


def test_project_ends_with_agreement_map_and_curve_and_wrong_labels_are_noticed(tmp_path, capsys) -> None:
    project = play(tmp_path)
    said = capsys.readouterr().out
    assert len(re.findall(r"^   checked: labels\.csv, \d+ tiles", said, re.M)) == 4
    assert len(re.findall(r"^   checked: round \d has", said, re.M)) == 4
    assert "\nclass,people,tiles,differ,alpha\nfield,all," in said
    run = tmp_path / "out/run"
    assert said.splitlines()[-3:] == [str(run / name) for name in ("agreement.csv", "round-4/round.html", "curve.png")]
    assert (run / "round-5/history.jsonl").exists()
    labels = run / "labels.csv"
    whole = labels.read_text()
    labels.write_text(re.sub(r",pool,([01])", lambda cell: f",pool,{1 - int(cell[1])}", whole, count=1))
    with pytest.raises(SystemExit, match=r"^not as it must be: \S+labels\.csv has '[01]' for field on scene"):
        project.check_labels()
    tile = re.search(r"\n(\S+?),test,", whole)[1]
    (row, column), other = project.places[tile], re.search(r"\n(\S+?),pool,", whole)[1]
    labels.write_text(whole)
    project.places[other] = (row + 1, column)
    with pytest.raises(SystemExit, match="no tile to learn from is within 50 m of a test tile"):
        project.check_labels()


def test_folder_with_files_is_not_written_to(tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(Exception, match="has files: name another --out"):
        Project(Settings(out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.exchange
def test_project_with_label_studio_between(tmp_path, capsys) -> None:
    play(tmp_path, label_studio=True)
    said = capsys.readouterr().out
    assert "starting Label Studio" in said
    assert "curve.png" in said.splitlines()[-1]
