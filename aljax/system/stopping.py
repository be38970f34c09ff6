"""Signals that ask a run to stop: it finishes its step, saves, and says how to go on; a later one stops at once."""

import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

# Ctrl-C, a cluster's or a cloud's notice (SIGTERM; SIGUSR1 is what Slurm's --signal sends), a lost terminal.
SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
STDIN, STDERR = 0, 2
# One request may come as several signals: from a cluster to all of a job's processes, and from the one that started
# this one; from the kernel and from the shell when a terminal is lost.
SECONDS_OF_A_REQUEST = 2.0
# Set for a process whose standard input another one holds open for as long as it lives.
STOPS_WITH_STARTER = "ALJAX_STOPS_WITH_STARTER"


class StoppedError(RuntimeError):
    """The run was asked to stop, and everything it has done is on disk."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class StopRequest:
    """Remembers that a signal came while the context lasts. Use in the main thread."""

    signals: tuple[str, ...] = SIGNALS
    came_at: float | None = None
    """When the process was first asked, by whichever request in it."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._earlier: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        for name in self.signals:
            number = getattr(signal, name, None)  # Windows lacks some
            # What a caller has told the process to ignore, as nohup does, stays ignored.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._earlier[number] = signal.signal(number, self._receive)
        return self

    def check(self) -> int | None:
        """The number of the signal that came, if one did."""
        return self.number

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, earlier in self._earlier.items():
            signal.signal(number, earlier)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        now = time.monotonic()
        if self.number is not None and StopRequest.came_at is not None:
            if now - StopRequest.came_at < SECONDS_OF_A_REQUEST:
                return
            # Files are replaced in one go, so there is nothing to clean up that the next start would not.
            _say(f"\n{name} again: stopped at once\n")
            os._exit(128 + number)
        self.number, StopRequest.came_at = number, now
        _say(f"\n{name}: finishing the step and saving; once more after two seconds stops at once\n")


def stop_with_starter() -> None:
    """Asks this process to stop once the one that started it is gone, if that one set `STOPS_WITH_STARTER`.

    Killed, it cannot hand a signal on, and what it started would work on without it.
    """
    if os.environ.pop(STOPS_WITH_STARTER, ""):
        threading.Thread(target=_wait_for_end_of_input, daemon=True).start()


def _wait_for_end_of_input() -> None:
    while os.read(STDIN, 1):
        pass
    if StopRequest.came_at is None:  # else it is saving already, and a second signal would end that
        os.kill(os.getpid(), signal.SIGTERM)


def _say(message: str) -> None:
    # A terminal that is gone, or a pipe whose reader the same Ctrl-C ended, must not keep the run from saving.
    with suppress(OSError):
        os.write(STDERR, message.encode())
