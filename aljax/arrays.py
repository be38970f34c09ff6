"""The array types that signatures name (shapes are written out with jaxtyping), and a cast."""

import jax
import jax.numpy as jnp
import numpy as np

# Public functions take NumPy and JAX arrays alike.
AnyArray = jax.Array | np.ndarray


def at_least_float32(array: AnyArray) -> jax.Array:
    """Whole numbers, bools and half precision as float32; wider types as they are."""
    array = jnp.asarray(array)
    is_wide = jnp.issubdtype(array.dtype, jnp.inexact) and array.dtype.itemsize >= 4
    return array if is_wide else array.astype(jnp.float32)
