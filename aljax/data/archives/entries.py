"""Files of an archive, in folders or in zips as they were downloaded."""

import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from aljax.errors import InputError, InputWarning

# Both offer iterdir, is_dir, read_bytes and name.
Entry = Path | zipfile.Path
# What damaged, encrypted and oddly packed zips raise.
ZIP_ERRORS = (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)


def open_zip(path: Path) -> zipfile.Path:
    """The root of a zip. Raises InputError."""
    try:
        return zipfile.Path(path)
    except ZIP_ERRORS as error:
        raise InputError(f"{path} is not a sound zip file ({error}): download it again") from error


def walk(entry: Entry) -> Iterator[Entry]:
    """All files below a folder or in a zip, in the order of their paths. Raises InputError.

    A symbolic link to a file in the folder is that file; others are not followed, and warned of.
    """
    left_out: list[Path] = []
    yield from _walk(entry, entry.resolve() if isinstance(entry, Path) else None, left_out)
    warn_of_links(left_out, entry)


def warn_of_links(left_out: Sequence[Path], folder: Entry) -> None:
    """Warns of symbolic links below a folder that were not followed, if there are any."""
    if left_out:
        what = f"{len(left_out)} symbolic links lead out of {folder} or to folders and are left out, as {left_out[0]}"
        warnings.warn(InputWarning(f"{what}: copy what they lead to, or link the whole folder"), stacklevel=3)


def _walk(entry: Entry, root: Path | None, left_out: list[Path]) -> Iterator[Entry]:
    try:
        children: list[Entry] = sorted(entry.iterdir(), key=str)
    except OSError as error:
        raise InputError(f"{entry} is not readable ({error.strerror}): check its permissions") from error
    for child in children:
        if root is not None and isinstance(child, Path) and child.is_symlink():
            if child.is_file() and child.resolve().is_relative_to(root):
                yield child
            else:
                left_out.append(child)
        elif child.is_dir():
            yield from _walk(child, root, left_out)
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
    except ZIP_ERRORS as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{entry} is not readable ({reason}): replace the file") from error


def size_of(entry: Entry) -> int:
    """Bytes of a file, uncompressed."""
    if isinstance(entry, Path):
        return entry.stat().st_size
    return entry.root.getinfo(entry.at).file_size


def on_disk(entry: Entry) -> Path:
    """The file itself, or the zip that it is in."""
    return entry if isinstance(entry, Path) else Path(str(entry.root.filename))
