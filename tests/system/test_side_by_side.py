"""Processes side by side: each on its own cores or card, all ended and saved whatever happens."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from waiting import until

from aljax.errors import InputError
from aljax.system import side_by_side
from aljax.system.side_by_side import Job, Place, find_places, run_jobs
from aljax.system.stopping import SECONDS_OF_A_REQUEST, StoppedError

CORES = sorted(os.sched_getaffinity(0))


def job(folder: Path, name: str, program: str) -> Job:
    return Job([sys.executable, "-c", program], folder / f"{name}.log")


def pretend_devices(monkeypatch: pytest.MonkeyPatch, backend: str, devices: int) -> None:
    """What the process that looks for devices says."""
    answer = subprocess.CompletedProcess([], 0, f"{backend} {devices}\n", "")
    monkeypatch.setattr(side_by_side.subprocess, "run", lambda *arguments, **options: answer)


def test_every_core_is_in_one_place(monkeypatch) -> None:
    pretend_devices(monkeypatch, "cpu", 1)
    for count in range(1, len(CORES) + 1):
        places = find_places(count)
        assert len(places) == count
        assert sorted(core for place in places for core in place.cores) == CORES
    assert len(find_places(0)) == len(CORES)
    with pytest.raises(InputError, match=r"--jobs \d+ is more than there are cores"):
        find_places(len(CORES) + 1)


def test_each_card_gets_a_process_and_shares_its_memory_where_there_are_more(monkeypatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    pretend_devices(monkeypatch, "gpu", 2)
    assert [place.environment for place in find_places(0)] == [{"CUDA_VISIBLE_DEVICES": name} for name in "01"]
    shared = [place.environment for place in find_places(4)]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in shared] == ["0", "1", "0", "1"]
    assert {place["XLA_PYTHON_CLIENT_MEM_FRACTION"] for place in shared} == {"0.45"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7,9")  # JAX sees two of them
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in find_places(0)] == ["5", "7"]


def test_processes_of_a_tpu_are_not_run_side_by_side(monkeypatch) -> None:
    pretend_devices(monkeypatch, "tpu", 4)
    assert find_places(0) == [Place({})]
    with pytest.raises(InputError, match="--jobs 2 needs CUDA cards or CPU cores"):
        find_places(2)


def test_all_jobs_run_as_many_at_a_time_as_there_are_places(tmp_path) -> None:
    program = (
        "import os, time; print(time.time(), os.environ['PLACE'], sorted(os.sched_getaffinity(0))); time.sleep(0.3)"
    )
    jobs = [job(tmp_path, str(index), program) for index in range(5)]
    places = [Place({"PLACE": name}, frozenset(CORES[:1])) for name in "ab"]
    polls: list[int] = []
    run_jobs(jobs, places, polls.append)
    said = [one.log.read_text().split(maxsplit=2) for one in jobs]
    assert {place for _, place, _ in said} == {"a", "b"}
    assert {cores.strip() for _, _, cores in said} == {str(CORES[:1])}
    assert sorted(os.sched_getaffinity(0)) == CORES
    assert polls[-1] == 5
    assert polls == sorted(polls)
    # The third begins when one of the first two has ended.
    assert float(said[2][0]) - min(float(said[0][0]), float(said[1][0])) > 0.3


def test_failed_job_is_one_line_and_the_others_are_asked_to_stop(tmp_path) -> None:
    waits = job(tmp_path, "waits", "import time; time.sleep(600)")
    fails = job(tmp_path, "fails", "import sys; print('first'); print('error: no tiles', file=sys.stderr); sys.exit(2)")
    started = time.monotonic()
    with pytest.raises(InputError, match=rf"status 2 \(error: no tiles\); all it said is in {fails.log}"):
        run_jobs([waits, fails], [Place({}), Place({})])
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_is_handed_on_and_waits_for_what_the_processes_save(number: signal.Signals, tmp_path) -> None:
    saved = tmp_path / "saved"
    program = (
        "import pathlib, signal, sys, time\n"
        "def save(number, frame):\n"
        "    time.sleep(0.5)\n"
        f"    pathlib.Path({str(saved)!r}).touch()\n"
        "    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)"
    )
    first, second = job(tmp_path, "first", program), job(tmp_path, "second", "raise SystemExit('never started')")

    def send() -> None:
        until(lambda: first.log.exists() and first.log.read_text())
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()
    with pytest.raises(StoppedError) as error:
        run_jobs([first, second], [Place({})])
    assert error.value.number == number
    assert saved.exists()
    assert not second.log.exists()


def test_job_that_was_itself_asked_to_stop_ends_the_others_as_stopped(tmp_path) -> None:
    with pytest.raises(StoppedError, match="SIGTERM"):
        run_jobs([job(tmp_path, "stopped", "raise SystemExit(143)")], [Place({})])


def test_log_keeps_what_an_earlier_start_said(tmp_path) -> None:
    for word in ("first", "second"):
        run_jobs([job(tmp_path, "run", f"print('{word}')")], [Place({})])
    assert (tmp_path / "run.log").read_text().split() == ["first", "second"]


@pytest.mark.parametrize("asked", [False, True])
def test_processes_stop_when_the_one_that_started_them_is_killed(asked: bool, tmp_path) -> None:
    saved, log = tmp_path / "saved", tmp_path / "run.log"
    run = (
        "import os, pathlib, time\n"
        "from aljax.system.stopping import StopRequest, stop_with_starter\n"
        "with StopRequest() as stop:\n"
        "    stop_with_starter()\n"
        "    print('ready', os.getpid(), flush=True)\n"
        "    while stop.number is None:\n"
        "        time.sleep(0.05)\n"
        "    time.sleep(3)\n"  # a long step
        f"pathlib.Path({str(saved)!r}).write_text(str(stop.number))"
    )
    start = (
        "import pathlib, sys\n"
        "from aljax.system.side_by_side import Job, Place, run_jobs\n"
        f"run_jobs([Job([sys.executable, '-c', {run!r}], pathlib.Path({str(log)!r}))], [Place({{}})])"
    )
    with subprocess.Popen([sys.executable, "-c", start]) as starter:
        until(lambda: log.exists() and log.read_text().endswith("\n"))
        if asked:  # a cluster asks all, and kills what has not ended after a while
            os.kill(int(log.read_text().split()[1]), signal.SIGTERM)
            time.sleep(SECONDS_OF_A_REQUEST)
        starter.kill()
    until(lambda: saved.exists() and saved.read_text() == str(int(signal.SIGTERM)))
