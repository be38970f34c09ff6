"""Kills a small but complete run at random moments, repeats the command until it ends, and compares the bytes.

    python -m tools.crash_test --runs 20 --kills 5
    python -m tools.crash_test --runs 5 --kills 4 --signal TERM

The run is the quickstart on fewer scenes: all four queries, warm start, two trials. A kill comes at a random moment or,
so that the short ones are hit too, while a checkpoint, its checksums or a file is being written. What a killed and
repeated run leaves must be what an undisturbed one leaves: history.jsonl but for the three times, config.json,
summary.json, curve.png, the files of probabilities, and the weights and probabilities of the last checkpoint. Prints a
row per run and exits with status 1 if anything differs.
"""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aljax.commands.options import read_options
from aljax.commands.process import command
from aljax.errors import InputError
from aljax.runs.checkpoints import read_newest
from aljax.system.files import TEMPORARY_MARK, make_folder
from aljax.system.locking import WRITER
from tools.run_contents import FILES, contents, differences

QUERIES = ("random", "ll", "tpd", "mge")
RUN = (
    *(sys.executable, "-m", "experiments.quickstart", "--tiles", "640", "--trials", "2", "--initial", "20"),
    *("--budget", "20", "--max-labels", "60", "--epochs", "24", "--batch-size", "10"),
)
# By name: the pattern of files that exist at that moment, and its weight among the kills.
MOMENTS = {
    "start": ("", 1),
    "any": ("", 4),
    "checkpoint": ("*/checkpoints/*tmp*", 2),
    "checksums": (f"*/checkpoints/.*{TEMPORARY_MARK}", 2),
    "file": (f"*/.*{TEMPORARY_MARK}", 2),
}
SHARES = [share for _, share in MOMENTS.values()]
Kill = tuple[str, str]
"""The moment, and the stage of the newest checkpoint."""


@dataclass(frozen=True)
class Settings:
    """How much to kill."""

    runs: int = 20  # runs that are killed and repeated
    kills: int = 5  # kills of each run before it may end
    signal: Literal["KILL", "TERM", "INT"] = "KILL"  # sent to the run
    checkpoint_seconds: float = 0.05  # least time between checkpoints inside an iteration of the killed runs
    seed: int = 0  # of the moments
    folder: Path | None = None  # folder for the runs, kept afterwards (default: a temporary one)


def start(run_dir: Path, checkpoint_seconds: float) -> subprocess.Popen[str]:
    """The run as a process of its own; its messages go into a file beside its folder."""
    arguments = (*RUN, "--run-dir", str(run_dir), "--checkpoint-seconds", str(checkpoint_seconds))
    with run_dir.with_suffix(".log").open("a") as log:
        return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=log, text=True)


def last_message(run_dir: Path) -> str:
    """The last line that a run wrote."""
    return run_dir.with_suffix(".log").read_text().strip().rpartition("\n")[2]


def has_begun(run_dir: Path) -> bool:
    """Whether a process has opened the run directory."""
    return any(run_dir.glob(f"*/{WRITER}"))


def kill(settings: Settings, process: subprocess.Popen[str], run_dir: Path, wait: float, moment: str) -> bool:
    """Kills the run `wait` seconds after its start, at the moment; False if it ended before."""
    begun, (pattern, _) = None, MOMENTS[moment]
    while process.poll() is None:
        if begun is None and (moment == "start" or has_begun(run_dir)):
            begun = time.monotonic()
        if begun is not None and time.monotonic() - begun >= wait and (not pattern or any(run_dir.glob(pattern))):
            process.send_signal(getattr(signal, f"SIG{settings.signal}"))
            process.wait()
            return True
        time.sleep(0.0005)
    return False


def check_end(settings: Settings, process: subprocess.Popen[str], run_dir: Path) -> list[str]:
    """What was wrong with the status or message after the signal; empty if nothing was."""
    number = getattr(signal, f"SIG{settings.signal}")
    if settings.signal == "KILL" or process.returncode == -number:  # not caught, or still starting
        return []
    message = last_message(run_dir)
    as_promised = process.returncode == 128 + number and ("To go on from here: " in message or "goes on" in message)
    still_importing = "KeyboardInterrupt" in message
    return [] if as_promised or still_importing else [f"status {process.returncode}, {message!r}"]


