"""Signals that stop a run: it finishes its step, saves, and says how to go on; a second one ends it at once."""

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
# Signals within so many seconds count as one request: a cluster signals all processes of a job, and their parent passes
# the signal on; a lost terminal brings one from the kernel and one from the shell.
SECONDS_OF_A_REQUEST = 2.0
# Environment variable of a process whose standard input closes when the process that started it ends.
STOPS_WITH_STARTER = "ALJAX_STOPS_WITH_STARTER"


class StoppedError(RuntimeError):
    """The run was asked to stop, and everything it has done is on disk."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class StopRequest:
    """Context manager that records a signal to stop. Use in the main thread."""

    signals: tuple[str, ...] = SIGNALS
    came_at: float | None = None
    """Monotonic time of the first signal in this process, whichever instance received it."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._earlier: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        for name in self.signals:
            number = getattr(signal, name, None)  # Windows lacks some
            # A signal that the parent made the process ignore, as nohup does, stays ignored.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._earlier[number] = signal.signal(number, self._receive)
        return self

    def check(self) -> int | None:
        """The number of the signal that was received; None if none was."""
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
            # Files are replaced atomically, and the next start removes temporary ones.
            _say(f"\n{name} again: stopped at once\n")
            os._exit(128 + number)
        self.number, StopRequest.came_at = number, now
        _say(f"\n{name}: finishing the step and saving; once more after two seconds stops at once\n")


def stop_with_starter() -> None:
    """Stops this process when the one that started it ends, if that one set `STOPS_WITH_STARTER`.

    A killed parent cannot pass on a signal, and its children would go on without it.
    """
    if os.environ.pop(STOPS_WITH_STARTER, ""):
        threading.Thread(target=_wait_for_end_of_input, daemon=True).start()


def _wait_for_end_of_input() -> None:
    while os.read(STDIN, 1):
        pass
    if StopRequest.came_at is None:  # otherwise it is saving, and a second signal would end it
        os.kill(os.getpid(), signal.SIGTERM)


def _say(message: str) -> None:
    # A closed terminal, or a pipe whose reader the same Ctrl-C ended, must not keep the run from saving.
    with suppress(OSError):
        os.write(STDERR, message.encode())
