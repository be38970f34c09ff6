"""The lock that allows a run directory one writer."""

import contextlib
import errno
import json
import os
import socket
import warnings
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from aljax.errors import InputError, InputWarning
from aljax.system.files import lock, unlock, write_atomically

WRITER = ".writer.json"
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


class WriterLock:
    """Locks a folder for this process while the context lasts.

    The kernel holds the lock, on the file `.lock`, and releases it with the end of the process: a killed one blocks
    nobody. `.writer.json` only names the holder. Raises InputError, with the holder, if the folder is locked.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> "WriterLock":
        self._descriptor: int | None = None
        try:
            self._descriptor = lock(self._folder, wait=False)
        except BlockingIOError as error:
            raise InputError(
                f"{self._folder} is in use by {_holder(self._folder)}: wait for it or choose another --run-dir"
            ) from error
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            warnings.warn(
                InputWarning(
                    f"{self._folder} is on a file system without locks ({error.strerror}): take care that one "
                    "process alone writes there"
                ),
                stacklevel=2,
            )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": now}
        try:
            write_atomically(self._folder / WRITER, json.dumps(holder) + "\n")
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            (self._folder / WRITER).unlink()
        self._unlock()

    def _unlock(self) -> None:
        if self._descriptor is not None:
            unlock(self._folder, self._descriptor)


def _holder(folder: Path) -> str:
    try:
        about = json.loads((folder / WRITER).read_text(encoding="utf-8"))
        return f"process {about['process']} on {about['host']} since {about['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
