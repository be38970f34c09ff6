"""An index of a folder's tiles beside a run: later calls read only headers and samples of new and changed files."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from aljax.data.tiles.decoding import Header, TileForm, read_header
from aljax.data.tiles.images import read_each
from aljax.errors import InputError
from aljax.system.files import disk_errors, replacing

FACTS = np.dtype(
    [
        ("size", np.int64),
        ("time", np.int64),  # of the last change, in ns; content, name or rights
        ("bands", np.int32),  # 0: header not known
        ("type", "S8"),
        ("is_cmyk", np.bool_),
        ("sample", np.uint8, 32),  # SHA-256 of some bytes; zeros: not known
    ]
)
FORMAT = 1  # of the file; raise it when what a fact means changes
# A file that changed so shortly before may change again without another time or size.
SETTLED_NS = 2 * 10**9
NOTHING: tuple[list[str], np.ndarray] = ([], np.zeros(0, FACTS))


@dataclass
class TileIndex:
    """What is known of the files of an archive, in their order; what is read is added."""

    files: Sequence[Path]
    facts: Shaped[np.ndarray, " n"]
    """Of type `FACTS`, one for each file."""
    is_stored: bool
    """Whether the file of the index says all of it."""

    def headers(self) -> Generator[Header | InputError, None, None]:
        """The header of each file, or why it cannot be read."""
        unknown = [self.files[row] for row in np.flatnonzero(self.facts["bands"] == 0).tolist()]
        with closing(read_each(_header_or_error, unknown, "reading headers")) as found:
            for fact in self.facts:
                if fact["bands"]:
                    yield Header(TileForm(int(fact["bands"]), fact["type"].decode()), bool(fact["is_cmyk"]))
                    continue
                header = next(found)
                if isinstance(header, Header):
                    fact["bands"], fact["type"], fact["is_cmyk"] = *header.form, header.is_cmyk
                    self.is_stored = False
                yield header

    def samples(self, read: Callable[[Path], bytes], rows: Sequence[int]) -> Iterator[bytes]:
        """The samples of the files `rows`; `read` makes those that are not known."""
        samples = self.facts["sample"]
        unknown = [row for row in rows if not samples[row].any()]
        found = read_each(read, [self.files[row] for row in unknown], "looking for copies")
        for row, sample in zip(unknown, found, strict=True):
            samples[row] = np.frombuffer(sample, np.uint8)
            self.is_stored = False
        return (samples[row].tobytes() for row in rows)

    def save(self, path: Path, names: list[str]) -> None:
        """Writes the file if anything is new and its folder exists; `names` are those of the tiles in their folder."""
        if self.is_stored or not path.parent.is_dir():
            return
        settled = self.facts["time"] < time.time_ns() - SETTLED_NS
        facts = np.where(settled, self.facts, np.zeros(1, FACTS))
        with disk_errors(path.parent), replacing(path) as file:
            np.savez(file, format=FORMAT, names=_joined(names), facts=facts)


def open_index(files: Sequence[Path], names: list[str], path: Path | None) -> TileIndex:
    """An index of the files, which are called `names` in the file `path`.

    What that says of files that have not changed since is taken over. Nothing is if it is missing, damaged or of
    another version.
    """
    facts = np.zeros(len(files), FACTS)
    for row, file in enumerate(files):
        with suppress(OSError):  # told when its header is read
            stat = file.stat()
            facts[row] = (stat.st_size, stat.st_ctime_ns, 0, b"", False, 0)
    stored_names, stored = _read(path) if path is not None else NOTHING
    if stored_names == names:  # as nearly always: no need to look each up
        places = np.arange(len(names))
    else:
        place_of = dict(zip(stored_names, range(len(stored_names)), strict=True))
        places = np.array([place_of.get(name, -1) for name in names], int)
    found = stored[places[places >= 0]]
    rows = np.flatnonzero(places >= 0)
    same = (found["size"] == facts["size"][rows]) & (found["time"] == facts["time"][rows])
    facts[rows[same]] = found[same]
    return TileIndex(files, facts, stored_names == names and bool(same.all()))


def _read(path: Path) -> tuple[list[str], Shaped[np.ndarray, " n"]]:
    """Names and facts of the tiles in the file of an index; none if it is of no use."""
    try:
        with path.open("rb") as file, np.load(file) as stored:
            names, facts = stored["names"].tobytes().decode().split("\n"), stored["facts"]
            is_sound = stored["format"] == FORMAT and facts.dtype == FACTS and len(names) == len(facts)
    except Exception:  # damage raises many types, and costs no more than reading the headers again
        return NOTHING
    return (names, facts) if is_sound else NOTHING


def _joined(names: list[str]) -> UInt8[np.ndarray, " bytes"]:
    """The names in UTF-8, a line each, as an array that takes no more memory than the text."""
    return np.frombuffer("\n".join(names).encode(), np.uint8)


def _header_or_error(path: Path) -> Header | InputError:
    try:
        return read_header(path)
    except InputError as error:
        return error
