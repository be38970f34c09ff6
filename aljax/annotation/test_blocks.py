"""The distance between test tiles and the pool, which later rounds keep although they draw no test tiles."""

import json
from pathlib import Path

from aljax.errors import InputError
from aljax.system.files import disk_errors, make_folder, write_atomically

FILE = "test-blocks.json"
METRES = "metres"


def find_metres(run_dir: Path, asked: float) -> float:
    """The distance that the rounds keep, else the one `asked` for; 0 for none. Raises InputError if both differ."""
    path = run_dir / FILE
    if not path.exists():
        return asked
    try:
        kept = float(json.loads(path.read_bytes())[METRES])
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged ({error!r}): bring it back, or remove it and repeat --test-blocks"
        ) from error
    if asked not in (0.0, kept):
        raise InputError(f"--test-blocks is {asked:g}, and the rounds in {run_dir} keep {kept:g} m: leave it out")
    return kept


def keep_metres(run_dir: Path, metres: float) -> None:
    """Writes the distance for later rounds, unless it is 0."""
    if metres > 0.0:
        make_folder(run_dir)
        with disk_errors(run_dir):
            write_atomically(run_dir / FILE, json.dumps({METRES: metres}) + "\n")
