"""Prepares UC Merced or TreeSatAI once, as a TensorFlow Datasets archive of a few large files.

    aljax prepare ucmerced --out data/ucmerced                      # downloads 0.3 GB
    aljax prepare treesatai --out data/treesatai                    # downloads about 16 GB
    aljax prepare treesatai --out data/treesatai --manual-dir DIR   # from files you have

The experiments' --data-dir is then that folder. They read the downloaded files as well, at the same speed; a prepared
archive has been checked tile by tile and has a few large files instead of thousands of small ones, so it is easy to
move and suits the file systems of clusters. The command may be interrupted and repeated.
"""

import contextlib
import errno
import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import tyro

from aljax.commands.options import read_options
from aljax.data.archives import treesatai, ucmerced
from aljax.data.archives.listing import Listing
from aljax.data.archives.prepared import VERSION, find_prepared, prepared_dir
from aljax.data.tiles.decoding import TileForm
from aljax.errors import InputError
from aljax.system.files import one_at_a_time

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class Published(NamedTuple):
    """A published archive."""

    dataset: str
    form: TileForm
    counts: Callable[[Listing], dict[str, tuple[int, int]]]
    """Returns {name: (count found, count published)}."""


def ucmerced_counts(listing: Listing) -> dict[str, tuple[int, int]]:
    """Counts beside those of Chaudhuri et al. (2018)."""
    return {
        "tiles": (len(listing.ids), ucmerced.NUM_TILES),
        "classes": (len(listing.class_names), ucmerced.NUM_CLASSES),
    }


def treesatai_counts(listing: Listing) -> dict[str, tuple[int, int]]:
    """Counts beside those of the published lists and labels at a threshold of 7 % (the paper has 5,043 test tiles)."""
    train, test = listing.parts.values()
    split = treesatai.split_treesatai(0, train, test)
    sizes = {f"{part} tiles": len(indices) for part, indices in split._asdict().items()}
    published = (38_531, 6_799, 5_044)
    counts = {name: (size, expected) for (name, size), expected in zip(sizes.items(), published, strict=True)}
    return counts | {"genera": (int(listing.labels.any(0).sum()), len(treesatai.GENERA))}


ARCHIVES = {
    "ucmerced": Published(ucmerced.DATASET, ucmerced.FORM, ucmerced_counts),
    "treesatai": Published(treesatai.DATASET, treesatai.FORM, treesatai_counts),
}


def prepare(
    archive: tyro.conf.Positional[Literal["ucmerced", "treesatai"]],
    out: Path,
    manual_dir: Path | None = None,
) -> None:
    """Prepares an archive unless it is prepared already, and prints its counts beside the published ones.

    Args:
        archive: which archive
        out: folder for the prepared archive and for downloads
        manual_dir: folder of the publisher's files, zipped or unpacked; without it they are downloaded
    """
    published = ARCHIVES[archive]
    listing = find_prepared(out, published.dataset, published.form)
    if listing is None:
        build(published.dataset, out, manual_dir)
        listing = find_prepared(out, published.dataset, published.form)
        assert listing is not None
    else:
        print(f"{archive} is prepared already")
    print(counts_table(published.counts(listing)))
    print(f"prepared: {prepared_dir(out, published.dataset)} (for an experiment: --data-dir {out})")


def build(dataset: str, out: Path, manual_dir: Path | None) -> None:
    """Runs the builder, which never leaves an incomplete archive. Raises InputError."""
    # With an empty folder the builder would download.
    if manual_dir is not None and not (manual_dir.is_dir() and any(manual_dir.iterdir())):
        raise InputError(f"--manual-dir {manual_dir} holds no files: give the folder of the publisher's files")
    import tensorflow_datasets as tfds

    import aljax.data.archives.builders

    del aljax
    tfds.disable_progress_bar()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(out):
            if prepared_dir(out, dataset).exists():  # another process may have prepared it meanwhile
                return
            for left in (out / dataset).glob(f"incomplete.*_{VERSION}"):
                shutil.rmtree(left)  # of a process that was killed
            builder = tfds.builder(dataset, data_dir=out, file_format="array_record")
            config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
            # The builder's messages about unknown sizes would only confuse; progress goes to standard error.
            with contextlib.redirect_stdout(io.StringIO()):
                builder.download_and_prepare(download_dir=out / "downloads", download_config=config)
    except (OSError, RuntimeError) as error:
        # The writer of records raises RuntimeError with the system's message in its text.
        reasons = [os.strerror(code) for code in DISK_ERRORS if os.strerror(code) in str(error)]
        if not reasons and not isinstance(error, OSError):
            raise
        reason = reasons[0] if reasons else getattr(error, "strerror", None) or error
        raise InputError(f"cannot write to --out {out} ({reason}): choose another folder") from error
    finally:
        # The builder creates these folders even if it does not need them.
        for folder in (out / "downloads" / "extracted", out / "downloads", out / dataset):
            with contextlib.suppress(OSError):
                folder.rmdir()


def counts_table(counts: dict[str, tuple[int, int]]) -> str:
    """A table of found and published counts, which marks differences."""
    lines = [f"{'':<18}{'found':>10}{'published':>12}"]
    for name, (found, published) in counts.items():
        lines.append(f"{name:<18}{found:>10,}{published:>12,}{'' if found == published else '   differs'}")
    return "\n".join(lines)


def main() -> None:
    """Parses the command line and prepares."""
    try:
        read_options(prepare, "aljax prepare", __doc__)
    except KeyboardInterrupt:
        print("\nstopped; the same command starts again, with the files that were downloaded", file=sys.stderr)
        sys.exit(130)
