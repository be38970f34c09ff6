"""The files of tiles: read, many of them by threads, and hashed."""

import hashlib
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from aljax.data.tiles.decoding import MAX_BYTES
from aljax.errors import InputError

Found = TypeVar("Found")

# All tiles are hashed up to this size; of larger archives a sample of about this size.
HASHED_BYTES = 2**30
FILES_AT_ONCE = 64  # read by a thread; handing one file to a thread takes longer than reading its header


def read_file(path: Path) -> bytes:
    """The bytes of a tile's file. Raises InputError if it cannot be read or is larger than `MAX_BYTES`."""
    try:
        if (size := path.stat().st_size) <= MAX_BYTES:
            return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} is not readable ({error.strerror}): check that it is still there") from error
    raise InputError(f"{path} has {size} bytes, too many for a tile (at most {MAX_BYTES}): cut it into tiles")


def read_each(read: Callable[[Path], Found], files: Sequence[str], purpose: str) -> Generator[Found, None, None]:
    """Results of `read` for each file, in order, by several threads, with a progress bar called `purpose`."""

    def read_some(start: int) -> list[Found]:
        return [read(Path(file)) for file in files[start : start + FILES_AT_ONCE]]

    with (
        ThreadPoolExecutor() as pool,
        tqdm(desc=purpose, total=len(files), unit="tile", disable=None, leave=False) as bar,
    ):
        try:
            for results in pool.map(read_some, range(0, len(files), FILES_AT_ONCE)):
                yield from results
                bar.update(len(results))
        finally:
            pool.shutdown(cancel_futures=True)


def hashed_rows(num_tiles: int, total_bytes: int) -> range:
    """The tiles that `digest_tiles` hashes: all if they have less than a GiB, else evenly spaced ones."""
    return range(0, num_tiles, 1 + total_bytes // HASHED_BYTES)


def digest_tiles(digests: Iterable[bytes], num_tiles: int, total_bytes: int) -> str:
    """SHA-256 of the SHA-256 of the encoded tiles `hashed_rows`."""
    digest = hashlib.sha256(f"{num_tiles} {total_bytes}".encode())
    for one in digests:
        digest.update(one)
    return digest.hexdigest()


def stamp_files(states: Iterable[tuple[int, int]], total_bytes: int) -> str:
    """SHA-256 of sizes and modification times (in ns) of files; "" if `digest_tiles` hashes all of their content."""
    if total_bytes < HASHED_BYTES:
        return ""
    digest = hashlib.sha256()
    for size, modified in states:
        digest.update(f"{size} {modified}\n".encode())
    return digest.hexdigest()
