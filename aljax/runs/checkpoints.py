"""Numbered checkpoints in a folder, each with the SHA-256 of its files beside it.

Orbax writes checkpoints atomically but does not notice if their content changes later: it restores a flipped bit.
`checkpoints/12/` is sound if the files that `checkpoints/12.sha256` lists are unchanged; `sha256sum -c` in that folder
checks the same. Vectors that most checkpoints share (`APART`) are in files beside them, whose checksums are listed in
the same way. They are named by their content, and written twice, for even and for odd numbers: a damaged one leaves the
checkpoint before sound.
"""

import hashlib
import logging
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import numpy as np

from aljax.errors import InputError, InputWarning
from aljax.runs.packing import APART, Facts, Vectors
from aljax.system.files import checksum, checksums, remove_leftovers, replacing, write_atomically

SUFFIX = ".sha256"
# Names of folders with a checkpoint, finished or not.
UNFINISHED = re.compile(r"\d+(\.orbax-checkpoint-tmp.*)?$")
# The two items of a checkpoint.
ARRAYS, FACTS = "arrays", "facts"


class Checkpoint(NamedTuple):
    """A sound checkpoint."""

    number: int
    vectors: Vectors
    facts: Facts


def list_checkpoints(folder: Path) -> list[int]:
    """Numbers of all complete checkpoints (those with checksums), newest first."""
    numbers = (int(path.stem) for path in folder.glob(f"*{SUFFIX}") if path.stem.isdecimal())
    return sorted((number for number in numbers if (folder / str(number)).is_dir()), reverse=True)


def read_newest(folder: Path, wanted: Callable[[Facts], bool] = lambda facts: True) -> Checkpoint | None:
    """The newest sound checkpoint whose facts are `wanted`; None if there is none.

    Warns of each damaged one that it passes over. Raises InputError if all are damaged. A run may be saving meanwhile.
    """
    numbers = list_checkpoints(folder)
    sound = not numbers
    for number in numbers:
        try:
            damage = find_damage(folder, number)
            checkpoint = None if damage else Checkpoint(number, *_read(folder, number))
        except Exception:
            if number in list_checkpoints(folder):
                raise
            return read_newest(folder, wanted)
        if checkpoint is None:
            if number not in list_checkpoints(folder):  # removed meanwhile, for a newer one
                return read_newest(folder, wanted)
            warnings.warn(InputWarning(f"the checkpoint {folder / str(number)} is damaged: {damage}"), stacklevel=2)
            continue
        sound = True
        if wanted(checkpoint.facts):
            return checkpoint
    if sound:
        return None
    raise InputError(
        f"no checkpoint in {folder} is sound: bring one back from a backup, or delete {folder.parent} to begin again"
    )


def find_damage(folder: Path, number: int) -> str | None:
    """What is wrong with a checkpoint; None if all its files are unchanged."""
    try:
        written = (folder / f"{number}{SUFFIX}").read_text(encoding="utf-8").splitlines()
        beside = [path for path in files_beside(folder, number) if path.is_file()]
        found = [*checksums(folder / str(number)).splitlines(), *(checksum(path, folder)[:-1] for path in beside)]
    except (OSError, UnicodeDecodeError) as error:
        return str(error)
    # Additional files do no harm: desktops and file servers leave their own in folders that are viewed.
    if different := set(written) - set(found):
        return f"{sorted(different)[0].partition('  ')[2]} is not as it was written"
    return None if written else "it has no files"


def files_beside(folder: Path, number: int) -> list[Path]:
    """The files that a checkpoint shares with others, as its checksums name them."""
    lines = (folder / f"{number}{SUFFIX}").read_text(encoding="utf-8", errors="replace").splitlines()
    names = (line.partition("  ")[2] for line in lines)
    return [folder / name for name in names if name.partition("-")[0] in APART]


def _read(folder: Path, number: int) -> tuple[Vectors, Facts]:
    import orbax.checkpoint as ocp

    alone = _alone()
    handler = ocp.CompositeCheckpointHandler(composite_options=ocp.CompositeOptions(multiprocessing_options=alone))
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        items = {ARRAYS: ocp.args.StandardRestore(), FACTS: ocp.args.JsonRestore()}
        content = checkpointer.restore((folder / str(number)).resolve(), args=ocp.args.Composite(**items))
    vectors = {key: np.asarray(vector) for key, vector in content[ARRAYS].items()}
    for path in files_beside(folder, number):
        key = path.name.partition("-")[0]
        vectors[key] = np.fromfile(path, APART[key])
    return vectors, content[FACTS]


