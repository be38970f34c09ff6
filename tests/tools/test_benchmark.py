"""The benchmark times ways in turns, says what failed, and divides the right way round."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from places import ROOT, SUPPORT
from waiting import until

from aljax.errors import InputError
from tools import benchmark
from tools import benchmarked_peers as peers
from tools.benchmark import Row, lines
from tools.benchmarked import kmeans_in_jax
from tools.duel import Timing, Way, Work, duels


def sleeper(seconds: float) -> Work:
    """Work that takes as long as it says, built in a process of its own."""

    def work() -> Mapping[str, float]:
        time.sleep(seconds)
        return {"process": float(os.getpid())}

    return work


def recorder(name: str, log: Path) -> Work:
    """Work that writes down when it is built and done."""

    def write(event: str) -> Mapping[str, float]:
        with log.open("a") as file:
            file.write(f"{event}\n")
        time.sleep(0.25)  # longer than what a round repeats within it
        return {}

    write(f"build-{name}")
    return lambda: write(name)


def broken(message: str) -> Work:
    raise ValueError(message)


def test_ways_take_turns_in_processes_of_their_own_and_one_that_fails_says_why() -> None:
    ways = [
        Way("slow", sleeper, {"seconds": 0.3}),
        Way("broken", broken, {"message": "no such device\nand more"}),
        Way("fast", sleeper, {"seconds": 0.1}),
    ]
    (timings,) = duels([ways], rounds=3)
    assert list(timings) == ["slow", "broken", "fast"]
    assert timings["broken"] == "ValueError: no such device"
    slow, fast = timings["slow"], timings["fast"]
    assert isinstance(slow, Timing)
    assert isinstance(fast, Timing)
    assert len(slow.seconds) == len(fast.seconds) == 3
    assert min(slow.seconds) >= 0.3 > min(fast.seconds) >= 0.1
    assert slow.first_seconds >= 0.3
    assert slow.figures["CPU s"] < 0.1  # it sleeps
    assert slow.peak_bytes > 2**20
    assert len({slow.figures["process"], fast.figures["process"], float(os.getpid())}) == 3


def dying(times: int) -> Work:
    """Work that ends its process, as the system does when memory is short."""
    done: list[None] = []

    def work() -> Mapping[str, float]:
        done.append(None)
        if len(done) > times:
            threading.Timer(0.05, os._exit, (9,)).start()
        time.sleep(0.25)
        return {}

    return work


def test_process_that_is_killed_between_its_turns_ends_nothing_else() -> None:
    ways = [Way("dying", dying, {"times": 1}), Way("sound", sleeper, {"seconds": 0.3})]
    (timings,) = duels([ways], rounds=3)
    assert timings["dying"] == "ended with status 9"
    assert isinstance(timings["sound"], Timing)
    assert len(timings["sound"].seconds) == 3


def test_several_builders_make_everything_ready_before_anything_is_timed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    works = [[Way(name, recorder, {"name": name, "log": log}) for name in names] for names in ("ab", "c")]

    log.touch()
    assert [list(timings) for timings in duels(works, rounds=1, builders=2)] == [["a", "b"], ["c"]]
    events = log.read_text().split()
    assert sorted(events[:6]) == ["a", "b", "build-a", "build-b", "build-c", "c"]
    assert events[6:] == ["a", "b", "c"]


def count_threads() -> None:
    os.environ["THREADS_AT_FIRST"] = str(threading.active_count())


def counted() -> Work:
    return lambda: {"threads": float(os.environ["THREADS_AT_FIRST"])}


def test_what_comes_at_first_comes_before_other_threads() -> None:
    (timings,) = duels([[Way("counted", counted, {}, count_threads)]], rounds=1)
    timing = timings["counted"]
    assert isinstance(timing, Timing)
    assert timing.figures["threads"] == 1.0


DUEL = """if True:
    import sys
    from pathlib import Path
    sys.path[:0] = sys.argv[1].split(":")
    from test_benchmark import endless
    from tools.duel import Way, duels
    if __name__ == "__main__":
        list(duels([[Way("endless", endless, {"log": Path(sys.argv[2])})]], 1))
