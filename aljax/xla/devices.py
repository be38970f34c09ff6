"""Arrays on devices: batches are sharded over all devices of all processes, everything else is replicated.

A step over a sharded batch computes what it does on one device, batch statistics over the whole batch included; XLA
inserts the sums over devices, so that only the order of rounding differs. With several processes
(`aljax.runs.processes`) each one reads its own part of a batch. Batches are sharded where tiles are read
(`aljax.data.archive`), and functions compiled by `aljax.xla.compiling.jit` return replicated results; the code in
between does not refer to devices.
"""

import math
from functools import cache
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from aljax.system.machine import usable_cores

AXIS = "batch"
SomeTree = TypeVar("SomeTree")

# Size of a batch in prediction. On CPUs two tiles of 256 x 256 per core: with more, maps no longer fit the caches
# between two layers, and in a batch of 64 a tile takes 1.35 times as long.
PIXELS_PER_CORE = 2 * 256 * 256
LARGEST_ON_CPU = 64
# On an accelerator 256 tiles of 256 x 256: starting a batch took the host of an H200 as long as the card took for 80.
PIXELS_PER_ACCELERATOR = 256 * 256 * 256
LARGEST_ON_ACCELERATOR = 256


@cache
def _mesh() -> Mesh | None:
    """All devices in one axis, those of a process next to each other; None if there is only one."""
    devices = jax.devices()
    return Mesh(np.array(devices), (AXIS,)) if len(devices) > 1 else None


def on_each_device() -> NamedSharding | None:
    """The sharding of replicated arrays; None if there is only one device."""
    mesh = _mesh()
    return None if mesh is None else NamedSharding(mesh, PartitionSpec())


def rows_of_process(rows: Int[np.ndarray, " n"], batch_size: int) -> tuple[Int[np.ndarray, " k"], int]:
    """The part of `rows`, which are read in batches, that this process reads, and its rows (k) of each batch."""
    mesh = _mesh()
    if mesh is None or jax.process_count() == 1 or batch_size % mesh.size:
        return rows, batch_size
    part = batch_size // jax.process_count()
    start = part * jax.process_index()
    return rows.reshape(-1, batch_size)[:, start : start + part].ravel(), part


def shard_batch(tree: SomeTree, batch_size: int) -> SomeTree:
    """A batch on the devices, from this process's part (`rows_of_process`) of arrays whose first axis is the batch.

    Sharded over the devices, or replicated if their number does not divide `batch_size`.
    """
    mesh = _mesh()
    if mesh is None:
        return tree
    spec = PartitionSpec() if batch_size % mesh.size else PartitionSpec(AXIS)
    return _put(tree, NamedSharding(mesh, spec), batch_size)


def replicate(tree: SomeTree) -> SomeTree:
    """Arrays, equal in all processes, replicated on all devices."""
    sharding = on_each_device()
    return jax.device_put(tree) if sharding is None else _put(tree, sharding)


def _put(tree: SomeTree, sharding: NamedSharding, batch_size: int | None = None) -> SomeTree:
    """Puts arrays or, with a `batch_size`, this process's parts of batches on the devices."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    # jax.device_put would compare every array between the processes.
    def join(own: np.ndarray | jax.Array) -> jax.Array:
        if isinstance(own, jax.Array) and not own.is_fully_addressable:  # it is on all devices already
            return own
        own = np.asarray(own)
        shape = own.shape if batch_size is None else (batch_size, *own.shape[1:])
        return jax.make_array_from_process_local_data(sharding, own, shape)

    return jax.tree.map(join, tree)


def shard(array: jax.Array) -> jax.Array:
    """Shards the first axis over the devices inside a compiled function, also if they do not divide it evenly."""
    mesh = _mesh()
    return array if mesh is None else jax.lax.with_sharding_constraint(array, NamedSharding(mesh, PartitionSpec(AXIS)))


def tiles_at_once(height: int, width: int) -> int:
    """The batch size of prediction, from the pixels of a tile and the cores or accelerators; devices divide it."""
    devices = jax.device_count()
    if jax.default_backend() == "cpu":
        cores = int(broadcast_from_first(np.asarray(usable_cores(), np.int32)))
        pixels, largest = PIXELS_PER_CORE * cores * jax.process_count(), LARGEST_ON_CPU
    else:
        pixels, largest = PIXELS_PER_ACCELERATOR * devices, LARGEST_ON_ACCELERATOR * devices
    return math.ceil(min(max(pixels // (height * width), 1), largest) / devices) * devices


def broadcast_from_first(array: np.ndarray) -> np.ndarray:
    """The array of the first process, in all: processes whose machines round differently must decide alike."""
    if jax.process_count() == 1:
        return array
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(array))


def true_in_all(condition: bool) -> bool:
    """Whether the condition is true in every process."""
    if jax.process_count() == 1:
        return condition
    from jax.experimental import multihost_utils

    return bool(np.asarray(multihost_utils.process_allgather(np.asarray(condition))).all())