@contextmanager
def _raising_only() -> Iterator[None]:
    """Keeps Orbax from printing the tracebacks of its threads beside the error that it raises."""
    logger = logging.getLogger("absl")
    logger.addFilter(_has_no_trace)
    report = sys.unraisablehook

    def report_others(unraisable: "sys.UnraisableHookArgs") -> None:
        # The thread of an array that was still being written when another failed finds its event loop closed.
        if str(unraisable.exc_value) != "Event loop is closed":
            report(unraisable)

    sys.unraisablehook = report_others
    yield
    # Not restored after an error: the other threads may end at any time.
    sys.unraisablehook = report
    logger.removeFilter(_has_no_trace)


def _has_no_trace(record: logging.LogRecord) -> bool:
    return not record.exc_info


def _alone() -> Any:
    """Options with which Orbax does not wait for other processes: one writes for all, and each reads for itself."""
    import orbax.checkpoint as ocp

    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    own = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process{own}"
    )


class CheckpointFolder:
    """Writes checkpoints and removes old ones. Use as a context manager, in one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: set[Path] = set()

    def __enter__(self) -> "CheckpointFolder":
        import orbax.checkpoint as ocp

        self._args = ocp.args
        self._folder.mkdir(exist_ok=True)
        self._remove_unfinished()
        options = ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False, multiprocessing_options=_alone(), create=False
        )
        self._manager = ocp.CheckpointManager(self._folder.resolve(), options=options)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.close()

    def write(self, number: int, vectors: Vectors, facts: Facts) -> None:
        """Writes a checkpoint; returns when it is on disk. Raises RuntimeError if a newer one exists."""
        args = self._args
        beside = [self._write_beside(number, key, vector) for key, vector in vectors.items() if key in APART]
        own = {key: vector for key, vector in vectors.items() if key not in APART}
        items = {ARRAYS: args.StandardSave(own), FACTS: args.JsonSave(facts)}
        with _raising_only():
            written = self._manager.save(number, args=args.Composite(**items))
        if not written:
            raise RuntimeError(f"the checkpoint {self._folder / str(number)} was not written")
        # The checksums make it complete.
        lines = checksums(self._folder / str(number), flush=True)
        write_atomically(self._folder / f"{number}{SUFFIX}", lines + "".join(beside))

    def keep(self, numbers: Container[int]) -> None:
        """Removes all checkpoints except those with these numbers."""
        for number in self._manager.all_steps():
            if number not in numbers:
                # The checksums go first: without them it is no checkpoint, so a crash in between leaves no damaged one.
                (self._folder / f"{number}{SUFFIX}").unlink(missing_ok=True)
                self._manager.delete(number)
        used = {path for number in list_checkpoints(self._folder) for path in files_beside(self._folder, number)}
        for key in APART:
            for path in {*self._folder.glob(f"{key}-*")} - used:
                path.unlink()
                self._written.discard(path)

    def _write_beside(self, number: int, key: str, vector: np.ndarray) -> str:
        """Writes the vector, unless this process has done so for a checkpoint before; returns its line of checksums."""
        data = np.ascontiguousarray(vector, APART[key]).data
        digest = hashlib.sha256(data).hexdigest()
        path = self._folder / f"{key}-{number % 2}-{digest[:16]}.f32"
        if path not in self._written:  # what another process has left may be damaged
            with replacing(path) as file:
                file.write(data)
            self._written.add(path)
        return f"{digest}  {path.name}\n"

    def _remove_unfinished(self) -> None:
        """Removes the remains of checkpoints that a process was writing or removing when it was killed."""
        remove_leftovers(self._folder)
        complete = {str(number) for number in list_checkpoints(self._folder)}
        for path in self._folder.iterdir():
            if path.is_dir() and not path.is_symlink() and UNFINISHED.match(path.name) and path.name not in complete:
                shutil.rmtree(path)
            elif path.suffix == SUFFIX and path.stem not in complete:
                path.unlink()
