"""Files of an archive, in folders or in the downloaded zips."""

import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from aljax.data.tiles.decoding import MAX_BYTES
from aljax.errors import InputError, InputWarning

# Both offer iterdir, is_dir, read_bytes and name.
Entry = Path | zipfile.Path
# Errors of damaged, encrypted or unusually compressed zips.
ZIP_ERRORS = (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)


def open_zip(path: Path) -> zipfile.Path:
    """The root of a zip. Raises InputError if it is damaged."""
    try:
        return zipfile.Path(path)
    except ZIP_ERRORS as error:
        raise InputError(f"{path} is not a sound zip file ({error}): download it again") from error


def walk(entry: Entry) -> Iterator[Entry]:
    """All files below a folder or in a zip, sorted by path. Raises InputError for a folder that cannot be read.

    A symbolic link to a file in the folder counts as that file; other links are not followed, with a warning.
    """
    if isinstance(entry, zipfile.Path):
        names = sorted({*entry.root.namelist()}, key=lambda name: name.split("/"))
        yield from (zipfile.Path(entry.root, name) for name in names if not name.endswith("/"))
        return
    left_out: list[Path] = []
    for path in sorted(_files_below(entry)):
        if path.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(entry.resolve())):
            left_out.append(path)
        else:
            yield path
    warn_of_links(left_out, entry)


def _files_below(folder: Path) -> Iterator[Path]:
    """All files and symbolic links below a folder. Raises InputError for a folder that cannot be read.

    Folders that are links are listed but not followed.
    """

    def stop(error: OSError) -> None:
        raise InputError(f"{error.filename} is not readable ({error.strerror}): check its permissions") from error

    for parent, folders, names in os.walk(folder, onerror=stop):
        linked = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in (*names, *linked))


def warn_of_links(left_out: Sequence[Path], folder: Entry) -> None:
    """Warns if symbolic links below a folder were not followed."""
    if left_out:
        what = f"{len(left_out)} symbolic links lead out of {folder} or to folders and are left out, as {left_out[0]}"
        warnings.warn(InputWarning(f"{what}: copy what they lead to, or link the whole folder"), stacklevel=3)


def find_in_zip(path: Path, name: str) -> Entry:
    """The file of that name in any folder of a zip. Raises InputError if there is none."""
    for entry in walk(open_zip(path)):
        if entry.name == name:
            return entry
    raise InputError(f"{path} holds no {name}: download it again")


def find_file(folder: Path, places: Iterable[str], name: str, missing: str) -> Entry:
    """The first of `places` that is a file in `folder`; if that is a zip, the file `name` in it.

    Raises InputError, with the message `missing` if there is none.
    """
    path = next((folder / place for place in places if (folder / place).is_file()), None)
    if path is None:
        raise InputError(missing)
    return find_in_zip(path, name) if path.suffix == ".zip" else path


def find_tiles(places: Iterable[Path], suffixes: Collection[str], tile_id: Callable[[Path], str]) -> dict[str, Entry]:
    """Files below folders and in zips by tile id, which `tile_id` makes of the name. Raises InputError for repeats."""
    tiles: dict[str, Entry] = {}
    for place in places:
        for file in walk(open_zip(place) if place.suffix == ".zip" else place):
            name = Path(file.name)
            if name.suffix.lower() not in suffixes or name.name.startswith("."):
                continue
            if (other := tiles.setdefault(tile_id(name), file)) is not file:
                raise InputError(f"tile {tile_id(name)} is there twice, as {other} and {file}: remove one")
    return tiles


def few(names: Sequence[str]) -> str:
    """The first of many names, for a message."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def require_none(missing: Sequence[str], what: str, folder: Path) -> None:
    """Raises InputError if tiles are missing."""
    if missing:
        raise InputError(f"{folder}: {len(missing)} {what} ({few(missing)}): complete the archive")


def read_entry(entry: Entry) -> bytes:
    """The content of a file. Raises InputError, also if its unpacked size is above `MAX_BYTES`."""
    try:
        if (size := size_of(entry)) <= MAX_BYTES:
            return entry.read_bytes()
    except ZIP_ERRORS as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{entry} is not readable ({reason}): replace the file") from error
    raise InputError(f"{entry} has {size} bytes, too many to read at once (at most {MAX_BYTES}): replace the file")


def size_of(entry: Entry) -> int:
    """Uncompressed size of a file in bytes."""
    if isinstance(entry, Path):
        return entry.stat().st_size
    return entry.root.getinfo(entry.at).file_size


def size_and_time(path: Path) -> tuple[int, int]:
    """Size in bytes and modification time in ns of a file on disk."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def on_disk(entry: Entry) -> Path:
    """The file itself, or the zip that contains it."""
    return entry if isinstance(entry, Path) else Path(str(entry.root.filename))
