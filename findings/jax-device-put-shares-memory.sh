#!/bin/sh
# JAX 0.10.2, CPU: jax.device_put shares its memory with NumPy, or does not, as the memory happens to lie.
#
# JAX's arrays cannot be changed, and jax.numpy.asarray copies what NumPy gives it. One would guess that
# jax.device_put, which moves data to a device, copies too, and at least with `may_alias=False`, of which its
# documentation says that the array will be copied. On a CPU neither does where the first byte's address is a multiple
# of 64: the new array is the old memory, and what is written there later is in it. Elsewhere both copy. Memory that is
# mapped from a file always begins at such an address, that of np.zeros sometimes does. `may_alias=False` counts for
# arrays of JAX's own only; jax.numpy.array(..., copy=True) makes the copy.
#
# Why it matters: a buffer that is filled with one batch of tiles after another changes the batches before it, on some
# runs and not on others. Weights that are put on the device are changed by who still holds NumPy's arrays of them.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu venv/bin/python - <<'END'
import sys

import jax
import jax.numpy as jnp
import numpy as np

print("JAX", jax.__version__, "NumPy", np.__version__, "on", jax.default_backend())


def buffer_at(offset):
    """Zeros that begin so many bytes after a multiple of 64."""
    memory = np.zeros(4096 + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    return memory[start : start + 4096].view(np.float32)


def after_refill(put, buffer):
    """What an array on the device holds once the buffer of zeros that it was made of holds ones."""
    on_device = jax.block_until_ready(put(buffer))
    buffer[:] = 1
    return float(on_device[0])


def put_unaliased(array):
    return jax.device_put(array, may_alias=False)


mapped = np.memmap("tiles", np.float32, "w+", shape=(1024,))
found = {
    "device_put, at a multiple of 64": after_refill(jax.device_put, buffer_at(0)),
    "device_put, 16 bytes after one": after_refill(jax.device_put, buffer_at(16)),
    "device_put, mapped from a file": after_refill(jax.device_put, mapped),
    "device_put with may_alias=False, at a multiple of 64": after_refill(put_unaliased, buffer_at(0)),
    "jax.numpy.asarray, at a multiple of 64": after_refill(jnp.asarray, buffer_at(0)),
    "jax.numpy.array, at a multiple of 64": after_refill(jnp.array, buffer_at(0)),
}
for how, value in found.items():
    print(f"{how}: the zeros are now", value)
if list(found.values()) != [1.0, 0.0, 1.0, 1.0, 0.0, 0.0]:
    sys.exit("changed: which ways of putting NumPy's memory on a device share it")
END
