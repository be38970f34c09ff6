"""Prepares UC Merced or TreeSatAI once, as a TensorFlow Datasets archive of a few large files.

    aljax prepare ucmerced --out data/ucmerced                      # downloads 0.3 GB
    aljax prepare treesatai --out data/treesatai                    # downloads about 16 GB
    aljax prepare treesatai --out data/treesatai --manual-dir DIR   # from files you have

The experiments' --data-dir is then that folder. They read the files as downloaded just as well, and as fast;
prepared they are checked tile by tile, and a few large files instead of thousands of small ones, which are easy to move
and which file systems of clusters prefer. It may be interrupted and repeated.
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
    """An archive as its publisher describes it."""

    dataset: str
    form: TileForm
    counts: Callable[[Listing], dict[str, tuple[int, int]]]
    """Found and published numbers by what they count."""


def ucmerced_counts(listing: Listing) -> dict[str, tuple[int, int]]:
    """Beside Chaudhuri et al. (2018)."""
    return {
        "tiles": (len(listing.ids), ucmerced.NUM_TILES),
        "classes": (len(listing.class_names), ucmerced.NUM_CLASSES),
    }


def treesatai_counts(listing: Listing) -> dict[str, tuple[int, int]]:
    """Beside what the published lists and labels give with a threshold of 7 % (the paper says 5,043 for the test)."""
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
    """Prepares an archive unless it is there, and prints its counts beside the published ones.

    Args:
        archive: which archive
        out: folder for what is prepared (and downloaded)
        manual_dir: folder of the publisher's files, zipped or unpacked; left out, they are downloaded
    """
    known = ARCHIVES[archive]
    listing = find_prepared(out, known.dataset, known.form)
    if listing is None:
        build(known.dataset, out, manual_dir)
        listing = find_prepared(out, known.dataset, known.form)
        assert listing is not None
    else:
        print(f"{archive} is prepared already")
    print(counts_table(known.counts(listing)))
    print(f"prepared: {prepared_dir(out, known.dataset)} (for an experiment: --data-dir {out})")


def build(dataset: str, out: Path, manual_dir: Path | None) -> None:
    """Runs the builder. Raises InputError; whatever stops it, no half archive is left."""
    # The builder would take an empty folder for none, and download.
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
                shutil.rmtree(left)  # of a run that was killed
            builder = tfds.builder(dataset, data_dir=out, file_format="array_record")
            config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
            # What it says of sizes it does not know would only confuse; progress goes to standard error.
            with contextlib.redirect_stdout(io.StringIO()):
                builder.download_and_prepare(download_dir=out / "downloads", download_config=config)
    except (OSError, RuntimeError) as error:
        # The writer of records raises RuntimeErrors with the system's words in them.
        reasons = [os.strerror(code) for code in DISK_ERRORS if os.strerror(code) in str(error)]
        if not reasons and not isinstance(error, OSError):
            raise
        reason = reasons[0] if reasons else getattr(error, "strerror", None) or error
        raise InputError(f"cannot write to --out {out} ({reason}): choose another folder") from error
    finally:
        # The builder makes these whether it needs them or not.
        for folder in (out / "downloads" / "extracted", out / "downloads", out / dataset):
            with contextlib.suppress(OSError):
                folder.rmdir()


def counts_table(counts: dict[str, tuple[int, int]]) -> str:
    """Found beside published, and a mark where they differ."""
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
