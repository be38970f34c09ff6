"""An index of a folder's tiles: later commands read only headers, samples and georeferences of new and changed files.

It is kept among the user's caches, so that all commands share it and nothing is written into the folder of the tiles.
"""

import hashlib
import os
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from aljax.data.archives.scanning import TileFiles
from aljax.data.tiles.decoding import Header, TileForm, read_header
from aljax.data.tiles.files import read_each, read_file
from aljax.data.tiles.georeferences import NOT_READ, PLACE, Georeferences, read_places
from aljax.data.tiles.made import Made
from aljax.errors import InputError, InputWarning
from aljax.system.files import remove_leftovers, replacing
from aljax.system.machine import caches_dir

FACTS = np.dtype(
    [
        ("size", np.int64),
        ("changed", np.int64),  # as in `TileFiles`
        ("bands", np.int32),  # 0: header not known
        ("type", "S8"),
        ("is_cmyk", np.bool_),
        ("sample", "S8"),  # of SHA-256 of the size and some bytes; empty: not known
        ("digest", "S32"),  # SHA-256 of the file; empty: not known
        ("place", PLACE),
        ("is_readable", np.bool_),  # whether all of its pixels were read once
    ]
)
FORMAT = 2  # of the file; raise it when what a fact means changes
# A file that changed so shortly before may change again without another time or size.
SETTLED_NS = 2 * 10**9
KEPT_FROM = 1000  # facts to read; fewer are read again in a second or two
SAMPLE_BYTES = 4096  # read at each of three places of a file


@dataclass
class TileIndex:
    """What is known of the tiles of a folder; what is read is added."""

    files: TileFiles
    facts: Shaped[np.ndarray, " n"]
    """Of type `FACTS`, one for each file."""
    systems: list[str] = field(default_factory=list)
    """As in `Georeferences`."""
    path: Path | None = None
    """Where the index is kept; None: nowhere."""
    fresh: int = 0
    """Number of facts that the file does not have."""

    def form(self, row: int) -> TileForm:
        """The form of a tile whose header is known."""
        return TileForm(int(self.facts["bands"][row]), self.facts["type"][row].decode())

    def read_headers(self) -> dict[int, InputError]:
        """Reads the headers that are not known, up to one that differs from the others. Returns why rows have none."""
        errors: dict[int, InputError] = {}
        known, unknown = (np.flatnonzero(has) for has in (self.facts["bands"] > 0, self.facts["bands"] == 0))
        form = self.form(int(known[0])) if len(known) else None
        with closing(read_each(_header_or_error, self._paths(unknown), "reading headers")) as found:
            for row, header in zip(unknown.tolist(), found, strict=True):
                if isinstance(header, InputError):
                    errors[row] = header
                    continue
                fact, form, self.fresh = self.facts[row], form or header.form, self.fresh + 1
                fact["bands"], fact["type"], fact["is_cmyk"] = *header.form, header.is_cmyk
                if header.form != form:
                    break
        return errors

    def samples(self, rows: Int[np.ndarray, " k"]) -> Shaped[np.ndarray, " k"]:
        """Numbers that files with the same bytes share, and hardly any others. Raises InputError."""
        return self._read("sample", _sample, rows, "looking for copies")

    def digests(self, rows: Int[np.ndarray, " k"]) -> Shaped[np.ndarray, " k"]:
        """SHA-256 of the files, of type S32. Raises InputError."""
        return self._read("digest", lambda path: hashlib.sha256(read_file(path)).digest(), rows, "reading files")

    def georeferences(self, rows: Int[np.ndarray, " k"]) -> Georeferences:
        """Where the tiles are."""
        places = self.facts["place"]
        unknown = rows[places["system"][rows] == NOT_READ]
        places[unknown] = read_places(self._paths(unknown), self.systems)
        self.fresh += len(unknown)
        self.save()
        return Georeferences(self.systems, places[rows])

    def note_readable(self, rows: Int[np.ndarray, " k"]) -> None:
        """Keeps that all pixels of these files were read."""
        self.facts["is_readable"][rows] = True
        self.fresh += len(rows)
        self.save()

    def save(self) -> None:
        """Writes the file if there is much that it does not have. Warns if that fails."""
        if self.path is None or self.fresh < KEPT_FROM:
            return
        settled = self.facts["changed"] < time.time_ns() - SETTLED_NS
        facts = self.facts if settled.all() else np.where(settled, self.facts, np.zeros(1, FACTS))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.path.parent)
            with replacing(self.path) as file:
                names, systems = map(_joined, (self.files.names, self.systems))
                np.savez(file, format=FORMAT, names=names, systems=systems, facts=facts)
        except OSError as error:
            message = f"{self.path} cannot be written ({error.strerror}): headers of tiles will be read again"
            warnings.warn(InputWarning(message), stacklevel=2)
        self.fresh = 0

    def _paths(self, rows: Int[np.ndarray, " k"]) -> Made:
        paths = self.files.paths
        return Made(len(rows), lambda index: paths[int(rows[index])])

    def _read(
        self, fact: str, read: Callable[[Path], bytes], rows: Int[np.ndarray, " k"], purpose: str
    ) -> Shaped[np.ndarray, " k"]:
        values = self.facts[fact]
        unknown = rows[values[rows] == b""]
        for row, value in zip(unknown.tolist(), read_each(read, self._paths(unknown), purpose), strict=True):
            values[row] = value
        self.fresh += len(unknown)
        return values[rows]


