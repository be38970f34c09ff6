"""Files of an archive, in folders or in zips as they were downloaded."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from aljax.errors import InputError

# Both offer iterdir, is_dir, read_bytes and name.
Entry = Path | zipfile.Path


def open_zip(path: Path) -> zipfile.Path:
    """The root of a zip. Raises InputError."""
    try:
        return zipfile.Path(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a sound zip file ({error}): download it again") from error


def walk(entry: Entry) -> Iterator[Entry]:
    """All files below a folder or in a zip, in the order of their paths; symbolic links lead to files in it only."""
    children: list[Entry] = sorted(entry.iterdir(), key=str)
    for child in children:
        if isinstance(child, Path) and child.is_symlink():
            if child.is_file() and child.resolve().is_relative_to(child.parent.resolve()):
                yield child
        elif child.is_dir():
            yield from walk(child)
        else:
            yield child


def find_in_zip(path: Path, name: str) -> Entry:
    """The file of that name in a zip, whatever folder it is in. Raises InputError."""
    for entry in walk(open_zip(path)):
        if entry.name == name:
            return entry
    raise InputError(f"{path} holds no {name}: download it again")


def read_entry(entry: Entry) -> bytes:
    """The content of a file. Raises InputError."""
    try:
        return entry.read_bytes()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{entry} is not readable ({reason}): replace the file") from error


def size_of(entry: Entry) -> int:
    """Bytes of a file, uncompressed."""
    if isinstance(entry, Path):
        return entry.stat().st_size
    return entry.root.getinfo(entry.at).file_size
