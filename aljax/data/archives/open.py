"""Opens an archive of any kind, which is recognised by the files in its folder."""

from dataclasses import replace
from pathlib import Path

from aljax.data.archive import Archive, random_split
from aljax.data.archives import treesatai, ucmerced
from aljax.data.archives.folder import open_folder
from aljax.data.archives.prepared import prepared_dir
from aljax.errors import InputError

# Files that identify a downloaded archive; a folder called Images alone does not.
SIGNS = {
    treesatai.DATASET: {treesatai.LABEL_FILE, *treesatai.LISTS.values()},
    ucmerced.DATASET: {*ucmerced.IMAGE_PLACES, *ucmerced.LABEL_PLACES} - {"Images"},
}


def open_archive(data_dir: Path, size: int, seed: int = 0, labels: Path | None = None, separator: str = ";") -> Archive:
    """UC Merced or TreeSatAI, prepared or as downloaded, or else a folder of the user's own tiles with their labels.

    UC Merced gets the random split of its experiment by `seed`. Raises InputError for files that are missing or
    damaged.
    """
    if not data_dir.is_dir():
        raise InputError(f"{data_dir} is not a folder: give the one that holds the archive")
    if labels is not None:
        return open_folder(data_dir, labels, size, separator)
    found = [
        dataset
        for dataset, signs in SIGNS.items()
        if prepared_dir(data_dir, dataset).is_dir() or any((data_dir / sign).exists() for sign in signs)
    ]
    if len(found) > 1:
        raise InputError(f"{data_dir} holds both UC Merced and TreeSatAI: keep each in a folder of its own")
    if found == [treesatai.DATASET]:
        return treesatai.open_treesatai(data_dir, size, seed)
    if found == [ucmerced.DATASET]:
        archive = ucmerced.open_ucmerced(data_dir, size)
        return replace(archive, split=random_split(seed, len(archive.ids), *ucmerced.SPLIT_SIZES))
    return open_folder(data_dir, None, size)
