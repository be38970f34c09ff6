"""The array types that signatures name (shapes are written out with jaxtyping), and casts of what users hand in."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

# Public functions take NumPy and JAX arrays alike.
AnyArray = jax.Array | np.ndarray


def as_array(values: Any) -> AnyArray:
    """JAX's arrays as they are; lists and NumPy's in the byte order of the machine.

    A compiled function that has seen native numbers takes big-endian ones, as FITS and netCDF store, for others without
    a word (JAX 0.10 to 0.12).
    """
    if isinstance(values, jax.Array):
        return values
    array = np.asarray(values)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def as_key(key: Array | int) -> Array:
    """A key as it is, or that of a whole number."""
    return key if isinstance(key, jax.Array) else jax.random.key(key)


def at_least_float32(array: Any) -> jax.Array:
    """Whole numbers, bools and half precision as float32; wider types as they are."""
    array = jnp.asarray(as_array(array))
    is_wide = jnp.issubdtype(array.dtype, jnp.inexact) and array.dtype.itemsize >= 4
    return array if is_wide else array.astype(jnp.float32)
