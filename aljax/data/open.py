"""Opening an archive whatever it is: told by what its folder holds."""

from dataclasses import replace
from pathlib import Path

from aljax.data import treesatai, ucmerced
from aljax.data.archive import Archive, random_split
from aljax.data.folder import open_folder
from aljax.errors import InputError


def open_archive(data_dir: Path, size: int, seed: int = 0, labels: Path | None = None, separator: str = ";") -> Archive:
    """UC Merced or TreeSatAI, prepared or as downloaded, or else a folder of the user's own tiles with its labels.

    UC Merced comes with the split of its experiment. Raises InputError for anything amiss.
    """
    if not data_dir.is_dir():
        raise InputError(f"--data-dir {data_dir} is not a folder: give the one that holds the archive")
    if labels is not None:
        return open_folder(data_dir, labels, size, separator)
    if _is_treesatai(data_dir):
        return treesatai.open_treesatai(data_dir, size, seed)
    if _is_ucmerced(data_dir):
        archive = ucmerced.open_ucmerced(data_dir, size)
        return replace(archive, split=random_split(seed, len(archive.ids), *ucmerced.SPLIT_SIZES))
    return open_folder(data_dir, None, size)


def _is_treesatai(data_dir: Path) -> bool:
    return (data_dir / treesatai.DATASET).is_dir() or (data_dir / treesatai.LISTS["train"]).is_file()


def _is_ucmerced(data_dir: Path) -> bool:
    if (data_dir / ucmerced.DATASET).is_dir():
        return True
    return any((data_dir / place).exists() for place in (*ucmerced.IMAGE_PLACES[::2], *ucmerced.LABEL_PLACES))
