"""What a run is computed on: the same command gives the same bytes only where this is the same."""

import os
from collections.abc import Mapping

import jax

from aljax.version import __version__


def describe_machine() -> dict[str, str | int]:
    """Device, its number of cores where it is a CPU (sums are rounded in another order on more), and versions."""
    device = jax.local_devices()[0]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = {"cores": usable} if device.platform == "cpu" else {}
    return {"device": device.device_kind, **cores, "jax": jax.__version__, "aljax": __version__}


def differences(now: Mapping[str, object], before: Mapping[str, object]) -> list[str]:
    """What differs between two machines, in words."""
    return [
        f"{name} {now.get(name, 'none')} instead of {before.get(name, 'none')}"
        for name in dict.fromkeys((*now, *before))
        if now.get(name) != before.get(name)
    ]
