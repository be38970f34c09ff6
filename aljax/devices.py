"""Spreading a batch over all local devices: XLA adds what has to be added between them.

A step over a spread batch computes what it would on one device, with batch statistics over the whole batch; only sums
are rounded in another order.
"""

from functools import cache
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "batch"
SomeTree = TypeVar("SomeTree")


@cache
def _mesh() -> Mesh | None:
    """All local devices in a row; None where there is one."""
    devices = jax.local_devices()
    return Mesh(np.array(devices), (AXIS,)) if len(devices) > 1 else None


def spread(tree: SomeTree, batch_size: int) -> SomeTree:
    """Arrays whose first axis is the batch, divided over the devices, or copied to each if they cannot divide it."""
    mesh = _mesh()
    if mesh is None:
        return tree
    whole = batch_size % mesh.size
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec() if whole else PartitionSpec(AXIS)))


def replicate(tree: SomeTree) -> SomeTree:
    """Arrays copied to each of the devices."""
    mesh = _mesh()
    return tree if mesh is None else jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def divide(array: jax.Array) -> jax.Array:
    """Inside a compiled function: from here on each device works on its part of the first axis, evenly or not."""
    mesh = _mesh()
    return array if mesh is None else jax.lax.with_sharding_constraint(array, NamedSharding(mesh, PartitionSpec(AXIS)))
