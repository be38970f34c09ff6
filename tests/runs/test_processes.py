"""Several processes make one run together: the run of one process, and it stops and goes on like one."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from places import SUPPORT
from small_runs import RECIPE, run, settings

from aljax.errors import InputError
from aljax.loop.settings import Settings
from aljax.loop.state import RunState
from aljax.runs.checkpoints import read_newest
from aljax.runs.processes import is_first, join_processes
from aljax.runs.run_dir import RunStore, read_finished

SCRIPT = """
import sys
sys.path[:0] = sys.argv[2].split(":")
from pathlib import Path
from test_processes import make_run, save_slowly
from aljax.runs import processes
from aljax.commands.process import command, prepare_process

processes.SECONDS_TO_END = 4
save_slowly(6.0)

def main():
    prepare_process()
    make_run(Path(sys.argv[1]), float(sys.argv[3]))

command(main)
"""


def make_run(run_dir: Path, learning_rate: float = 1e-3) -> None:
    """Six epochs to be stopped in, at a rate so low that rounding stays rounding."""
    recipe = replace(RECIPE, epochs=6, learning_rate=learning_rate)
    run(settings(run_dir, query="tpd", max_labels=12, recipe=recipe))


def save_slowly(seconds: float) -> None:
    """Makes what is saved inside an iteration, so when a run is stopped, take longer than processes may to end."""
    save = RunStore.save

    def slow(store: RunStore, state: RunState) -> None:
        if state.stage is not None:
            time.sleep(seconds)
        save(store, state)

    RunStore.save = slow  # type: ignore[method-assign]


def start(run_dir: Path, environment: dict[str, str], learning_rate: float = 1e-3) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", SCRIPT, str(run_dir), f"{SUPPORT}:{Path(__file__).parent}", str(learning_rate)]
    return subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)


def pair_environments() -> list[dict[str, str]]:
    """Those of two processes with a device each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    joined = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PLATFORMS": "cpu"}
    return [{**os.environ, **joined, "JAX_PROCESS_ID": str(index)} for index in range(2)]


def start_pair(run_dirs: tuple[Path, Path], rates: tuple[float, float] = (1e-3, 1e-3)) -> list[subprocess.Popen[str]]:
    return [start(*one) for one in zip(run_dirs, pair_environments(), rates, strict=True)]


