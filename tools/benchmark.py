"""Times aljax on this machine against PyTorch, scikit-learn and other peers, in alternating rounds.

    python -m tools.benchmark
    python -m tools.benchmark --rows kmeans score --rounds 7 --out benchmark.json

A row is a task, which several implementations do in turns, each in a process of its own. Printed are the median of the
rounds with their range, how many times faster aljax is, the time of the first round (mostly compilation), and the peak
memory. PyTorch and the peers (OpenVINO and ONNX Runtime for scoring on a CPU, faiss for k-means, scikit-activeml) are
extras: pip install -e .[torch,peers]; without them their lines are missing. On an accelerator training is timed over 32
consecutive steps, also with --deterministic. Steps on a hundred tiles are left out on a CPU with less than 64 GiB of
memory. Selections are those of Table I, on a part of the pool where the whole would take hours. Features of a million
rows take 1 GB of the temporary folder.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from aljax.commands.options import read_options
from aljax.commands.process import command
from aljax.errors import InputError
from aljax.system.files import check_output, disk_errors, make_folder, write_atomically
from aljax.system.machine import describe_machine, usable_memory
from aljax.training.fitting import STEPS_PER_CALL
from aljax.xla.heap import keep_freed_memory
from tools import benchmarked
from tools import benchmarked_features as work
from tools import benchmarked_peers as peers
from tools.duel import Timing, Way, Work, duels

SCORED_ON_CPU = 4  # tiles at once that are fastest with two cores, for PyTorch too
# Steps on a hundred tiles in float32 took 16 GiB in aljax and 18 in eager PyTorch; three processes are kept for a row.
ROOM_FOR_A_HUNDRED = 64 << 30
# Packages whose versions are told, by the modules that show that they are there.
BESIDE = {"torch": "torch", "openvino": "openvino", "onnxruntime": "onnxruntime", "faiss-cpu": "faiss"}
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    rows: tuple[str, ...] = ()  # beginnings of the names of rows to measure (default: all that this machine can)
    rounds: int = 5  # rounds of each row
    pool_share: float = 0.0  # share of the pool in a selection; 0: all on an accelerator, 1/20 on a CPU
    precision: tuple[Precision, ...] = ()  # one or both (default: both on an accelerator, float32 on a CPU)
    builders: int = 1  # how many ways get ready (compile) at once; several: those of all rows before any is timed
    out: Path | None = None  # JSON file for the figures


class Row(NamedTuple):
    """A task and the ways to do it; that of aljax is the first."""

    name: str
    ways: list[Way]


def own(name: str, build: Callable[..., Work], **arguments: Any) -> Way:
    """A way of aljax, in a process that keeps freed memory like those of its commands."""
    return Way(name, build, arguments, keep_freed_memory)


def beside_torch(work: str, arguments: dict[str, Any], **of_torch: Any) -> list[Way]:
    """The ways of aljax and, where it is installed, of PyTorch, which may take arguments of its own."""
    ways = [own("aljax", getattr(benchmarked, f"{work}_in_jax"), **arguments)]
    if find_spec("torch") is not None:
        from tools import benchmarked_torch

        build = getattr(benchmarked_torch, f"{work}_in_torch")
        for name in ("eager", "compiled"):
            ways.append(Way(name, build, {**arguments, **of_torch, "compiled": name == "compiled"}))
    return ways


def beside_engines(arguments: dict[str, Any]) -> list[Way]:
    """The ways of inference engines to score on a CPU, of those that are installed."""
    ways: list[Way] = []
    if find_spec("onnx") is None:
        return ways
    if find_spec("openvino") is not None:
        ways.append(Way("OpenVINO", peers.score_in_openvino, arguments))
    if find_spec("onnxruntime") is not None and arguments["precision"] == "float32":
        given = {name: value for name, value in arguments.items() if name != "precision"}
        ways.append(Way("ONNX Runtime", peers.score_in_onnxruntime, given))
    return ways


def rows_of_network(precision: str, on_cpu: bool) -> Iterator[Row]:
    """Training steps, passes over tiles of 256 x 256 x 3, and the start of a process."""
    common = {"size": 256, "bands": 3, "precision": precision}
    for batch in (10,) if on_cpu and usable_memory() < ROOM_FOR_A_HUNDRED else (10, 100):
        arguments = {"batch": batch, "steps": 1 if on_cpu else STEPS_PER_CALL, **common}
        ways = beside_torch("train", arguments)
        if not on_cpu and batch == 10:
            ways.append(own("deterministic", benchmarked.train_in_jax, **arguments, deterministic=True))
        steps = "" if on_cpu else f", {STEPS_PER_CALL} steps"
        yield Row(f"train, batch {batch}, {precision}{steps}", ways)
    for batch in (SCORED_ON_CPU, 64, 256) if on_cpu else (64, 256):
        # A pass of several batches, as over a pool: a single one would run on caches filled by the other process.
        count = max(batch, 64) if on_cpu else batch * 4
        arguments = {"count": count, "batch": batch, **common}
        ways = beside_torch("score", arguments) + (beside_engines(arguments) if on_cpu else [])
        yield Row(f"score, batch {batch}, {precision}", ways)
    # Each process finds the compiled programs of the one before it; the first finds none.
    yield Row(f"start, batch 10, {precision}", [own("aljax", benchmarked.start_in_jax, batch=10, **common)])


def rows_of_parts(on_cpu: bool) -> Iterator[Row]:
    """MGE scores with and without the gradients themselves, and k-means beside scikit-learn and faiss."""
    count, build = 4000 if on_cpu else 37_531, benchmarked.mge_in_jax
    ways = [own(name, build, count=count, materialised=name == "gradients") for name in ("aljax", "gradients")]
    yield Row(f"mge_scores, {count} tiles", ways)
    for count, clusters in ((60, 20), (4000, 1000), (12_000, 3000), (40_000, 10_000)):
        points = {"count": count, "clusters": clusters}
        ways = [own("aljax", benchmarked.kmeans_in_jax, **points)]
        ways.append(Way("scikit-learn", benchmarked.kmeans_in_sklearn, points))
        if find_spec("faiss") is not None:
            ways.append(Way("faiss", peers.kmeans_in_faiss, points))
        yield Row(f"kmeans ({count}, {clusters}, 1024)", ways)


def rows_of_features() -> Iterator[Row]:
    """A round over a million rows on disk beside one pass of NumPy over them, the head's fit, pool-wide choices."""
    pool = {"pool": 1_000_000, "width": 512}
    ways = [own("aljax", work.round_in_jax, **pool), Way("one pass of NumPy", work.pass_in_numpy, pool)]
    yield Row("round, features (1000000, 512) on disk", ways)
    labelled = {"count": 1000, "width": 1024}
    ways = [own("aljax", work.fit_in_jax, **labelled), Way("scikit-learn", work.fit_in_sklearn, labelled)]
    yield Row("head, fit and prediction, (1000, 1024, 17)", ways)
    # Beside scikit-activeml a tenth of a batch of 1,000: it takes as long for each tile of it. For BADGE a fifth of the
    # pool: it keeps the N x D x C gradients, and took 14 GB with 100,000 tiles.
    for choice, count in (("badge", 20_000), ("coreset", 100_000)):
        arguments = {"choice": choice, "count": count, "width": 512, "labelled": 2000, "budget": 100}
        ways = [own("aljax", work.choose_in_jax, **arguments)]
        if find_spec("skactiveml") is not None:
            ways.append(Way("scikit-activeml", work.choose_in_skactiveml, arguments))
        yield Row(f"{choice}, features ({count}, 512), b = 100", ways)


