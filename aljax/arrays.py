"""The array types that signatures name; shapes are written out with jaxtyping."""

import jax
import numpy as np

# Public functions take NumPy and JAX arrays alike.
AnyArray = jax.Array | np.ndarray
