"""Device, cores and memory. A command gives the same bytes again only where `describe_machine` gives the same."""

import os
import platform
import resource
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import jax

from aljax.errors import InputError
from aljax.version import __version__

DEVICES = "devices"
# Environment variable: the number of processes that share the memory.
SIDE_BY_SIDE = "ALJAX_SIDE_BY_SIDE"


def check_device() -> None:
    """Raises InputError if JAX finds no device to compute on, or not the one that it is told to take."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # with an empty message if a plugin is missing
        reason = str(error) or "its plugin is not installed"
        if platforms := os.environ.get("JAX_PLATFORMS"):
            message = (
                f"JAX_PLATFORMS={platforms} gives JAX no device ({reason}): unset it, or install .[cuda] or .[tpu]"
            )
        else:
            message = f"JAX finds no device ({reason}): set JAX_PLATFORMS=cpu, or install .[cuda] or .[tpu] anew"
        raise InputError(message) from error


def describe_machine() -> dict[str, str | int]:
    """Device, versions, and the numbers of cores (CPU) and devices (if several), which change the order of sums."""
    device = jax.local_devices()[0]
    versions: dict[str, str | int] = {"jax": jax.__version__, "aljax": __version__}
    if jax.device_count() > 1:
        versions = {DEVICES: jax.device_count(), **versions}
    if device.platform != "cpu":
        return {"device": device.device_kind, **versions}
    return {"device": f"cpu ({_name_of_cpu()})", "cores": usable_cores(), **versions}


def usable_cores() -> int:
    """CPU cores that this process may use: runs side by side and clusters may have fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_memory() -> int:
    """Bytes that this process may use: the machine's memory, or the limit of its cluster, container or shell.

    Divided by the number in the environment variable `SIDE_BY_SIDE`, if it is set.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_limits_of_group()]
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        limits.append(address_space)
    sharers = os.environ.get(SIDE_BY_SIDE, "")
    return min(limits) // max(int(sharers) if sharers.isdecimal() else 1, 1)


def _limits_of_group(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """Memory limits of the process's control group and of its parents, for cgroups of version 1 and 2."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # another system than Linux
        return []
    limits = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        group = top / path.lstrip("/")
        # In a container the path may be that of the host, with the files of the group at the top.
        for folder in {top, *(parent for parent in (group, *group.parents) if parent.is_relative_to(top))}:
            with suppress(OSError, ValueError):
                limits.append(int((folder / name).read_text(encoding="utf-8")))
    return limits


@cache
def _name_of_cpu() -> str:
    """The model of the CPU; other models have other instructions, which round in another order."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # another system than Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def differences(now: Mapping[str, object], before: Mapping[str, object]) -> list[str]:
    """The differences between two results of `describe_machine`, in words."""
    now, before = ({**one, DEVICES: one.get(DEVICES, 1)} for one in (now, before))
    return [
        f"{name} {now.get(name, 'none')} instead of {before.get(name, 'none')}"
        for name in dict.fromkeys((*now, *before))
        if now.get(name) != before.get(name)
    ]


def caches_dir() -> Path:
    """`aljax` in XDG_CACHE_HOME or else in `~/.cache`. Raises InputError if the user has no home folder."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "aljax"
    try:
        return Path.home() / ".cache" / "aljax"
    except RuntimeError as error:
        raise InputError("this user has no home folder for what is kept between runs: set XDG_CACHE_HOME") from error
