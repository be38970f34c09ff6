"""The loss head by hand, and what it and the last layer are given."""

import jax
import jax.numpy as jnp
import numpy as np

from aljax import DenseNet, LossHead


def test_loss_head_is_a_layer_for_each_block_and_one_over_all() -> None:
    head = LossHead(width=8)
    blocks = [jax.random.normal(jax.random.key(index), (3, 4, 4, 5 + index)) for index in range(2)]
    params = head.init(jax.random.key(9), blocks)["params"]

    def layer(name: str, values: np.ndarray) -> np.ndarray:
        return values @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])

    means = [np.asarray(maps).mean((1, 2)) for maps in blocks]
    hidden = [np.maximum(layer(f"block{index}", mean), 0.0) for index, mean in enumerate(means, start=1)]
    expected = layer("loss", np.concatenate(hidden, axis=1))[:, 0]
    np.testing.assert_allclose(head.apply({"params": params}, blocks), expected, rtol=1e-4, atol=1e-5)


def test_embedding_of_bfloat16_maps_is_not_rounded() -> None:
    network = DenseNet(num_classes=2, depths=(2,), growth=4, stem_channels=8, dtype=jnp.bfloat16)
    images = jax.random.normal(jax.random.key(1), (4, 32, 32, 3))
    variables = jax.jit(network.init)(jax.random.key(0), images)
    embedding = jax.jit(network.apply)(variables, images).embedding
    assert np.any(embedding != embedding.astype(jnp.bfloat16).astype(jnp.float32))