def stage(run_dir: Path) -> str:
    """The stage of the newest checkpoint of an unfinished run."""
    for query in reversed(QUERIES):
        if newest := read_newest(run_dir / query / "checkpoints"):
            if newest.facts["stage"] != "Training":
                return newest.facts["stage"] or "Complete"
            return "Training, first epoch" if not newest.facts["epoch"] else "Training, later epoch"
    return "none"


def differences_from(whole: Path, run_dir: Path) -> list[str]:
    """Names of the results of a run that differ from those of an undisturbed one."""
    different = [name for name in FILES[1:] if (whole / name).read_bytes() != (run_dir / name).read_bytes()]
    of_query = {query: differences(contents(run_dir / query), contents(whole / query)) for query in QUERIES}
    return different + [f"{query}/{name}" for query, names in of_query.items() for name in names]


def kill_repeatedly(settings: Settings, run_dir: Path, rng: random.Random, work: float) -> tuple[list[Kill], list[str]]:
    """Kills a run repeatedly, then lets it end; returns the kills, and what was wrong with its ends."""
    kills: list[Kill] = []
    wrong: list[str] = []
    while True:
        process = start(run_dir, settings.checkpoint_seconds)
        for left in run_dir.glob(f"*/{WRITER}"):  # of the process that was killed
            left.unlink()
        (moment,) = rng.choices(list(MOMENTS), SHARES)
        wait = rng.uniform(0.0, work / settings.kills)
        if len(kills) >= settings.kills or not kill(settings, process, run_dir, wait, moment):
            if process.wait():
                wrong.append(f"status {process.returncode}, {last_message(run_dir)!r}")
            return kills, wrong
        kills.append((moment, stage(run_dir)))
        wrong += check_end(settings, process, run_dir)


def row(name: object, kills: list[Kill], different: list[str]) -> str:
    """A line of the table."""
    of_moment = Counter(moment for moment, _ in kills)
    counts = "".join(f"{of_moment[moment]:>12}" for moment in MOMENTS)
    return f"{name!s:>5}{len(kills):>7}{counts}   {', '.join(different) or 'none'}"


def undisturbed(run_dir: Path) -> float:
    """Makes a run without a kill; returns its seconds after the start of the process."""
    process = start(run_dir, 60.0)
    while process.poll() is None and not has_begun(run_dir):
        time.sleep(0.01)
    begun = time.monotonic()
    if process.wait():
        raise InputError(f"the undisturbed run failed: {last_message(run_dir)}")
    return time.monotonic() - begun


def run_all(settings: Settings, folder: Path) -> bool:
    """Prints the table; returns whether all runs left the same."""
    for name in ("first", "whole"):  # the first one compiles
        work = undisturbed(folder / name)
    print(f"undisturbed work: {work:.0f} s; signal {settings.signal}; kills by what was being written", flush=True)
    print(f"{'run':>5}{'kills':>7}" + "".join(f"{moment:>12}" for moment in MOMENTS) + "   different")
    rng = random.Random(settings.seed)
    all_kills: list[Kill] = []
    all_different: list[str] = []
    for number in range(1, settings.runs + 1):
        run_dir = folder / f"run{number}"
        kills, different = kill_repeatedly(settings, run_dir, rng, work)
        different = different or differences_from(folder / "whole", run_dir)
        print(row(number, kills, different), flush=True)
        all_kills += kills
        all_different += different
        if not different:
            shutil.rmtree(run_dir)
    print(row("all", all_kills, all_different))
    stages = Counter(stage for _, stage in all_kills).most_common()
    print("newest checkpoint at the kills: " + ", ".join(f"{name} {number}" for name, number in stages))
    return not all_different


def main() -> None:
    """Kills, repeats and compares."""
    settings = read_options(Settings, "python -m tools.crash_test", __doc__)
    if min(settings.runs, settings.kills) < 1:
        raise InputError("--runs and --kills are at least 1: raise them")
    with tempfile.TemporaryDirectory() as temporary:
        folder = settings.folder or Path(temporary)
        make_folder(folder)
        if any(folder.iterdir()):
            raise InputError(f"--folder {folder} is not empty: choose another")
        if not run_all(settings, folder):
            sys.exit(1)


if __name__ == "__main__":
    command(main)
