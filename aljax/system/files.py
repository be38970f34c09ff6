"""Writing files so that a crash leaves the old content or the new, and telling whether content is still what it was."""

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
# How long a file of another machine stands still until it is a leftover: nobody there can be asked.
SECONDS_UNTIL_LEFT = 24 * 3600.0


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` in one go when the context ends without an error.

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
    """Writes a file whole, as `replacing` does."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def remove_leftovers(folder: Path) -> None:
    """Removes what processes left in a folder when they were killed in the middle of writing.

    Those of this machine are asked for; what another one left is known by its age.
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
    """Tells machines, and containers of one, apart: the numbers of their processes may be the same."""
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
        pass  # somebody else's
    return True


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder last through a loss of power, as fsync does the content of a file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksums(folder: Path, flush: bool = False) -> str:
    """SHA-256 of every file below a folder, in the format of `sha256sum`, with paths from the folder's parent.

    With `flush`, what is hashed is on the disk afterwards; a file system that is read only may refuse that.
    """
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if flush:
                os.fsync(file.fileno())
        lines.append(f"{digest}  {path.relative_to(folder.parent).as_posix()}\n")
    return "".join(lines)


def lock(folder: Path, wait: bool) -> int:
    """A descriptor that holds the folder's lock, for `unlock`; the process's end lets go of it, too.

    It is a file: network file systems lock folders for one machine alone. Raises BlockingIOError if another process
    holds it and this one is not to wait, another OSError if the file system has no locks.
    """
    while True:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # Who held it has removed the file, and a third process may have locked a new one.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(folder / LOCK)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def unlock(folder: Path, descriptor: int) -> None:
    """Lets go of the folder's lock."""
    with suppress(OSError):
        (folder / LOCK).unlink()
    os.close(descriptor)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Lets in one process at a time, as far as the folder's file system has locks; others wait until it is out."""
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
    """Turns what a full, read-only or vanished disk raises into an InputError."""
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
    """Gives up standard output: what is left of it would fail again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_folder(folder: Path) -> None:
    """Makes a folder, and those that it is in, unless it is there. Raises InputError if that cannot be done."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def check_output(out: Path) -> None:
    """Raises InputError for an --out that no file can be written to, before there is something to write."""
    if not out.parent.is_dir():
        raise InputError(f"--out {out} is in a folder that is not there: make it or name another file")
    if out.is_dir():
        raise InputError(f"--out {out} is a folder: name a file in it")


def _system_error(text: str) -> int | None:
    found = re.search(r"\[os_error_code='(\d+)'\]", text)
    return int(found[1]) if found else None
