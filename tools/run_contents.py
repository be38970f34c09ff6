"""The results of a finished run, in a form in which two runs can be compared."""

import json
import os
from pathlib import Path

from aljax.loop.history import TIMES
from aljax.runs.checkpoints import files_beside, list_checkpoints, read_newest

FILES = ("config.json", "curve.png", "summary.json")


def contents(run_dir: Path) -> dict[str, object]:
    """By name, everything that must be equal in two runs of one command: all but times and checkpoint numbers."""
    lines = [json.loads(line) for line in (run_dir / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    newest = read_newest(run_dir / "checkpoints")
    assert newest is not None
    vectors = {name: vector.tobytes() for name, vector in newest.vectors.items()}
    numbers = list_checkpoints(run_dir / "checkpoints")
    complete = {*map(str, numbers), *(f"{number}.sha256" for number in numbers)}
    complete |= {path.name for number in numbers for path in files_beside(run_dir / "checkpoints", number)}
    return {
        **{name: (run_dir / name).read_bytes() for name in FILES},
        "history.jsonl": [{name: value for name, value in line.items() if name not in TIMES} for line in lines],
        "labelled tiles": newest.facts["rounds"],
        "weights and probabilities": (newest.facts["arrays"], vectors),
        "probabilities": {
            str(path.relative_to(run_dir)): path.read_bytes() for path in sorted(run_dir.glob("probabilities/*/*"))
        },
        "files": sorted(os.listdir(run_dir)),
        "unfinished checkpoints": sorted(set(os.listdir(run_dir / "checkpoints")) - complete),
    }


def differences(found: dict[str, object], expected: dict[str, object]) -> list[str]:
    """Names of the results that differ."""
    return [name for name in expected if found[name] != expected[name]]
