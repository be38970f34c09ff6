"""What killed processes leave is removed, what others are writing is not."""

import os
import time
from pathlib import Path

from aljax.files import SECONDS_UNTIL_LEFT, remove_leftovers, replacing

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
