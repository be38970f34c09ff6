"""Files in folders and zips: damaged, encrypted and unreadable ones are refused; links out of a folder are left out."""

import os
import zipfile
from pathlib import Path

import pytest

from aljax.data.archives import entries
from aljax.data.archives.entries import find_in_zip, open_zip, read_entry, size_of, walk
from aljax.errors import InputError, InputWarning

NAME = "a ü.txt"
CONTENT = "".join(f"{number * number} trees\n" for number in range(999)).encode()
HEADER_BYTES = 30  # of a zip's local file header, before the name
FLAGS, METHOD = 6, 8  # where it has them
# The same fields in the central directory at the end stand two bytes later.
CENTRAL = b"PK\1\2"


@pytest.fixture
def zip_path(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "tiles.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"folder/{NAME}", CONTENT)
    return tmp_path / "tiles.zip"


def overwrite(path: Path, position: int, values: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[position : position + len(values)] = values
    path.write_bytes(data)


def set_field(path: Path, field: int, value: int) -> None:
    central = path.read_bytes().index(CENTRAL)
    for position in (field, central + field + 2):
        overwrite(path, position, bytes([value | path.read_bytes()[position] if field == FLAGS else value]))


def test_file_in_a_zip_is_found_whatever_its_folder(zip_path: Path) -> None:
    entry = find_in_zip(zip_path, NAME)
    assert (read_entry(entry), size_of(entry)) == (CONTENT, len(CONTENT))
    with pytest.raises(InputError, match=r"tiles\.zip holds no other: download it again"):
        find_in_zip(zip_path, "other")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        # The two lowest bits after the mark of the last block are its kind; there is no fourth kind.
        (lambda path: overwrite(path, HEADER_BYTES + len(f"folder/{NAME}".encode()), b"\xff"), "invalid block type"),
        (lambda path: overwrite(path, 200, b"\0" * 40), "Bad CRC-32|Error -3"),
        (lambda path: set_field(path, FLAGS, 1), "encrypted"),
        (lambda path: set_field(path, METHOD, 97), "compression"),
        (lambda path: overwrite(path, 0, b"none"), "Bad magic number"),
    ],
)
def test_file_that_cannot_be_unpacked_is_named(spoil, message: str, zip_path: Path) -> None:
    spoil(zip_path)
    with pytest.raises(InputError, match=rf"tiles\.zip/folder/{NAME} is not readable \(.*({message}).*\): replace"):
        read_entry(find_in_zip(zip_path, NAME))


@pytest.mark.parametrize("content", [b"", b"PK", b"plain text"])
def test_what_is_no_zip_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tiles.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"tiles\.zip is not a sound zip file \(.*\): download it again"):
        open_zip(tmp_path / "tiles.zip")


def test_files_come_in_order_and_links_are_followed_to_files_inside_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("b/two", "a/one", "line\nbreak"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("")
    (root / "b" / "inside").symlink_to(root / "a" / "one")
    (root / "b" / "out").symlink_to(tmp_path / "outside" / "secret")
    (root / "folder").symlink_to(tmp_path / "outside", target_is_directory=True)
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "dangling").symlink_to(root / "gone")
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    for start in (root, tmp_path / "link"):
        with pytest.warns(InputWarning, match=r"4 symbolic links lead out of .*: copy what they lead to"):
            found = [str(entry).removeprefix(f"{start}/") for entry in walk(start)]
        assert found == ["a/one", "b/inside", "b/two", "line\nbreak"]


def test_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"is not readable \(Permission denied\): check its permissions"):
        list(walk(tmp_path))


def test_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone is not readable \(No such file or directory\): replace the file"):
        read_entry(tmp_path / "gone")


def test_file_that_would_fill_the_memory_is_not_unpacked(zip_path: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "plain.txt").write_bytes(CONTENT)
    monkeypatch.setattr(entries, "MAX_BYTES", len(CONTENT) - 1)
    monkeypatch.setattr(zipfile.Path, "read_bytes", lambda entry: pytest.fail("it was unpacked"))
    for entry in (find_in_zip(zip_path, NAME), tmp_path / "plain.txt"):
        with pytest.raises(InputError, match=rf"txt has {len(CONTENT)} bytes, too many to read at once"):
            read_entry(entry)
