"""What only a GPU or TPU can show: a run that moves between devices, and the same bytes again."""

import os
import subprocess
from pathlib import Path

import jax
import pytest
from small_runs import as_process, kill_after_saves

from aljax.xla.compiling import DETERMINISTIC
from tools.run_contents import contents, differences

pytestmark = pytest.mark.skipif(jax.default_backend() == "cpu", reason="needs an accelerator")


@pytest.mark.parametrize("towards", ["accelerator", "cpu"])
def test_run_goes_on_on_another_device_and_says_so(towards: str, tmp_path: Path) -> None:
    there, here = {**os.environ, "JAX_PLATFORMS": "cpu"}, {**os.environ}
    if towards == "cpu":
        there, here = here, there
    kill_after_saves(tmp_path, 11, there)
    ended = subprocess.run(
        as_process(tmp_path, 0.0), cwd=tmp_path, env=here, capture_output=True, text=True, check=True
    )
    assert "warning: run goes on with device " in ended.stderr
    assert "not the same bytes" in ended.stderr
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 3


def test_deterministic_runs_write_the_same_bytes(tmp_path: Path) -> None:
    environment = {**os.environ, "XLA_FLAGS": DETERMINISTIC}
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        arguments = as_process(tmp_path / name, 1e9)
        subprocess.run(arguments, cwd=tmp_path / name, env=environment, check=True, stderr=subprocess.DEVNULL)
    assert differences(contents(tmp_path / "first" / "run"), contents(tmp_path / "second" / "run")) == []
