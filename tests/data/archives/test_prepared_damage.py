"""What cannot be prepared, and what was damaged since, is one line that names the file and says what to do."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from archives_on_disk import write_treesatai, write_ucmerced
from run_command import run

from aljax.commands import prepare
from aljax.data.archives.prepared import prepared_dir
from aljax.data.archives.treesatai import list_treesatai, open_treesatai
from aljax.errors import InputError

SHARD = "treesatai-train.array_record-00000-of-00001"
ADVICE = "delete the folder and prepare it again"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    return write_treesatai(tmp_path_factory.mktemp("treesatai"))


@pytest.fixture(scope="module")
def prepared(files: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepare.prepare("treesatai", folder, files)
    return folder


def some_tile(folder: Path) -> Path:
    return folder / "aerial/60m" / list_treesatai(folder).ids[7]


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1500])


UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "broken tile": (lambda d: shorten(some_tile(d)), r"files/aerial/60m/\w+.*\.tif is not readable as an image"),
    "empty tile": (lambda d: some_tile(d).write_bytes(b""), r"files/aerial/60m/.*\.tif is empty \(0 bytes\): replace"),
    "tile of other bands": (
        lambda d: shutil.copy(next((write_ucmerced(d / "other")).rglob("*.tif")), some_tile(d)),
        r"files/aerial/60m/.*\.tif has 3 bands of uint8 where the archive has 4 bands of uint8: replace the file",
    ),
    "missing tile": (lambda d: some_tile(d).unlink(), r"files: 1 listed tiles are not there \(.*\.tif\): complete"),
    "missing list": (lambda d: (d / "train_filenames.lst").unlink(), "files/train_filenames.lst is not readable"),
    "nothing there": (lambda d: (shutil.rmtree(d), d.mkdir()), "--manual-dir .*/files holds no files: give the"),
    "no folder": (lambda d: shutil.rmtree(d), "--manual-dir .*/files holds no files: give the"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_archive_that_cannot_be_prepared_is_refused_by_name(kind, files, tmp_path, monkeypatch, capsys) -> None:
    spoil, message = UNFIT[kind]
    source = shutil.copytree(files, tmp_path / "files")
    spoil(source)
    arguments = ["treesatai", "--out", tmp_path / "data", "--manual-dir", source]
    assert run(monkeypatch, prepare.main, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(f"^error: .*{message}", line)
    assert not list((tmp_path / "data").rglob("*"))


@pytest.mark.parametrize("place", ["", "below"])
def test_data_dir_that_cannot_be_written_is_refused(place, files, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "file").write_text("")
    arguments = ["treesatai", "--out", tmp_path / "file" / place, "--manual-dir", files]
    assert run(monkeypatch, prepare.main, *arguments) == 2
    assert re.match(r"error: cannot write to --out .*file.*: choose another folder\n$", capsys.readouterr().err)


def flip(path: Path, share: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 0xFF
    path.write_bytes(data)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated shard": (lambda d: shorten(d / SHARD), r"1\.0\.0: tile .*\.tif is not readable"),
    "empty shard": (lambda d: (d / SHARD).write_bytes(b""), r"1\.0\.0: tile .*\.tif is not readable"),
    "byte flipped early": (lambda d: flip(d / SHARD, 0.002), r"1\.0\.0: tile .*\.tif is not readable"),
    "byte flipped midway": (lambda d: flip(d / SHARD, 0.25), r"1\.0\.0: tile .*\.tif is not readable"),
    "shard deleted": (lambda d: (d / SHARD).unlink(), r"1\.0\.0: tile .*\.tif is not readable .*No such file"),
    "shard of another split": (
        lambda d: shutil.copy(d / SHARD.replace("train", "test"), d / SHARD),
        r"1\.0\.0: record 0 of train is not .*\.tif",
    ),
    "metadata broken": (lambda d: (d / "metadata.json").write_text('{"name": '), r"1\.0\.0 is damaged \(.*line 1"),
    "metadata binary": (lambda d: (d / "metadata.json").write_bytes(b"\xff\xfe"), r"1\.0\.0 is damaged \(.*utf-8"),
    "metadata deleted": (lambda d: (d / "metadata.json").unlink(), "metadata.json lacks name, class_names, ids"),
    "metadata of few tiles": (
        lambda d: edit(d / "metadata.json", ids={"train": ["a.tif"], "test": []}),
        r"1\.0\.0 has 18 tiles in train, not 1",
    ),
    "metadata of few labels": (lambda d: edit(d / "metadata.json", classes={"train": [[0]]}), r"1\.0\.0 is damaged"),
    "metadata of other classes": (lambda d: edit(d / "metadata.json", class_names=["a"]), r"1\.0\.0 is damaged"),
    "info broken": (lambda d: shorten_text(d / "dataset_info.json"), r"1\.0\.0 is damaged \(Failed to load JSON"),
    "info deleted": (lambda d: (d / "dataset_info.json").unlink(), r"1\.0\.0 is damaged \(Could not read"),
    "features broken": (lambda d: shorten_text(d / "features.json"), r"1\.0\.0 is damaged \(Expecting value"),
}


def shorten_text(path: Path) -> None:
    path.write_text(path.read_text()[:100])


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_archive_is_refused_by_name_when_it_is_read(kind: str, prepared: Path, tmp_path: Path) -> None:
    spoil, message = DAMAGED[kind]
    folder = shutil.copytree(prepared, tmp_path / "data")
    spoil(prepared_dir(folder, "treesatai"))
    with pytest.raises(InputError, match=message) as caught:
        open_treesatai(folder, 32, 0)  # reads every tile of a small archive once
    assert str(caught.value).endswith(ADVICE)
    assert "\n" not in str(caught.value)


def test_following_the_advice_mends_a_damaged_archive(prepared, files, tmp_path, monkeypatch, capsys) -> None:
    folder = shutil.copytree(prepared, tmp_path / "data")
    (prepared_dir(folder, "treesatai") / "dataset_info.json").unlink()
    arguments = ["treesatai", "--out", folder, "--manual-dir", files]
    assert run(monkeypatch, prepare.main, *arguments) == 2
    assert ADVICE in capsys.readouterr().err
    shutil.rmtree(prepared_dir(folder, "treesatai"))
    assert run(monkeypatch, prepare.main, *arguments) == 0
    assert open_treesatai(folder, 32, 0).fingerprint() == open_treesatai(files, 32, 0).fingerprint()
