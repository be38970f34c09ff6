"""Common parts of all commands: one-line errors, settings from the command line, and preparation of the process."""

import logging
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Any, TypeVar

from aljax.commands.options import read_options
from aljax.errors import DivergedError, InputError, InputWarning, printable
from aljax.loop.settings import Settings, check_settings
from aljax.runs.processes import exit_without_others, join_processes
from aljax.system.files import discard_output
from aljax.system.machine import check_device
from aljax.system.stopping import StoppedError, stop_with_starter
from aljax.training.weights import load_weights
from aljax.xla.compiling import DETERMINISTIC, report_slow_compiling
from aljax.xla.heap import keep_freed_memory
from aljax.xla.programs import keep_programs, programs_dir, remove_unreadable

SomeSettings = TypeVar("SomeSettings", bound=Settings)


class _Messages:
    """Standard error that ignores a closed pipe, so that a run continues if nobody reads its messages any more."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def command(main: Callable[[], None]) -> None:
    """Runs a script's `main`; an InputError becomes one line and exit status 2, without traceback."""
    # GDAL logs every file that it opens, and an imported library may have added a handler on standard error.
    logging.getLogger("rasterio").propagate = False
    with redirect_stderr(_Messages(sys.stderr or Path(os.devnull).open("w"))):  # None if the shell closed it: 2>&-
        try:
            stop_with_starter()
            _run(main)
        except BaseException as error:
            exit_without_others(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)
            raise


def _run(main: Callable[[], None]) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", InputWarning)
            warnings.showwarning = _show_warning(warnings.showwarning)
            main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except PermissionError as error:
        reason = f"{error.filename} is not accessible ({error.strerror}): check its permissions"
        print(f"error: {printable(reason)}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        discard_output()  # the reader closed the pipe, as `head` does
        sys.exit(1)
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except StoppedError as error:
        print(f"{error}; saved. To go on from here: {shlex.join(sys.orig_argv)}", file=sys.stderr)
        sys.exit(128 + error.number)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)


def _show_warning(otherwise: Callable[..., None]) -> Callable[..., None]:
    shown: list[str] = []

    def show(message: Warning | str, category: type[Warning], *arguments: Any) -> None:
        if issubclass(category, InputWarning):
            print(f"warning: {printable(str(message))}", file=sys.stderr)
        elif re.match(r"Glyph \d+ .* missing from font", str(message)):  # Matplotlib says so for every character
            if not shown:
                print("warning: the font lacks characters of names: they are boxes in the pictures", file=sys.stderr)
            shown.append(str(message))
        elif not remove_unreadable(str(message)):
            otherwise(message, category, *arguments)

    return show


def parse_settings(kind: type[SomeSettings], program: str, description: str | None) -> SomeSettings:
    """Reads settings from the command line; every field, also of nested settings, is an option without prefix.

    Raises InputError for invalid settings.
    """
    import tyro

    settings = read_options(kind, program, description, (tyro.conf.OmitArgPrefixes, tyro.conf.SuppressFixed))
    check_settings(settings)
    if settings.init_weights is not None:
        load_weights(settings.init_weights)  # raises for an unusable file before the tiles are read
    if settings.deterministic:
        ask_for_determinism()
    return settings


def ask_for_determinism() -> None:
    """Excludes GPU kernels that add in arbitrary order, and the choice of kernels by timing.

    Call it before JAX initialises its devices.
    """
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + f" {DETERMINISTIC}"


def prepare_process() -> None:
    """Prepares a process for computation; every script calls it first.

    Keeps compiled programs between processes and freed memory between steps, and joins the other processes of the run.
    Raises InputError if there is no device.
    """
    keep_freed_memory()
    join_processes()
    check_device()
    keep_programs()
    report_slow_compiling(_say_what_compiles)


def _say_what_compiles(name: str) -> None:
    from tqdm import tqdm

    message = f"compiling {name}: half a minute on CPUs, minutes on some GPUs; later runs find it in {programs_dir()}"
    tqdm.write(message, file=sys.stderr)
