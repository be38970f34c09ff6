"""Features, or predictions, that are being computed: their finished rows in a temporary file beside the final one."""

import fcntl
import hashlib
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, PyTree

from aljax.data.archive import Archive
from aljax.data.tiles.images import EncodedImages
from aljax.errors import InputError
from aljax.system.files import write_atomically

SECONDS_BETWEEN_SAVES = 5.0


class Unfinished:
    """The rows computed so far, as raw float32 in `OUT.part`; `OUT.part.json` has their number and inputs.

    `made_of` has the digests and settings that determine the result, by their names in messages. A resumed computation
    keeps the batch size it began with, so that each tile is in the same batch. Raises InputError if the files there
    were made of other inputs or are damaged, or if another process writes them.
    """

    def __init__(self, out: Path, made_of: dict[str, Any], num_rows: int, width: int, batch_size: int) -> None:
        self.path = out.with_name(out.name + ".part")
        self.about = out.with_name(out.name + ".part.json")
        self._made_of, self._shape = made_of, (num_rows, width)
        self.done, self.batch_size = 0, batch_size
        is_new = not self.path.exists()
        self._file = open(self.path, "w+b" if is_new else "r+b")  # noqa: SIM115
        try:
            self._lock()
            if self.about.exists() and not is_new:
                self._resume()
            elif os.path.getsize(self.path):
                raise InputError(f"{self.path} is there without {self.about.name}: {self._remedy()}")
            self._file.truncate(self.done * width * 4)
            self._file.seek(0, os.SEEK_END)
            self._save()
        except BaseException:
            self._file.close()
            raise

    def append(self, rows: Float[np.ndarray, "m d"]) -> None:
        """Adds the next rows (m, d); they are saved within seconds."""
        self._file.write(np.ascontiguousarray(rows, "<f4").data)
        self.done += len(rows)
        if time.monotonic() - self._saved_at >= SECONDS_BETWEEN_SAVES:
            self._save()

    def rows(self) -> Float[np.ndarray, "n d"]:
        """All rows (n, d), memory-mapped; to be called when all are done."""
        self._save()
        return np.memmap(self.path, "<f4", "r", shape=self._shape)

    def remove(self) -> None:
        """Deletes both files; to be called when the final file is written."""
        self.path.unlink()
        self.about.unlink()

    def __enter__(self) -> "Unfinished":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path.exists() and not isinstance(error, OSError):  # after a full disk, saving would fail again
            self._save()
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another process is writing {self.path}: wait for it, or name another --out") from error
        except OSError:
            pass  # a file system without locks

    def _resume(self) -> None:
        try:
            about = json.loads(self.about.read_bytes())
            made_of, done, size = dict(about["made_of"]), about["done"], about["batch_size"]
            if type(done) is not int or type(size) is not int or not 0 <= done <= self._shape[0] or size < 1:
                raise ValueError(f"done is {done} and batch_size {size}")
            if done % size and done != self._shape[0]:
                raise ValueError(f"{done} rows are no batches of {size}")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{self.about} is damaged ({error}): {self._remedy()}") from error
        self.done, self.batch_size = done, size
        if others := [name for name, value in self._made_of.items() if made_of.get(name) != value]:
            raise InputError(f"{self.path} was begun with other {' and other '.join(others)}: {self._remedy()}")
        if os.path.getsize(self.path) < self.done * self._shape[1] * 4:
            raise InputError(f"{self.path} has fewer than the {self.done} rows that were made: {self._remedy()}")

    def _remedy(self) -> str:
        return f"name another --out, or remove {self.path.name} and {self.about.name} to begin anew"

    def _save(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        about = {"made_of": self._made_of, "done": self.done, "batch_size": self.batch_size}
        write_atomically(self.about, json.dumps(about, indent=2) + "\n")
        self._saved_at = time.monotonic()


def digest_archive(archive: Archive) -> str:
    """SHA-256 of what rows for the tiles of an archive are made of."""
    stamp = archive.images.stamp if isinstance(archive.images, EncodedImages) else ""
    return digest([archive.digest, stamp, *archive.ids], ())


def digest(texts: list[str], arrays: PyTree) -> str:
    """SHA-256 of texts, and of arrays with their names, shapes and types."""
    found = hashlib.sha256("\n".join(texts).encode())
    for path, array in jax.tree.leaves_with_path(arrays):
        found.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
