"""Files that are written atomically, checksums of folders, locks, and errors of the disk."""

import fcntl
import hashlib
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from aljax.errors import InputError

TEMPORARY_MARK = ".part"
LOCK = ".lock"
# A temporary file of another machine, whose processes cannot be checked, is a leftover after so long without a change.
SECONDS_UNTIL_LEFT = 24 * 3600.0


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A temporary file to write, which atomically replaces `path` when the context ends without an error.

    A reader, or a crash, finds the old content or the new, never a part.
    """
    temporary = path.with_name(f".{path.name}.{_kernel()}-{os.getpid()}{TEMPORARY_MARK}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file atomically, as `replacing` does."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files of processes that were killed while they wrote into a folder.

    For files of this machine the process is looked up; those of another are left until they are a day old.
    """
    for left in folder.glob(f".*{TEMPORARY_MARK}"):
        kernel, _, process = left.name.removesuffix(TEMPORARY_MARK).rpartition(".")[2].rpartition("-")
        if not process.isdecimal():
            continue
        with suppress(FileNotFoundError):
            is_own = kernel in ("", _kernel())
            if not _is_alive(int(process)) if is_own else time.time() - left.stat().st_mtime > SECONDS_UNTIL_LEFT:
                left.unlink()


@cache
def _kernel() -> str:
    """A name for this machine or container: within it a process has a number of its own."""
    space = 0
    with suppress(OSError):
        space = os.stat("/proc/self/ns/pid").st_ino
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # a process of another user
    return True


def sync_folder(folder: Path) -> None:
    """fsync of a folder: its entries survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksums(folder: Path, flush: bool = False) -> str:
    """SHA-256 of every file below a folder, in the format of `sha256sum`, with paths from the folder's parent.

    With `flush` each file is also fsynced, which a read-only file system may refuse.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(checksum(path, folder.parent, flush) for path in files)


def checksum(path: Path, folder: Path, flush: bool = False) -> str:
    """The line of `checksums` for a file, with its path from `folder`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if flush:
            os.fsync(file.fileno())
    return f"{digest}  {path.relative_to(folder).as_posix()}\n"


def lock(folder: Path, wait: bool) -> int:
    """A descriptor that holds the folder's lock until `unlock` or the end of the process.

    The lock is on a file in the folder, because network file systems lock folders within one machine only. Raises
    BlockingIOError if another process holds it and `wait` is False, another OSError if the file system has no locks.
    """
    while True:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # The holder before may have removed the file, and a third process may have locked a new one.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(folder / LOCK)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def unlock(folder: Path, descriptor: int) -> None:
    """Releases the folder's lock."""
    with suppress(OSError):
        (folder / LOCK).unlink()
    os.close(descriptor)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """A context for one process at a time; others wait. Without effect on a file system that has no locks."""
    descriptor = None
    with suppress(OSError):
        descriptor = lock(folder, wait=True)
    try:
        yield
    finally:
        if descriptor is not None:
            unlock(folder, descriptor)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns the errors of a full, read-only or missing disk into an InputError."""
    try:
        yield
    except (OSError, ValueError) as error:
        # TensorStore, which writes arrays, raises ValueErrors with the system's number in the text.
        code = error.errno if isinstance(error, OSError) else _system_error(str(error))
        if code is None:
            raise
        raise InputError(
            f"{folder} cannot be written ({os.strerror(code)}): mend that and repeat the command, which goes on from "
            "what is there"
        ) from error


def discard_output() -> None:
    """Redirects standard output to nowhere, so that flushing its rest at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_folder(folder: Path) -> None:
    """Makes a folder and its parents if they do not exist. Raises InputError if that fails."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def check_output(out: Path) -> None:
    """Raises InputError for an --out that cannot be a file, before the work begins whose result it is for."""
    if not out.parent.is_dir():
        raise InputError(f"--out {out} is in a folder that is not there: make it or name another file")
    if out.is_dir():
        raise InputError(f"--out {out} is a folder: name a file in it")


def _system_error(text: str) -> int | None:
    found = re.search(r"\[os_error_code='(\d+)'\]", text)
    return int(found[1]) if found else None
