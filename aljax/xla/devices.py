"""Where arrays live: batches divided over all devices, of this process and of others, the rest on each of them.

A step over a divided batch computes what it would on one device, with batch statistics over the whole batch: XLA adds
what has to be added, and only sums are rounded in another order. With several processes (`aljax.runs.processes`) each
one reads its own share of a batch. Batches are placed where tiles are read (`aljax.data.archive`), results come back
whole from what `aljax.xla.compiling.jit` compiles; what lies between knows of no devices.
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

# Tiles that are predicted at once. Two of 256 x 256 for each core: with more, what a layer hands to the next leaves the
# caches, and a tile of 64 takes 1.35 times as long.
PIXELS_PER_CORE = 2 * 256 * 256
LARGEST_ON_CPU = 64
# 256 of 256 x 256 for each accelerator: handing a batch over took the host of an H200 as long as the card took for 80.
PIXELS_PER_ACCELERATOR = 256 * 256 * 256
LARGEST_ON_ACCELERATOR = 256


@cache
def _mesh() -> Mesh | None:
    """All devices in a row, those of a process beside each other; None where there is one."""
    devices = jax.devices()
    return Mesh(np.array(devices), (AXIS,)) if len(devices) > 1 else None


def on_each_device() -> NamedSharding | None:
    """The whole array on each device; None where there is one."""
    mesh = _mesh()
    return None if mesh is None else NamedSharding(mesh, PartitionSpec())


def rows_of_process(rows: Int[np.ndarray, " n"], batch_size: int) -> tuple[Int[np.ndarray, " k"], int]:
    """What this process reads of rows that are read in batches, and how many rows of each batch that are."""
    mesh = _mesh()
    if mesh is None or jax.process_count() == 1 or batch_size % mesh.size:
        return rows, batch_size
    part = batch_size // jax.process_count()
    start = part * jax.process_index()
    return rows.reshape(-1, batch_size)[:, start : start + part].ravel(), part


def shard_batch(tree: SomeTree, batch_size: int) -> SomeTree:
    """A batch on the devices, from this process's share of arrays whose first axis is the batch.

    Divided over the devices, or the whole on each if they cannot divide it.
    """
    mesh = _mesh()
    if mesh is None:
        return tree
    spec = PartitionSpec() if batch_size % mesh.size else PartitionSpec(AXIS)
    return _put(tree, NamedSharding(mesh, spec), batch_size)


def replicate(tree: SomeTree) -> SomeTree:
    """Arrays, in every process the same, on each of the devices."""
    sharding = on_each_device()
    return jax.device_put(tree) if sharding is None else _put(tree, sharding)


def _put(tree: SomeTree, sharding: NamedSharding, batch_size: int | None = None) -> SomeTree:
    """Arrays, or this process's shares of batches, on the devices."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    # jax.device_put would compare every array between the processes.
    def join(own: np.ndarray | jax.Array) -> jax.Array:
        if isinstance(own, jax.Array) and not own.is_fully_addressable:  # it is on all of them already
            return own
        own = np.asarray(own)
        shape = own.shape if batch_size is None else (batch_size, *own.shape[1:])
        return jax.make_array_from_process_local_data(sharding, own, shape)

    return jax.tree.map(join, tree)


def shard(array: jax.Array) -> jax.Array:
    """Inside a compiled function: from here on each device works on its part of the first axis, evenly or not."""
    mesh = _mesh()
    return array if mesh is None else jax.lax.with_sharding_constraint(array, NamedSharding(mesh, PartitionSpec(AXIS)))


def tiles_at_once(height: int, width: int) -> int:
    """How many tiles to predict at once, by their pixels and the cores or accelerators: a share for every device."""
    devices = jax.device_count()
    if jax.default_backend() == "cpu":
        cores = int(broadcast_from_first(np.asarray(usable_cores(), np.int32)))
        pixels, largest = PIXELS_PER_CORE * cores * jax.process_count(), LARGEST_ON_CPU
    else:
        pixels, largest = PIXELS_PER_ACCELERATOR * devices, LARGEST_ON_ACCELERATOR * devices
    return math.ceil(min(max(pixels // (height * width), 1), largest) / devices) * devices


def broadcast_from_first(array: np.ndarray) -> np.ndarray:
    """The first process's array, in all of them: where machines round differently they must still decide the same."""
    if jax.process_count() == 1:
        return array
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(array))


def true_in_all(condition: bool) -> bool:
    """Whether it is so in every process."""
    if jax.process_count() == 1:
        return condition
    from jax.experimental import multihost_utils

    return bool(np.asarray(multihost_utils.process_allgather(np.asarray(condition))).all())