def open_index(files: TileFiles, path: Path | None = None) -> TileIndex:
    """An index of the files, with what the one in the file `path` says of those that have not changed since.

    Nothing is known if that is missing, damaged or of another version.
    """
    stored = _read_index(path) if path is not None else None
    if stored is None:
        return TileIndex(files, _forgotten(np.zeros(len(files.names), FACTS), files), path=path)
    joined, systems, facts = stored
    if np.array_equal(joined, _joined(files.names)):  # as nearly always: no need to look each up
        return TileIndex(files, _forgotten(facts, files), systems, path)
    place_of = dict(zip(_parted(joined), range(len(facts)), strict=True))
    places = np.fromiter((place_of.get(name, -1) for name in files.names), np.int64, len(files.names))
    facts = np.where(places >= 0, facts[places], np.zeros(1, FACTS))
    return TileIndex(files, _forgotten(facts, files), systems, path, KEPT_FROM)


def index_path(folder: Path) -> Path | None:
    """Where the index of a folder is kept; None for a user without a place for what is kept."""
    with suppress(InputError):
        name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
        return caches_dir() / "index" / f"{name[:32]}.npz"
    return None


def _forgotten(facts: Shaped[np.ndarray, " n"], files: TileFiles) -> Shaped[np.ndarray, " n"]:
    """The facts without those of files that have changed."""
    facts[(facts["size"] != files.sizes) | (facts["changed"] != files.changed)] = np.zeros(1, FACTS)
    facts["size"], facts["changed"] = files.sizes, files.changed
    return facts


def _read_index(path: Path) -> tuple[UInt8[np.ndarray, " bytes"], list[str], Shaped[np.ndarray, " n"]] | None:
    """Joined names, reference systems and facts of the file of an index; None if it is of no use."""
    try:
        with path.open("rb") as file, np.load(file) as stored:
            joined, systems, facts = stored["names"], _parted(stored["systems"]), stored["facts"]
            is_sound = stored["format"] == FORMAT and facts.dtype == FACTS
            is_sound &= len(facts) == np.count_nonzero(joined == 0) and int(facts["place"]["system"].max()) <= len(
                systems
            )
    except Exception:  # damage raises many types, and costs no more than reading the headers again
        return None
    return (joined, systems, facts) if is_sound else None


def _joined(texts: Sequence[str]) -> UInt8[np.ndarray, " bytes"]:
    """Texts in UTF-8, each with a zero after it, as an array that takes no more memory than they."""
    return np.frombuffer("\0".join([*texts, ""]).encode(), np.uint8)


def _parted(joined: UInt8[np.ndarray, " bytes"]) -> list[str]:
    return joined.tobytes().decode().split("\0")[:-1]


def _header_or_error(path: Path) -> Header | InputError:
    try:
        return read_header(path)
    except InputError as error:
        return error


def _sample(path: Path) -> bytes:
    """A hash of the size and some bytes at the start, in the middle and at the end of a file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest = hashlib.sha256(str(size).encode())
            for start in (0, size // 2, max(size - SAMPLE_BYTES, 0)):
                file.seek(start)
                digest.update(file.read(SAMPLE_BYTES))
    except OSError as error:
        raise InputError(f"{path} is not readable ({error.strerror}): check that it is still there") from error
    return digest.digest()[:8]
