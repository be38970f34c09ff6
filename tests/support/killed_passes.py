"""Commands that are killed in the middle of a pass over tiles."""

from collections.abc import Callable

import numpy as np
import pytest
from run_command import run
from small_runs import KilledError

from aljax.data.features import unfinished
from aljax.data.features.unfinished import Unfinished


def kill_after(
    appends: int, is_saved: bool, monkeypatch: pytest.MonkeyPatch, main: Callable[[], None], arguments: tuple
) -> None:
    """Runs a command that dies after so many batches, which its file of finished rows counts if `is_saved`."""
    calls: list[int] = []
    append = Unfinished.append

    def append_and_die(self: Unfinished, rows: np.ndarray) -> None:
        append(self, rows)
        calls.append(len(rows))
        if len(calls) == appends:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "append", append_and_die)
        patch.setattr(Unfinished, "__exit__", lambda self, *error: self._file.close())
        patch.setattr(unfinished, "SECONDS_BETWEEN_SAVES", 0.0 if is_saved else 1e9)
        with pytest.raises(KilledError):
            run(patch, main, *arguments)
