"""A signal ends a run after its step, with everything saved; one that comes later ends it at once."""

import shlex
import signal
import subprocess
import sys
import time

import pytest
from small_runs import as_process, kill_after_saves, run, run_until_save, settings
from tiny import make_archive, tiny_network

import aljax
from aljax.data.archive import random_split
from aljax.runs import experiment
from aljax.runs.run_dir import RunStore
from aljax.system.stopping import SECONDS_OF_A_REQUEST, SIGNALS, StoppedError, StopRequest
from tools.run_contents import contents, differences


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[dict[str, object], int]:
    """What the run of `settings` leaves when nothing happens to it, and how often it could have stopped."""
    offers: list[None] = []
    offer = RunStore.offer
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunStore, "offer", lambda store, state: offers.append(None) or offer(store, state))
        run(settings(run_dir))
    return contents(run_dir), len(offers)


@pytest.mark.parametrize("name", SIGNALS)
def test_run_stops_after_the_step_saves_and_goes_on_to_the_same_bytes(name: str, tmp_path, monkeypatch, whole) -> None:
    number = getattr(signal, name)
    offers: list[None] = []
    offer = RunStore.offer

    def offer_after_signal(store: RunStore, state) -> None:
        offers.append(None)
        if len(offers) == 4:  # inside the training of the first iteration
            signal.raise_signal(number)
        offer(store, state)

    chosen = settings(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "offer", offer_after_signal)
        with pytest.raises(StoppedError, match=f"stopped by {name}") as stopped:
            run(chosen)
    assert stopped.value.number == number
    assert len(offers) == 4
    rest: list[None] = []
    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "offer", lambda store, state: rest.append(None) or offer(store, state))
        run(chosen)
    expected, all_offers = whole
    assert len(rest) == all_offers - 4  # the step after which it stopped is not done again
    assert differences(contents(chosen.run_dir), expected) == []


def test_handlers_are_those_of_before_once_the_run_is_over() -> None:
    before = [signal.getsignal(getattr(signal, name)) for name in SIGNALS]
    with StopRequest():
        assert [signal.getsignal(getattr(signal, name)) for name in SIGNALS] != before
    assert [signal.getsignal(getattr(signal, name)) for name in SIGNALS] == before


def test_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


TWICE = """
import signal, sys, time
from aljax.system.stopping import StopRequest
with StopRequest() as stop:
    print("ready", flush=True)
    while stop.number is None:
        time.sleep(0.01)
    print("asked", flush=True)
    time.sleep(SECONDS)
    print("saved", flush=True)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_later_signal_stops_at_once(number: signal.Signals, status: int) -> None:
    arguments = [sys.executable, "-c", TWICE.replace("SECONDS", "60")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "asked\n"
        time.sleep(SECONDS_OF_A_REQUEST)
        process.send_signal(number)
        assert process.wait(10) == status
        assert process.stderr is not None
        assert f"{number.name} again: stopped at once" in process.stderr.read()


def test_request_that_comes_as_several_signals_is_one() -> None:
    arguments = [sys.executable, "-c", TWICE.replace("SECONDS", "1")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGUSR1)  # as Slurm tells every process of a job
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGTERM)  # as the one that started it hands it on
        assert process.stdout.readline() == "saved\n"
        assert process.wait(10) == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_command_ends_with_the_status_of_the_signal_and_says_how_to_go_on(number, status: int, tmp_path) -> None:
    arguments = as_process(tmp_path, checkpoint_seconds=1e9)
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    with process:
        assert process.stderr is not None
        # The first iteration is complete.
        assert any("trial 1/1       8 labels" in line for line in iter(process.stderr.readline, ""))
        process.send_signal(number)
        messages = process.stderr.read()
        assert process.wait(30) == status, messages
    assert f"{number.name}: finishing the step and saving; once more after two seconds stops at once" in messages
    go_on = f"stopped by {number.name}; saved. To go on from here: {shlex.join(arguments)}"
    assert messages.splitlines()[-1] == go_on
    assert subprocess.run(arguments, cwd=tmp_path, capture_output=True, check=True).returncode == 0


def test_killed_process_goes_on_to_the_bytes_of_one_that_was_not(tmp_path, whole) -> None:
    for saves in (4, 11):  # inside the training of the first and of the second iteration
        kill_after_saves(tmp_path, saves)
    subprocess.run(as_process(tmp_path, 0.0), stderr=subprocess.DEVNULL, cwd=tmp_path, check=True)
    assert differences(contents(tmp_path / "run"), whole[0]) == []


GONE = """
import os, signal, sys
from aljax.commands.process import command
from aljax.system.stopping import StoppedError, StopRequest

def main():
    with StopRequest() as stop:
        reader, writer = os.pipe()
        os.dup2(writer, 2)
        os.close(reader)  # a pipe that nobody reads, as after Ctrl-C into tee
        signal.raise_signal(signal.SIGINT)
        print("step", file=sys.stderr)
        raise StoppedError(stop.check())

command(main)
"""


def test_nobody_reading_the_messages_keeps_no_run_from_saving() -> None:
    assert subprocess.run([sys.executable, "-c", GONE], check=False).returncode == 130


def test_signal_after_a_runs_last_step_begins_no_other_query(tmp_path, monkeypatch) -> None:
    report = experiment.write_report

    def signal_and_report(*arguments) -> None:
        signal.raise_signal(signal.SIGTERM)
        report(*arguments)

    monkeypatch.setattr(experiment, "write_report", signal_and_report)
    archive, chosen = make_archive(), settings(tmp_path)
    split = random_split(0, len(archive.ids), 10, 10)
    with pytest.raises(StoppedError, match="stopped by SIGTERM"):
        experiment.run_queries(chosen, ["random", "mge"], archive, split, tiny_network())
    assert (tmp_path / "random" / "summary.json").exists()
    assert not (tmp_path / "mge").exists()


def test_between_two_trials_the_model_of_the_last_one_is_still_there(tmp_path, monkeypatch) -> None:
    chosen = settings(tmp_path, trials=2, max_labels=12)
    state = run_until_save(chosen, 18, monkeypatch)
    assert (state.trial, state.iteration, state.variables) == (1, 0, None)
    run_until_save(chosen, 1, monkeypatch)  # and in the first step of the second one
    assert aljax.load(tmp_path).num_labeled == 12
