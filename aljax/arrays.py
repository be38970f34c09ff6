"""The array types that signatures name (shapes are written out with jaxtyping), and casts of what users hand in."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Shaped

# Public functions take NumPy and JAX arrays alike.
AnyArray = jax.Array | np.ndarray

# In a table of labels (uint8) a cell of which nobody knows whether it is 1 or 0.
UNKNOWN = 255


def in_native_order(array: np.ndarray) -> np.ndarray:
    """The array in the byte order of the machine.

    A compiled function that has seen native numbers takes big-endian ones, as FITS and netCDF store, for others without
    a word (JAX 0.10 to 0.12).
    """
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def are_labels(cells: AnyArray) -> Any:
    """Which cells are 0, 1 or UNKNOWN; the latter in uint8 alone, as tables of labels are."""
    return (cells == 0) | (cells == 1) | ((cells == UNKNOWN) & (cells.dtype == np.uint8))


def as_array(values: Any) -> AnyArray:
    """JAX's arrays as they are; lists and NumPy's in the byte order of the machine.

    Raises ValueError for what is masked, as nobody knows what stands there, and for what is no real number.
    """
    if isinstance(values, jax.Array):
        return values
    if np.ma.is_masked(values):
        raise ValueError("an array has masked values: fill them, or leave their tiles out")
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"an array is of type {array.dtype}: give real numbers")
    return in_native_order(array.astype(np.float64) if array.dtype.itemsize > 8 else array)


def repeated(values: Shaped[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Which values occur more than once."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    return count[group] > 1


def as_key(key: Any) -> Array:
    """A key as it is, or that of a whole number. Raises ValueError for anything else, several keys too."""
    found = key if isinstance(key, jax.Array) else np.asarray(key)
    if isinstance(found, jax.Array) and jnp.issubdtype(found.dtype, jax.dtypes.prng_key) and found.ndim == 0:
        return found
    if found.dtype == np.uint32 and found.ndim == 1:  # as jax.random.PRNGKey makes
        return jnp.asarray(found)
    if found.ndim == 0 and found.dtype.kind in "iu":
        if isinstance(found, jax.Array):
            return jax.random.key(found)
        if -(2**31) <= int(found) < 2**32:  # of a larger one JAX takes the last 32 bits
            return jax.random.key(int(found))
    what = f"an array of shape {found.shape}" if found.ndim else repr(key)
    raise ValueError(f"the key is {what}: give a whole number of 32 bits, or one key of jax.random")


def at_least_float32(array: Any) -> jax.Array:
    """Whole numbers, bools and half precision as float32; wider types as they are."""
    array = jnp.asarray(as_array(array))
    is_wide = jnp.issubdtype(array.dtype, jnp.inexact) and array.dtype.itemsize >= 4
    return array if is_wide else array.astype(jnp.float32)
