"""Finds the tiles below a folder, among other files that people and geodata software leave there."""

import os
import warnings
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath

import numpy as np
from jaxtyping import Int

from aljax.arrays import repeated
from aljax.data.archives.entries import warn_of_links
from aljax.data.label_rows import normal
from aljax.data.tiles.images import IMAGE_SUFFIXES
from aljax.data.tiles.made import Made
from aljax.errors import InputError, InputWarning

# Files that accompany tiles, and documents. A file with any other suffix is refused: it may be a tile.
OTHER_SUFFIXES = {
    *("", ".csv", ".txt", ".md", ".pdf", ".json", ".geojson", ".xml", ".zip", ".db", ".lst", ".ini", ".log", ".html"),
    *(".tsv", ".xls", ".xlsx", ".ods", ".yaml", ".yml", ".py", ".ipynb", ".md5", ".sha256"),
    # world files: a georeference as text
    *(".wld", ".tfw", ".tifw", ".tiffw", ".tfwx", ".pgw", ".pngw", ".pgwx", ".jgw", ".jpgw", ".jpegw", ".jgwx"),
    # reference systems, ground control points, statistics and pyramids
    *(".prj", ".qpj", ".points", ".tab", ".rpb", ".aux", ".hdr", ".clr", ".ovr", ".rrd", ".msk"),
    # projects, styles and vectors
    *(".qgz", ".qgs", ".qml", ".lyr", ".lyrx", ".shp", ".shx", ".dbf", ".cpg", ".sbn", ".sbx", ".qix", ".gpkg"),
    *(".kml", ".kmz", ".gml", ".xsd", ".gfs"),
}
DOWNLOADED = "zone.identifier"  # ending of the files that Windows writes beside downloaded ones
MOST_KINDS = 10  # of files in a message
TILE, FOLDER = "tile", "folder"

State = tuple[int, int, int]
NO_STATE: State = (0, 0, 0)


@dataclass(frozen=True)
class TileFiles:
    """Image files below a folder, without an object for each path and state: a million of these take a gigabyte."""

    folder: Path
    stored: Sequence[str]
    """The path of each file below the folder, with slashes, as the file system spells it."""
    names: Sequence[str]
    """The same in NFC, for comparison with ids."""
    sizes: Int[np.ndarray, " n"]
    """In bytes; 0 for a file that is not there, to which a link leads."""
    changed: Int[np.ndarray, " n"]
    """Time of the last change in ns: of content, name or rights."""
    modified: Int[np.ndarray, " n"]
    """Time of the last change of content in ns."""

    @property
    def paths(self) -> Made:
        """The whole paths."""
        above = str(self.folder / "_")[:-1]
        return Made(len(self.stored), lambda row: above + self.stored[row])


def find_tiles(folder: Path) -> TileFiles:
    """Image files below a folder, sorted by path.

    A symbolic link to a file in the folder counts as that file. Left out with a warning are links to folders or out of
    the folder, masks in separate files, and virtual rasters (.vrt), whose pixels are in other files, usually the tiles.
    Hidden files and folders are left out without a warning. Raises InputError if there are no tiles, for files of
    unknown suffix, and for names that differ only in their suffix or in Unicode form.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give the one that holds the tiles")
    stored, states, others = list[str](), array("q"), defaultdict[str, list[str]](list)
    for kind, path, state in _scan(folder):
        if kind == TILE:
            stored.append(path)
            states.extend(state)
        else:
            others[kind].append(path)
    files = _in_order(folder, stored, np.frombuffer(states, np.int64).reshape(-1, 3))
    left_out = defaultdict(list, {kind: _paths(folder, found) for kind, found in others.items()})
    _refuse_unknown(left_out["unknown"], folder)
    _check_names(files)
    _refuse_twins(files)
    warn_of_links(left_out["outside"], folder)
    masks, virtual = left_out["mask"], left_out["virtual"]
    _warn_of(masks, "say which pixels of a tile have no data", "store the mask or the nodata value in the tile")
    _warn_of(virtual, "refer to pixels of other files", "make GeoTIFFs of those that are tiles, with gdal_translate")
    if not stored:
        raise InputError(f"{folder} holds no tiles ({', '.join(IMAGE_SUFFIXES)}): give the folder that holds them")
    return files


def _scan(folder: Path, below: str = "") -> Iterator[tuple[str, str, State]]:
    """Kind, path below the folder and, of tiles, the state of all files that count, in no order."""
    try:
        with os.scandir(folder / below) as entries:
            for entry in entries:
                kind, path = _kind(entry, folder), below + entry.name
                if kind == FOLDER:
                    yield from _scan(folder, path + "/")
                elif kind:
                    yield kind, path, _state(entry) if kind == TILE else NO_STATE
    except OSError as error:
        raise InputError(f"{error.filename} is not readable ({error.strerror}): check its permissions") from error


def _kind(entry: os.DirEntry[str], folder: Path) -> str:
    """What an entry of a folder is: see `find_tiles`; empty if it is passed over."""
    name = entry.name.lower()
    is_hidden, is_folder = name.startswith("."), False
    with suppress(OSError):  # a link to itself, for instance
        is_folder = entry.is_dir()
    if is_folder:
        return "" if is_hidden else "outside" if entry.is_symlink() else FOLDER
    if name.endswith(IMAGE_SUFFIXES) and not is_hidden:
        is_inside = not entry.is_symlink() or Path(os.path.realpath(entry)).is_relative_to(folder.resolve())
        return TILE if is_inside else "outside"
    suffix = PurePath(name).suffix
    if is_hidden or suffix in OTHER_SUFFIXES or name.endswith(DOWNLOADED):
        return "mask" if _hides_pixels(Path(entry)) else ""
    return "virtual" if suffix == ".vrt" else "unknown"


def _state(entry: os.DirEntry[str]) -> State:
    """Size, time of the last change and that of the content."""
    try:
        state = entry.stat()
    except OSError:  # told when its header is read
        return NO_STATE
    return state.st_size, state.st_ctime_ns, state.st_mtime_ns


def _place(name: str) -> str:
    """Sorts as the list of the path's parts does: no name has a zero, and none sorts before it."""
    return name.replace("/", "\0")