def end(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Statuses, and what was said."""
    said = [process.communicate(timeout=300)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def test_two_processes_stop_together_and_make_the_run_of_one(tmp_path) -> None:
    both = tmp_path / "two", tmp_path / "two"
    pair = start_pair(both)
    history = tmp_path / "two" / "history.jsonl"
    deadline = time.monotonic() + 240
    while not history.exists() and time.monotonic() < deadline and pair[0].poll() is None:
        time.sleep(0.05)
    pair[1].send_signal(signal.SIGUSR1)  # which it tells the other one of as SIGTERM
    ended = end(pair)
    assert [status for status, _ in ended] == [128 + signal.SIGTERM, 128 + signal.SIGUSR1], ended
    assert "stopped by SIGTERM; saved" in ended[0][1]
    assert "SIGUSR1: finishing the step and saving" in ended[1][1]
    assert "8 labels" in ended[0][1]
    assert "8 labels" not in ended[1][1]  # only the first process tells
    assert read_finished(tmp_path / "two") is None

    ended = end(start_pair(both))
    assert [status for status, _ in ended] == [0, 0], ended
    make_run(tmp_path / "one")
    one, two = read_finished(tmp_path / "one"), read_finished(tmp_path / "two")
    assert one is not None
    assert two is not None
    assert [record.num_labeled for record in two.history] == [8, 12]
    assert [record.selected for record in two.history] == [record.selected for record in one.history]
    weights = [read_newest(tmp_path / name / "checkpoints") for name in ("one", "two")]
    assert weights[0] is not None
    assert weights[1] is not None
    for dtype, vector in weights[0].vectors.items():
        np.testing.assert_allclose(weights[1].vectors[dtype], vector, rtol=1e-2, atol=1e-3)


PASS_SCRIPT = """
import os, sys
sys.path[:0] = sys.argv[2].split(":")
from pathlib import Path
from small_runs import run
from test_processes import pass_settings
from aljax.commands.process import command, prepare_process
from aljax.data.archive import Tiles
from aljax.runs import run_dir, shards

Tiles.at_once = property(lambda tiles: 8)

def add_and_die(*arguments):
    number = shards.add_shards(*arguments)
    print("shard", number, flush=True)
    if number == int(sys.argv[3]):
        os.kill(os.getpid(), 9)
    return number

run_dir.add_shards = add_and_die

def main():
    prepare_process()
    run(pass_settings(Path(sys.argv[1])))

command(main)
"""


def pass_settings(run_dir: Path) -> Settings:
    """A run that is saved whenever it can be, at a rate so low that rounding stays rounding."""
    recipe = replace(RECIPE, learning_rate=1e-3)
    return settings(run_dir, query="tpd", max_labels=12, recipe=recipe, checkpoint_seconds=0.0)


def test_pass_whose_first_process_was_killed_is_gone_on_with_by_both(tmp_path) -> None:
    run_dir = tmp_path / "run"
    arguments = [sys.executable, "-c", PASS_SCRIPT, str(run_dir), f"{SUPPORT}:{Path(__file__).parent}"]

    def start_both(last: int) -> list[subprocess.Popen[str]]:
        return [
            subprocess.Popen([*arguments, str(last)], env=environment, stdout=subprocess.PIPE, text=True)
            for environment in pair_environments()
        ]

    first, second = start_both(6)
    assert "shard 6" in first.communicate(timeout=300)[0]
    assert first.returncode == -signal.SIGKILL
    second.kill()
    second.communicate()
    first, second = start_both(0)
    said = [line for line in first.communicate(timeout=300)[0].splitlines() if line.startswith("shard")]
    second.communicate(timeout=300)
    assert (first.returncode, second.returncode) == (0, 0)
    assert said[0] == "shard 7"
    again = read_finished(run_dir)
    assert again is not None
    run(pass_settings(tmp_path / "one"))
    whole = read_finished(tmp_path / "one")
    assert whole is not None
    assert [record.selected for record in again.history] == [record.selected for record in whole.history]


@pytest.mark.parametrize("name", ["JAX_NUM_PROCESSES", "JAX_PROCESS_ID"])
def test_number_of_processes_that_is_no_number_is_refused(name, monkeypatch) -> None:
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "localhost:1")
    monkeypatch.setenv(name, "two")
    with pytest.raises(InputError, match="are numbers"):
        join_processes()


@pytest.mark.parametrize("address", ["node1", "node1:", "1234", "node1:http"])
def test_address_without_host_and_port_is_refused(address: str, monkeypatch) -> None:
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", address)
    with pytest.raises(InputError, match=rf"is {address}: give host and port"):
        join_processes()


def test_process_alone_joins_nobody(monkeypatch) -> None:
    monkeypatch.delenv("JAX_COORDINATOR_ADDRESS", raising=False)
    join_processes()
    assert is_first()


def test_processes_with_different_settings_are_refused(tmp_path) -> None:
    for status, said in end(start_pair((tmp_path / "run", tmp_path / "run"), (1e-3, 1e-2))):
        assert status == 2
        assert "error: process 1 has other settings or data than the first one" in said


def test_a_process_that_fails_alone_ends_the_others(tmp_path) -> None:
    make_run(tmp_path / "other")  # has checkpoints, which the first process does not see
    began = time.monotonic()
    first, second = end(start_pair((tmp_path / "run", tmp_path / "other")))
    assert second[0] == 2
    assert "give all processes the same folder" in second[1]
    assert first[0] != 0
    assert time.monotonic() - began < 120
