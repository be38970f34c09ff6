"""The array types that signatures name (shapes are written out with jaxtyping), and a cast."""

import jax
import jax.numpy as jnp
import numpy as np

# Public functions take NumPy and JAX arrays alike.
AnyArray = jax.Array | np.ndarray


def at_least_float32(array: AnyArray) -> jax.Array:
    """Whole numbers, bools and half precision as float32; wider types as they are."""
    array = jnp.asarray(array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))