def rows_of_iteration(precision: str, on_cpu: bool, share: float) -> Iterator[Row]:
    """A whole iteration of active learning (fit, evaluation, selection), and selections in the shapes of Table I."""
    labelled, epochs, pool = (40, 2, 200) if on_cpu else (200, 20, 1050)
    arguments = {"labelled": labelled, "epochs": epochs, "pool": pool, "size": 256, "bands": 3, "precision": precision}
    ways = beside_torch("iterate", arguments, at_once=SCORED_ON_CPU if on_cpu else 64)
    if on_cpu and find_spec("onnx") is not None and find_spec("openvino") is not None:
        for name, scored_in in (("OpenVINO f32", "float32"), ("OpenVINO bf16", "bfloat16")):
            by_engine = {**arguments, "engine": "openvino", "engine_precision": scored_in}
            ways.append(own(name, benchmarked.iterate_in_jax, **by_engine))
    yield Row(f"iteration, {labelled} labels, {epochs} epochs, {pool} tiles, {precision}", ways)
    shapes = {"UC Merced": (1010, 256, 3, 20, 3), "TreeSatAI": (37_531, 288, 4, 1000, 4)}
    for archive, (pool, size, bands, budget, multiplier) in shapes.items():
        tiles = max(round(share * pool), min(multiplier * budget, pool))
        arguments = {"pool": tiles, "size": size, "bands": bands, "precision": precision}
        arguments |= {"budget": budget, "multiplier": multiplier}
        ways = [
            own("aljax" if query == "mge" else query, benchmarked.select_in_jax, query=query, **arguments)
            for query in ("mge", "ll", "tpd")
        ]
        part = "" if tiles == pool else f" {tiles} of {pool} tiles"
        yield Row(f"select, {archive}{part}, {precision}", ways)


