"""What a run is computed on."""

import os
import subprocess
import sys

import jax
import pytest

from aljax.errors import InputError
from aljax.system.machine import check_device

PROGRAM = "from aljax.commands.process import command, prepare_process; command(prepare_process)"


@pytest.mark.parametrize("platform", ["cuda", "no-such-thing"])
def test_device_that_is_not_there_is_one_line(platform: str) -> None:
    environment = {**os.environ, "JAX_PLATFORMS": platform, "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: JAX_PLATFORMS={platform} gives JAX no device (")
    assert line.endswith("): unset it, or install .[cuda] or .[tpu]")


def test_without_a_word_of_the_user_the_remedy_is_another(monkeypatch) -> None:
    def fail() -> None:
        raise RuntimeError("the driver is too old")

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    with pytest.raises(InputError, match=r"JAX finds no device \(the driver is too old\): set JAX_PLATFORMS=cpu"):
        check_device()