def _paths(folder: Path, stored: Iterable[str]) -> list[Path]:
    return [folder / name for name in sorted(stored, key=lambda name: (_place(normal(name)), name))]


def _in_order(folder: Path, stored: list[str], states: Int[np.ndarray, "n 3"]) -> TileFiles:
    """The files sorted by NFC names, the same on every file system, because the random split depends on this order.

    Raises InputError for names that differ only in Unicode form.
    """
    places = [_place(normal(name)) for name in stored]
    order = sorted(range(len(stored)), key=places.__getitem__)
    if repeat := next((pair for pair in pairwise(order) if places[pair[0]] == places[pair[1]]), None):
        first = folder / min(stored[row] for row in repeat)
        raise InputError(f"{first} is there twice, its umlauts or accents written in two ways: remove one")
    del places  # before more is made
    rows, stored = np.array(order, np.int64), [stored[row] for row in order]
    sizes, changed, modified = (column[rows] for column in states.T)
    return TileFiles(folder, stored, [normal(name) for name in stored], sizes, changed, modified)


def stem(name: str) -> str:
    """A path without its suffix."""
    return name.rpartition(".")[0] or name


def _refuse_unknown(unknown: Iterable[Path], folder: Path) -> None:
    kinds = defaultdict(list)
    for path in unknown:
        kinds[path.suffix.lower()].append(path)
    if kinds:
        named = [f"{suffix} ({len(paths)}, as {paths[0].relative_to(folder)})" for suffix, paths in kinds.items()]
        more = f" and {len(named) - MOST_KINDS} more" if len(named) > MOST_KINDS else ""
        raise InputError(
            f"{folder} has files of unknown extensions, {', '.join(named[:MOST_KINDS])}{more}: convert tiles to TIFF, "
            "PNG or JPEG, and move all others"
        )


def _refuse_twins(files: TileFiles) -> None:
    """Raises InputError for names that differ only in their suffix: the scene would count twice."""
    hashes = np.fromiter((hash(stem(name)) for name in files.names), np.int64, len(files.names))
    first: dict[str, int] = {}
    same = ((row, first.setdefault(stem(files.names[row]), row)) for row in np.flatnonzero(repeated(hashes)).tolist())
    twins = [(files.paths[row], files.paths[other]) for row, other in same if row != other]
    if twins:
        one, other = twins[0]
        raise InputError(
            f"{other} and {one} seem to be one scene, as a tile and its quicklook ({len(twins)} such pairs): move away "
            "one of each"
        )


def _warn_of(paths: list[Path], what: str, remedy: str) -> None:
    if paths:
        message = f"{len(paths)} files {what}, as {paths[0]}: they are not read; {remedy}"
        warnings.warn(InputWarning(message), stacklevel=3)


def _hides_pixels(path: Path) -> bool:
    """Whether a file that accompanies a tile is its mask, or declares its nodata value."""
    name = path.name.lower()
    with suppress(OSError):
        return name.endswith(".msk") or (
            name.endswith((".tif.aux.xml", ".tiff.aux.xml")) and b"<NoDataValue" in path.read_bytes()
        )
    return False


def _check_names(files: TileFiles) -> None:
    for path in files.paths:
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"the name of {path} is not UTF-8: rename the file") from error
