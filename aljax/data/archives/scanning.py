"""Finds the tiles below a folder, among other files that people and geodata software leave there."""

import warnings
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from aljax.data.archives.entries import files_below, warn_of_links
from aljax.data.label_rows import normal
from aljax.data.tiles.images import IMAGE_SUFFIXES
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


def find_tiles(folder: Path) -> list[Path]:
    """Image files below a folder, sorted by path.

    A symbolic link to a file in the folder counts as that file. Left out with a warning are links to folders or out of
    the folder, masks in separate files, and virtual rasters (.vrt), whose pixels are in other files, usually the tiles.
    Hidden files and folders are left out without a warning. Raises InputError if there are no tiles, for files of
    unknown suffix, and for names that differ only in their suffix or in Unicode form.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give the one that holds the tiles")
    root = folder.resolve()
    files: dict[str, Path] = {}
    masks, virtual, outside, unknown = list[Path](), list[Path](), list[Path](), list[Path]()
    # Sorted by NFC names, the same on every file system, because the random split depends on this order.
    for parts, path in sorted((relative(path, folder).split("/"), path) for path in files_below(folder, hidden=False)):
        suffix = path.suffix.lower()
        if path.is_dir():
            outside.append(path)
        elif path.name.startswith(".") or suffix in OTHER_SUFFIXES or path.name.lower().endswith(DOWNLOADED):
            if _hides_pixels(path):
                masks.append(path)
        elif suffix not in IMAGE_SUFFIXES:
            (virtual if suffix == ".vrt" else unknown).append(path)
        elif path.is_symlink() and not path.resolve().is_relative_to(root):
            outside.append(path)
        elif path is not (first := files.setdefault("/".join(parts), path)):
            raise InputError(f"{first} is there twice, its umlauts or accents written in two ways: remove one")
    _refuse_unknown(unknown, folder)
    for path in files.values():
        _check_name(path)
    _refuse_twins(files)
    warn_of_links(outside, folder)
    _warn_of(masks, "say which pixels of a tile have no data", "store the mask or the nodata value in the tile")
    _warn_of(virtual, "refer to pixels of other files", "make GeoTIFFs of those that are tiles, with gdal_translate")
    if not files:
        raise InputError(f"{folder} holds no tiles ({', '.join(IMAGE_SUFFIXES)}): give the folder that holds them")
    return list(files.values())


def relative(path: Path, folder: Path) -> str:
    """The path relative to the folder, with slashes and in NFC, for comparison with ids."""
    # Without pathlib, which takes ten times as long: it counts for a million tiles.
    whole, above = str(path), str(folder)
    return normal(whole if above == "." else whole[len(above) :].lstrip("/"))


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


def _refuse_twins(files: dict[str, Path]) -> None:
    """Raises InputError for names that differ only in their suffix: the scene would count twice."""
    first: dict[str, Path] = {}
    twins = [(path, other) for name, path in files.items() if (other := first.setdefault(stem(name), path)) is not path]
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


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the name of {path} is not UTF-8: rename the file") from error
