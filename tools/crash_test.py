"""Kills a small but complete run at random moments, repeats the command until it ends, and compares the bytes.

    python -m tools.crash_test --runs 20 --kills 5
    python -m tools.crash_test --runs 5 --kills 4 --signal TERM

The run is the quickstart on fewer scenes: all four queries, warm start, two trials. A kill comes at a random moment or,
so that the short ones are hit too, while a checkpoint, its checksums or a file is being written. What a killed and
repeated run leaves must be what an undisturbed one leaves: history.jsonl but for the three times, config.json,
summary.json, curve.png, and the weights and probabilities of the last checkpoint. Prints a row per run and exits with
status 1 if anything differs.
"""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aljax.commands.options import read_options
from aljax.commands.process import command
from aljax.errors import InputError
from aljax.runs.checkpoints import list_checkpoints, read_newest
from aljax.system.files import TEMPORARY_MARK, make_folder
from aljax.system.locking import WRITER
from tools.run_contents import FILES, contents, differences

QUERIES = ("random", "ll", "tpd", "mge")
RUN = (
    *(sys.executable, "-m", "experiments.quickstart", "--tiles", "640", "--trials", "2", "--initial", "20"),
    *("--budget", "20", "--max-labels", "60", "--epochs", "24", "--batch-size", "10"),
)
Moment = Literal["start", "any", "checkpoint", "checksums", "file"]
# Each with its share of the kills.
MOMENTS: dict[Moment, int] = {"start": 1, "any": 4, "checkpoint": 2, "checksums": 2, "file": 2}


@dataclass(frozen=True)
class Settings:
    """How much to kill."""

    runs: int = 20  # runs that are killed and repeated
    kills: int = 5  # kills of each run before it may end
    signal: Literal["KILL", "TERM", "INT"] = "KILL"  # sent to the run
    checkpoint_seconds: float = 0.05  # least time between checkpoints inside an iteration of the killed runs
    seed: int = 0  # of the moments
    folder: Path | None = None  # folder for the runs, kept afterwards (default: a temporary one)


@dataclass
class Outcome:
    """What happened to a run."""

    kills: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    """How far the newest checkpoint was at each kill."""
    different: list[str] = field(default_factory=list)


def start(run_dir: Path, checkpoint_seconds: float) -> subprocess.Popen[str]:
    """The run as a process of its own; its messages go into a file beside its folder."""
    arguments = (*RUN, "--run-dir", str(run_dir), "--checkpoint-seconds", str(checkpoint_seconds))
    with run_dir.with_suffix(".log").open("a") as log:
        return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=log, text=True)


def last_message(run_dir: Path) -> str:
    """The last line that a run wrote."""
    return run_dir.with_suffix(".log").read_text().strip().rpartition("\n")[2]


def is_moment(run_dir: Path, moment: Moment) -> bool:
    """Whether something of that kind is being written just now."""
    match moment:
        case "checkpoint":
            return any(run_dir.glob("*/checkpoints/*tmp*"))
        case "checksums":
            return any(run_dir.glob(f"*/checkpoints/.*{TEMPORARY_MARK}"))
        case "file":
            return any(run_dir.glob(f"*/.*{TEMPORARY_MARK}"))
    return True


def has_begun(run_dir: Path) -> bool:
    """Whether a process is at work in the folder, past its start."""
    return any(run_dir.glob(f"*/{WRITER}"))


def kill(settings: Settings, process: subprocess.Popen[str], run_dir: Path, wait: float, moment: Moment) -> bool:
    """Kills the run `wait` seconds after its start, at the moment; False if it ended before."""
    begun = None
    while process.poll() is None:
        if begun is None and (moment == "start" or has_begun(run_dir)):
            begun = time.monotonic()
        if begun is not None and time.monotonic() - begun >= wait and is_moment(run_dir, moment):
            break
        time.sleep(0.0005)
    if process.poll() is not None:
        return False
    process.send_signal(getattr(signal, f"SIG{settings.signal}"))
    process.wait()
    return True


def check_end(settings: Settings, process: subprocess.Popen[str], run_dir: Path) -> str | None:
    """What was wrong with the way a run ended on the signal; None if it was as promised."""
    number = getattr(signal, f"SIG{settings.signal}")
    if settings.signal == "KILL" or process.returncode == -number:  # not caught, or still starting
        return None
    message = last_message(run_dir)
    if process.returncode == 128 + number and ("To go on from here: " in message or "goes on" in message):
        return None
    if "KeyboardInterrupt" in message:  # still importing
        return None
    return f"status {process.returncode}, {message!r}"


def stage(run_dir: Path) -> str:
    """How far the newest checkpoint of an unfinished run is."""
    for query in reversed(QUERIES):
        folder = run_dir / query / "checkpoints"
        if folder.is_dir() and list_checkpoints(folder):
            newest = read_newest(folder)
            assert newest is not None
            if newest.facts["stage"] != "Training":
                return newest.facts["stage"] or "Complete"
            return "Training, first epoch" if not newest.facts["epoch"] else "Training, later epoch"
    return "none"


def differences_from(whole: Path, run_dir: Path) -> list[str]:
    """Names of what a run left that an undisturbed one did not leave like that."""
    different = [name for name in FILES[1:] if (whole / name).read_bytes() != (run_dir / name).read_bytes()]
    for query in QUERIES:
        names = differences(contents(run_dir / query), contents(whole / query))
        different += [f"{query}/{name}" for name in names]
    return different


def torture(settings: Settings, run_dir: Path, rng: random.Random, work: float) -> Outcome:
    """Kills a run again and again, then lets it end."""
    outcome = Outcome()
    while True:
        process = start(run_dir, settings.checkpoint_seconds)
        for left in run_dir.glob(f"*/{WRITER}"):  # of the process that was killed
            left.unlink()
        (moment,) = rng.choices(list(MOMENTS), list(MOMENTS.values()))
        wait = rng.uniform(0.0, work / settings.kills)
        if outcome.kills.total() >= settings.kills or not kill(settings, process, run_dir, wait, moment):
            if process.wait():
                outcome.different.append(f"status {process.returncode}, {last_message(run_dir)!r}")
            return outcome
        outcome.kills[moment] += 1
        outcome.stages[stage(run_dir)] += 1
        if wrong := check_end(settings, process, run_dir):
            outcome.different.append(wrong)


def row(name: object, outcome: Outcome) -> str:
    """A line of the table."""
    kills = "".join(f"{outcome.kills[moment]:>12}" for moment in MOMENTS)
    return f"{name!s:>5}{outcome.kills.total():>7}{kills}   {', '.join(outcome.different) or 'none'}"


def undisturbed(run_dir: Path) -> float:
    """Runs without a kill; the seconds it took, less those of its start."""
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
    rng, total = random.Random(settings.seed), Outcome()
    for number in range(1, settings.runs + 1):
        run_dir = folder / f"run{number}"
        outcome = torture(settings, run_dir, rng, work)
        if not outcome.different:
            outcome.different += differences_from(folder / "whole", run_dir)
        print(row(number, outcome), flush=True)
        total.kills += outcome.kills
        total.stages += outcome.stages
        total.different += outcome.different
        if not outcome.different:
            shutil.rmtree(run_dir)
    print(row("all", total))
    print("newest checkpoint at the kills: " + ", ".join(f"{name} {n}" for name, n in total.stages.most_common()))
    return not total.different


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
