"""What killed processes leave is removed, what others are writing is not, and one at a time holds a folder."""

import errno
import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from aljax.errors import InputWarning
from aljax.system.files import LOCK, SECONDS_UNTIL_LEFT, lock, one_at_a_time, remove_leftovers, replacing, unlock
from aljax.system.locking import WriterLock

DEAD = 99_999_999  # more than a process's number can be


def test_only_what_nobody_is_writing_is_removed(tmp_path: Path) -> None:
    with replacing(tmp_path / "tiles.npy") as file:
        file.write(b"half")
        (own,) = tmp_path.iterdir()
        kernel = own.name.split(".")[-2].partition("-")[0]
        long_ago = time.time() - SECONDS_UNTIL_LEFT - 60
        for name in (f"{kernel}-{DEAD}", f"{DEAD}", f"0123abcd-{os.getpid()}", "0123abcd-1"):
            (tmp_path / f".tiles.npy.{name}.part").write_bytes(b"half")
        os.utime(tmp_path / ".tiles.npy.0123abcd-1.part", (long_ago, long_ago))
        (tmp_path / ".notes.part").write_bytes(b"not of aljax")
        remove_leftovers(tmp_path)
        left = {path.name for path in tmp_path.iterdir()}
    assert left == {own.name, f".tiles.npy.0123abcd-{os.getpid()}.part", ".notes.part"}
    assert (tmp_path / "tiles.npy").read_bytes() == b"half"


def test_lock_is_held_by_one_and_leaves_nothing(tmp_path: Path) -> None:
    first = lock(tmp_path, wait=False)
    with pytest.raises(BlockingIOError):
        lock(tmp_path, wait=False)
    entered: list[str] = []

    def wait() -> None:
        with one_at_a_time(tmp_path):
            entered.append("second")

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.2)
    entered.append("first")
    unlock(tmp_path, first)
    waiting.join(60)
    assert entered == ["first", "second"]
    assert not list(tmp_path.iterdir())


def test_file_that_who_held_it_has_removed_is_no_lock(tmp_path: Path, monkeypatch) -> None:
    flock = fcntl.flock

    def too_late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        (tmp_path / LOCK).unlink()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", too_late)
    held = lock(tmp_path, wait=False)
    assert (tmp_path / LOCK).exists()
    with pytest.raises(BlockingIOError):
        lock(tmp_path, wait=False)
    unlock(tmp_path, held)


def test_file_system_without_locks_is_reported_and_a_full_one_is_an_error(tmp_path: Path, monkeypatch) -> None:
    def refuse(code: int) -> None:
        def flock(descriptor: int, how: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(fcntl, "flock", flock)

    refuse(errno.ENOLCK)
    with pytest.warns(InputWarning, match="on a file system without locks"), WriterLock(tmp_path):
        pass
    refuse(errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"), WriterLock(tmp_path):
        pass
