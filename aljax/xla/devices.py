"""Spreading a batch over all devices, of this process and of those that it works with: XLA adds what has to be added.

A step over a spread batch computes what it would on one device, with batch statistics over the whole batch; only sums
are rounded in another order. With several processes (`aljax.runs.processes`) each one reads its own share of a batch.
"""

from functools import cache
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

AXIS = "batch"
SomeTree = TypeVar("SomeTree")


@cache
def _mesh() -> Mesh | None:
    """All devices in a row, those of a process beside each other; None where there is one."""
    devices = jax.devices()
    return Mesh(np.array(devices), (AXIS,)) if len(devices) > 1 else None


def _sharding(mesh: Mesh, batch_size: int) -> NamedSharding:
    """Divided over the devices, or the whole on each if they cannot divide it."""
    return NamedSharding(mesh, PartitionSpec() if batch_size % mesh.size else PartitionSpec(AXIS))


def own_share(rows: Int[np.ndarray, " n"], batch_size: int) -> tuple[Int[np.ndarray, " k"], int]:
    """What this process reads of rows that are read in batches, and how many rows of each batch that are."""
    mesh = _mesh()
    if mesh is None or jax.process_count() == 1 or batch_size % mesh.size:
        return rows, batch_size
    part = batch_size // jax.process_count()
    start = part * jax.process_index()
    return rows.reshape(-1, batch_size)[:, start : start + part].ravel(), part


def spread(tree: SomeTree, batch_size: int) -> SomeTree:
    """A batch on the devices, from this process's share of arrays whose first axis is the batch."""
    mesh = _mesh()
    if mesh is None:
        return tree
    return _put(tree, _sharding(mesh, batch_size), batch_size)


def replicate(tree: SomeTree) -> SomeTree:
    """Arrays, in every process the same, on each of the devices."""
    mesh = _mesh()
    return jax.device_put(tree) if mesh is None else _put(tree, NamedSharding(mesh, PartitionSpec()))


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


def divide(array: jax.Array) -> jax.Array:
    """Inside a compiled function: from here on each device works on its part of the first axis, evenly or not."""
    mesh = _mesh()
    return array if mesh is None else jax.lax.with_sharding_constraint(array, NamedSharding(mesh, PartitionSpec(AXIS)))


def agree(array: np.ndarray) -> np.ndarray:
    """The first process's array, in all of them: where machines round differently they must still decide the same."""
    if jax.process_count() == 1:
        return array
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(array))


def all_agree(wanted: bool) -> bool:
    """Whether every process wants it."""
    if jax.process_count() == 1:
        return wanted
    from jax.experimental import multihost_utils

    return bool(np.asarray(multihost_utils.process_allgather(np.asarray(wanted))).all())


def gather(tree: SomeTree) -> SomeTree:
    """Inside a compiled function: from here on each device has the whole, so every process can read it."""
    mesh = _mesh()
    if mesh is None or jax.process_count() == 1:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))
