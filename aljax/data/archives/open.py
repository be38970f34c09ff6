"""Opening an archive whatever it is: told by what its folder holds."""

from dataclasses import replace
from pathlib import Path

from aljax.data.archive import Archive, random_split
from aljax.data.archives import treesatai, ucmerced
from aljax.data.archives.folder import open_folder
from aljax.data.archives.prepared import prepared_dir
from aljax.errors import InputError


def open_archive(data_dir: Path, size: int, seed: int = 0, labels: Path | None = None, separator: str = ";") -> Archive:
    """UC Merced or TreeSatAI, prepared or as downloaded, or else a folder of the user's own tiles with its labels.

    UC Merced comes with the split of its experiment. Raises InputError for anything amiss.
    """
    if not data_dir.is_dir():
        raise InputError(f"{data_dir} is not a folder: give the one that holds the archive")
    if labels is not None:
        return open_folder(data_dir, labels, size, separator)
    is_treesatai, is_ucmerced = _is_treesatai(data_dir), _is_ucmerced(data_dir)
    if is_treesatai and is_ucmerced:
        raise InputError(f"{data_dir} holds both UC Merced and TreeSatAI: keep each in a folder of its own")
    if is_treesatai:
        return treesatai.open_treesatai(data_dir, size, seed)
    if is_ucmerced:
        archive = ucmerced.open_ucmerced(data_dir, size)
        return replace(archive, split=random_split(seed, len(archive.ids), *ucmerced.SPLIT_SIZES))
    return open_folder(data_dir, None, size)


def _is_treesatai(data_dir: Path) -> bool:
    files = (treesatai.LABEL_FILE, *treesatai.LISTS.values())
    return prepared_dir(data_dir, treesatai.DATASET).is_dir() or any((data_dir / name).exists() for name in files)


def _is_ucmerced(data_dir: Path) -> bool:
    # A folder that is called Images alone may be anybody's.
    places = {*ucmerced.IMAGE_PLACES, *ucmerced.LABEL_PLACES} - {"Images"}
    return prepared_dir(data_dir, ucmerced.DATASET).is_dir() or any((data_dir / place).exists() for place in places)