"""


def endless(log: Path) -> Work:
    """Says which process it is, and never ends."""
    log.write_text(f"{os.getpid()}\n")
    while True:
        time.sleep(0.1)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "duel.py").write_text(DUEL)
    log = tmp_path / "log"
    arguments = [sys.executable, str(tmp_path / "duel.py"), f"{ROOT}:{SUPPORT}:{Path(__file__).parent}", str(log)]
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
        until(lambda: log.exists() and log.read_text().endswith("\n"))
        process.kill()
    worker = log.read_text().strip()
    until(lambda: not runs(worker))


def runs(process: str) -> bool:
    try:
        return "\nState:\tZ" not in Path("/proc", process, "status").read_text()
    except OSError:
        return False


def test_table_says_how_many_times_faster_aljax_is() -> None:
    ways = [Way("aljax", sleeper, {}), Way("eager", sleeper, {}), Way("compiled", sleeper, {})]
    timings: dict[str, Timing | str] = {
        "aljax": Timing([1.0, 2.0, 3.0], 9.0, 2**20, {"inertia": 5.0}),
        "eager": Timing([5.0, 6.0, 7.0], 1.0, 2**21, {}),
        "compiled": "RuntimeError: no compiler",
    }
    first, second, third = lines(Row("train", ways), timings)
    assert first.split() == ["train", "aljax", "2", "1", "-", "3", "9.0", "1", "inertia", "5"]
    assert second.split() == ["eager", "6", "5", "-", "7", "3.00", "x", "1.0", "2"]
    assert third.split() == ["compiled", "RuntimeError:", "no", "compiler"]


@pytest.mark.parametrize(
    ("gibibytes", "on_cpu", "batches"), [(63, True, [10]), (64, True, [10, 100]), (1, False, [10, 100])]
)
def test_a_hundred_tiles_are_left_out_where_a_cpu_has_no_room(gibibytes, on_cpu, batches, monkeypatch) -> None:
    monkeypatch.setattr(benchmark, "usable_memory", lambda: gibibytes << 30)
    rows = [row for row in benchmark.rows_of_network("float32", on_cpu) if row.name.startswith("train")]
    assert [row.ways[0].arguments["batch"] for row in rows] == batches
    assert [row.name.split(",")[1] for row in rows] == [f" batch {batch}" for batch in batches]


@pytest.mark.parametrize(
    "installed", [("onnx", "openvino", "onnxruntime", "faiss"), ("openvino",), ("onnx", "openvino"), ()]
)
def test_peers_have_lines_where_they_are_installed_and_can_do_the_work(installed, monkeypatch) -> None:
    monkeypatch.setattr(benchmark, "find_spec", lambda name: name if name in installed else None)
    engines = [
        name for name, module in (("OpenVINO", "openvino"), ("ONNX Runtime", "onnxruntime")) if module in installed
    ]
    engines = engines if "onnx" in installed else []  # which writes what they read
    for precision, on_cpu, expected in (
        ("float32", True, engines),
        ("bfloat16", True, [name for name in engines if name == "OpenVINO"]),
        ("float32", False, []),
    ):
        rows = [row for row in benchmark.rows_of_network(precision, on_cpu) if row.name.startswith("score")]
        assert [[way.name for way in row.ways] for row in rows] == [["aljax", *expected]] * len(rows)
    rows = [row for row in benchmark.rows_of_parts(True) if row.name.startswith("kmeans")]
    expected = ["aljax", "scikit-learn", *(["faiss"] if "faiss" in installed else [])]
    assert [[way.name for way in row.ways] for row in rows] == [expected] * len(rows)


def test_works_of_peers_do_what_their_rows_say() -> None:
    for package in ("onnx", "openvino", "onnxruntime", "faiss"):
        pytest.importorskip(package)
    passes = {"count": 2, "batch": 2, "size": 32, "bands": 3}
    for work in (peers.score_in_openvino(**passes, precision="float32"), peers.score_in_onnxruntime(**passes)):
        assert work() == {}
    found, own = (build(count=60, clusters=20)()["inertia"] for build in (peers.kmeans_in_faiss, kmeans_in_jax))
    assert 0.8 < found / own < 1.5


def test_out_that_is_a_folder_is_refused_before_anything_is_measured(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", "--rows", "kmeans (60", "--out", str(tmp_path)])
    monkeypatch.setattr(benchmark, "duels", lambda *arguments: pytest.fail("measured"))
    with pytest.raises(InputError, match="is a folder: name a file in it"):
        benchmark.main()