def all_rows(settings: Settings) -> Iterator[Row]:
    """All rows that this machine can measure, with the settings' pool share and precisions."""
    on_cpu = jax.default_backend() == "cpu"
    share = settings.pool_share or (0.05 if on_cpu else 1.0)
    precisions = settings.precision or (("float32",) if on_cpu else ("float32", "bfloat16"))
    for precision in precisions:
        yield from rows_of_network(precision, on_cpu)
    yield from rows_of_parts(on_cpu)
    yield from rows_of_features()
    for precision in precisions:
        yield from rows_of_iteration(precision, on_cpu, share)


HEADER = f"{'work':<52}{'way':<14}{'seconds':>10}{'range':>20}{'aljax is':>12}{'first':>10}{'MiB':>8}  other"


def lines(row: Row, timings: dict[str, Timing | str]) -> Iterator[str]:
    """The row's part of the table, a line for each way."""
    own = timings[row.ways[0].name]
    for number, (name, timing) in enumerate(timings.items()):
        start = f"{row.name if not number else '':<52}{name:<14}"
        if isinstance(timing, str):
            yield f"{start}{timing}"
            continue
        span = f"{min(timing.seconds):.3g} - {max(timing.seconds):.3g}"
        faster = f"{timing.median / own.median:.2f} x" if number and isinstance(own, Timing) else ""
        other = ", ".join(f"{what} {value:.6g}" for what, value in timing.figures.items())
        peak = timing.peak_bytes / 2**20
        yield f"{start}{timing.median:>10.3g}{span:>20}{faster:>12}{timing.first_seconds:>10.1f}{peak:>8.0f}  {other}"


def machine() -> dict[str, Any]:
    """The machine and versions of the measurements."""
    beside = {name: version(name) for name, module in BESIDE.items() if find_spec(module) is not None}
    return {**describe_machine(), "cpu cores": os.cpu_count(), **beside, "devices": len(jax.local_devices())}


def main() -> None:
    """Measures row by row and prints each as it comes."""
    settings = read_options(Settings, "python -m tools.benchmark", __doc__)
    if min(settings.rounds, settings.builders) < 1 or not 0.0 <= settings.pool_share <= 1.0:
        raise InputError("--rounds and --builders are at least 1, --pool-share between 0 and 1: change them")
    if settings.out is not None:
        make_folder(settings.out.parent)
        check_output(settings.out)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share an accelerator
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    print(HEADER, flush=True)
    rows = [row for row in all_rows(settings) if not settings.rows or row.name.startswith(settings.rows)]
    if not rows:
        raise InputError(f"--rows {' '.join(settings.rows)} names no row: give beginnings of names, such as kmeans")
    results = {}
    for row, timings in zip(rows, duels([row.ways for row in rows], settings.rounds, settings.builders), strict=True):
        results[row.name] = {way: got if isinstance(got, str) else got._asdict() for way, got in timings.items()}
        print("\n".join(lines(row, timings)), flush=True)
        if settings.out is not None:
            with disk_errors(settings.out):
                write_atomically(settings.out, json.dumps({"machine": about, "rows": results}, indent=2) + "\n")


if __name__ == "__main__":
    command(main)
