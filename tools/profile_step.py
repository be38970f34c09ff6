"""Where the time of a step goes: the largest operations of the compiled program, measured by JAX's profiler.

    python -m tools.profile_step --out profile.txt
    python -m tools.profile_step --work score --batch 64

On a CPU the operations are handed over one after the other; convolutions run on beside the next ones and are counted
until they have been handed over, so the sum is near the step, not the step. On a GPU the operations are the kernels,
and a training step is one of those that run there in a row.
"""

import gzip
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from aljax.commands.options import read_options
from aljax.commands.process import command
from aljax.errors import InputError
from aljax.system.files import check_output, disk_errors, write_atomically
from aljax.system.machine import describe_machine
from aljax.training.fitting import STEPS_PER_CALL
from tools.benchmarked import begin_scoring, begin_training

NAME = 80  # characters shown of an operation's name; those of a GPU's kernels can be a thousand long


def profile(
    work: Literal["train", "score"] = "train",
    batch: int = 10,
    size: int = 256,
    bands: int = 3,
    precision: Literal["float32", "bfloat16"] = "float32",
    items: int = 10,
    out: Path | None = None,
) -> None:
    """Profiles one step of DenseNet121 after one to warm up, and prints kinds of operations and single ones.

    Args:
        work: a step of training, or the scores of a batch
        batch: tiles per step
        size: height and width of the tiles in pixels
        bands: of the tiles, 3 or 4
        precision: of the convolutions
        items: lines of each list
        out: file for the lists
    """
    if min(batch, items) < 1 or size < 32 or bands not in (3, 4):
        raise InputError("--batch and --items are at least 1, --size at least 32, --bands 3 or 4: change them")
    if out is not None:
        check_output(out)
    begin = begin_training_step if work == "train" else begin_scoring_step
    step, operations = begin(batch, size, bands, precision)
    step()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            step()
        events = [event for trace in Path(folder).rglob("*.trace.json.gz") for event in read_operations(trace)]
    if not events:
        raise InputError("the profiler saw no operation: this version of JAX does not report them on this device")
    text = describe(
        events,
        read_program(operations),
        items,
        f"{'training' if work == 'train' else 'scoring'} step, batch {batch}, {size} x {size} x {bands}, {precision}",
    )
    print(text)
    if out is not None:
        with disk_errors(out):
            write_atomically(out, text + "\n")


def begin_training_step(batch: int, size: int, bands: int, precision: str) -> tuple[Callable[[], None], str]:
    """What does one step and waits for it, and its compiled program."""
    on_cpu = jax.default_backend() == "cpu"
    program, static, *carries, rest = begin_training(batch, size, bands, precision, 1 if on_cpu else STEPS_PER_CALL)
    if not on_cpu:
        rest = (*rest[:-1], np.array([0, 1], np.int32))  # one of those in a row
    compiled = program.jitted().lower(*static, *carries[0], *rest).compile()

    def step() -> None:
        carries[0], _ = jax.block_until_ready(compiled(*carries[0], *rest))

    return step, compiled.as_text() or ""


def begin_scoring_step(batch: int, size: int, bands: int, precision: str) -> tuple[Callable[[], None], str]:
    """The same for the scores of a batch."""
    program, static, rest = begin_scoring(batch, size, bands, precision)
    compiled = program.jitted().lower(*static, *rest).compile()
    return lambda: jax.block_until_ready(compiled(*rest)), compiled.as_text() or ""


def read_operations(trace: Path) -> Iterator[Mapping[str, Any]]:
    """The operations among a trace's events."""
    with gzip.open(trace) as file:
        events = json.load(file)["traceEvents"]
    return (event for event in events if event.get("ph") == "X" and "hlo_op" in event.get("args", {}))


def read_program(text: str) -> dict[str, str]:
    """Shape and origin of each instruction of a compiled program: `f32[10,64,64,32] block1/layer1/conv2`.

    A fusion comes from several places; its line names the one of its result.
    """
    pattern = r"^\s+(?:ROOT )?%?([\w.\-]+) = (\S+?\[[\d,]*\])[^\n]*?op_name=\"([^\"]*)\""
    return {
        name: f"{shape} {re.sub(r'^((jit[(](call|train_on_[a-z]+|predict_batch)[)]|call_exported)/)+', '', origin)}"
        for name, shape, origin in re.findall(pattern, text, re.MULTILINE)
    }


def origin_of(name: str, program: Mapping[str, str]) -> str:
    """What `read_program` found of an operation; a GPU's kernel has an underscore before its number."""
    return program.get(name) or program.get(re.sub(r"_(\d+)$", r".\1", name), "")


def describe(events: list[Mapping[str, Any]], program: Mapping[str, str], items: int, title: str) -> str:
    """The lists as text: kinds of operations by their names without numbers, then single operations."""
    kinds: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    single: Counter[str] = Counter()
    for event in events:
        milliseconds = event["dur"] / 1000
        kind = re.sub(r"[._\d]+$", "", event["name"])
        kinds[kind] += milliseconds
        counts[kind] += 1
        single[event["name"]] += milliseconds
    total = sum(kinds.values())
    lines = [f"{title}; {', '.join(f'{name} {value}' for name, value in describe_machine().items())}"]
    lines += [
        f"{total:.0f} ms in {len(events)} operations",
        "",
        f"{'ms':>9}{'share':>8}{'number':>8}  kind of operation",
    ]
    lines += [f"{ms:9.1f}{ms / total:8.1%}{counts[kind]:8d}  {kind[:NAME]}" for kind, ms in kinds.most_common(items)]
    lines += ["", f"{'ms':>9}{'share':>8}  operation"]
    lines += [
        f"{ms:9.1f}{ms / total:8.1%}  {name[:NAME]} {origin_of(name, program)}".rstrip()
        for name, ms in single.most_common(items)
    ]
    return "\n".join(lines)


def main() -> None:
    """Parses the command line and profiles."""
    read_options(profile, "python -m tools.profile_step", __doc__)


if __name__ == "__main__":
    command(main)
