"""Eq. 4 to 7: by hand, against automatic differentiation, and within the memory they promise."""

import inspect
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax import DenseNet, bce_loss, gradient_embeddings, ll_scores, mge_scores, tpd_scores
from aljax.queries import pseudo_residuals
from aljax.queries.scores import _mge_scores


def random_layer(n: int = 20, d: int = 16, c: int = 5) -> tuple[dict[str, jax.Array], jax.Array]:
    keys = jax.random.split(jax.random.key(0), 3)
    layer = {"kernel": jax.random.normal(keys[0], (d, c)), "bias": jax.random.normal(keys[1], (c,))}
    return layer, jax.random.normal(keys[2], (n, d))


def test_mge_is_the_norm_of_the_gradient_embedding() -> None:
    layer, embeddings = random_layer()
    gradient = gradient_embeddings(layer, embeddings)
    assert (gradient["kernel"].shape, gradient["bias"].shape) == ((20, 16, 5), (20, 5))
    flat = np.concatenate([np.reshape(gradient["kernel"], (20, -1)), gradient["bias"]], axis=1)
    np.testing.assert_allclose(mge_scores(layer, embeddings), np.linalg.norm(flat, axis=1), rtol=1e-5)


def test_gradient_embedding_is_the_outer_product_of_input_and_residual() -> None:
    layer = {"kernel": np.array([[1.0, -2.0]], np.float32), "bias": np.array([0.0, 0.5], np.float32)}
    gradient = gradient_embeddings(layer, np.array([[0.5]], np.float32))
    p = 1 / (1 + np.exp(-np.array([0.5, -0.5])))
    residual = p - np.array([1.0, 0.0])  # pseudo-labels: 0.5 is exceeded by the first class alone
    np.testing.assert_allclose(gradient["bias"][0], residual, rtol=1e-6)
    np.testing.assert_allclose(gradient["kernel"][0], 0.5 * residual[None], rtol=1e-6)


def test_gradient_embedding_is_the_whole_networks_gradient_for_its_last_layer(network: DenseNet) -> None:
    image = jax.random.normal(jax.random.key(3), (1, 32, 32, 3))
    variables = jax.jit(network.init)(jax.random.key(0), image)
    outputs = jax.jit(network.apply)(variables, image)
    pseudo = (jax.nn.sigmoid(outputs.logits) > 0.5).astype(jnp.float32)

    def loss(params: dict) -> jax.Array:
        logits = network.apply({"params": params, "batch_stats": variables["batch_stats"]}, image).logits
        return bce_loss(logits, pseudo).sum()

    expected = jax.jit(jax.grad(loss))(variables["params"])["head"]
    ours = gradient_embeddings(variables["params"]["head"], outputs.embedding)
    np.testing.assert_allclose(ours["kernel"][0], expected["kernel"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ours["bias"][0], expected["bias"], rtol=1e-4, atol=1e-6)


def test_mge_never_holds_an_array_of_n_times_d_times_c() -> None:
    n, d, c = 1_000_000, 1024, 17
    layer = {"kernel": jax.ShapeDtypeStruct((d, c), jnp.float32), "bias": jax.ShapeDtypeStruct((c,), jnp.float32)}
    lowered = _mge_scores.lower(layer, jax.ShapeDtypeStruct((n, d), jnp.float32))
    # Beyond its input, a few numbers per tile and class, nothing of the size of the input.
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 6 * 4 * n * c


def test_a_score_does_not_depend_on_the_other_tiles() -> None:
    layer, embeddings = random_layer()
    whole = np.asarray(mge_scores(layer, embeddings))
    parts = [mge_scores(layer, embeddings[start : start + 5]) for start in range(0, 20, 5)]
    # Float32: p - y near certainty keeps about five digits.
    np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-5)
    order = np.random.default_rng(0).permutation(20)
    np.testing.assert_allclose(mge_scores(layer, embeddings[order]), whole[order], rtol=1e-5)


def test_mge_is_highest_at_probability_one_half_and_vanishes_with_certainty() -> None:
    layer = {"kernel": np.eye(1, dtype=np.float32), "bias": np.zeros(1, np.float32)}
    scores = np.asarray(mge_scores(layer, np.array([[1e-4], [3.0], [30.0]], np.float32)))
    assert scores[0] == pytest.approx(0.5, rel=1e-3)
    assert scores[0] > scores[1] > scores[2]
    assert scores[2] < 1e-6


def test_tpd_is_the_norm_of_the_change_of_probabilities() -> None:
    now = np.array([[0.9, 0.1], [0.5, 0.5]], np.float32)
    before = np.array([[0.6, 0.5], [0.5, 0.5]], np.float32)
    np.testing.assert_allclose(tpd_scores(now, before), [0.5, 0.0], atol=1e-7)


def test_ll_is_the_predicted_loss() -> None:
    np.testing.assert_array_equal(ll_scores(np.array([0.3, -1.0], np.float32)), np.array([0.3, -1.0], np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_mge_ranks_tiles_of_which_the_network_is_certain(dtype: type) -> None:
    # Subtracting the pseudo-label from the probability leaves nothing of 1e-9, and 1024 squares of 8 overflow float16.
    layer = {"kernel": np.zeros((1024, 1), dtype), "bias": np.zeros(1, dtype)}
    layer["kernel"][0] = 1.0
    embeddings = np.full((4, 1024), 8.0, dtype)
    embeddings[:, 0] = logits = [10.0, 20.0, 30.0, -30.0]
    norms = np.sqrt(np.square(embeddings, dtype=np.float64).sum(1) + 1.0)
    expected = norms / (1.0 + np.exp(np.abs(logits)))
    np.testing.assert_allclose(mge_scores(layer, embeddings), expected, rtol=1e-5)


def test_mge_ranks_tiles_however_certain_the_network_is() -> None:
    logits = np.array([1.0, 30.0, 42.0, 46.0, 50.0, 60.0, 80.0])
    layer = {"kernel": np.ones((1, 3), np.float32), "bias": np.zeros(3, np.float32)}
    expected = np.sqrt(logits**2 + 1) * np.sqrt(3.0) / (1 + np.exp(logits))
    np.testing.assert_allclose(mge_scores(layer, logits[:, None]), expected, rtol=1e-5)


def test_half_precision_loses_nothing_more() -> None:
    rng = np.random.default_rng(0)
    now, before = (jnp.asarray(rng.random((500, 17)), jnp.bfloat16) for _ in range(2))
    exact = np.linalg.norm(np.asarray(now, float) - np.asarray(before, float), axis=1)
    np.testing.assert_allclose(tpd_scores(now, before), exact, rtol=1e-6)
    labels = (now > 0.5).astype(jnp.int32)
    logits = 9 * before
    np.testing.assert_allclose(
        bce_loss(logits, labels), bce_loss(np.asarray(logits, np.float32), np.asarray(labels)), rtol=1e-6
    )


def test_a_layer_without_bias_is_one_whose_bias_is_zero() -> None:
    layer, embeddings = random_layer()
    zero = {"kernel": layer["kernel"], "bias": jnp.zeros(5)}
    for without in ({"kernel": layer["kernel"]}, {"kernel": layer["kernel"], "bias": None}):
        np.testing.assert_array_equal(inspect.unwrap(mge_scores)(without, embeddings), mge_scores(zero, embeddings))
        gradient = inspect.unwrap(gradient_embeddings)(without, embeddings)
        expected = gradient_embeddings(zero, embeddings)
        np.testing.assert_array_equal(gradient["kernel"], expected["kernel"])
        np.testing.assert_array_equal(gradient["bias"], expected["bias"])


def test_a_kernel_as_pytorch_keeps_it_is_reported_from_other_shapes() -> None:
    layer, embeddings = random_layer()
    transposed = {"kernel": layer["kernel"].T, "bias": layer["bias"]}
    for function in (mge_scores, gradient_embeddings):
        with pytest.raises(ValueError, match=r"give kernel\.T"):
            function(transposed, embeddings)
        with pytest.raises(ValueError, match=r"bias \(1,\)") as error:  # a square kernel fits
            function({"kernel": np.zeros((16, 16), np.float32), "bias": np.zeros(1, np.float32)}, embeddings)
        assert "kernel.T" not in str(error.value)


def test_lists_and_whole_numbers_score_like_arrays_of_floats() -> None:
    layer, embeddings = {"kernel": [[1, -2], [0, 3]], "bias": [0, 1]}, [[1, 2], [-1, 0], [0, 0]]
    as_floats = {name: np.array(part, np.float32) for name, part in layer.items()}, np.array(embeddings, np.float32)
    np.testing.assert_array_equal(inspect.unwrap(mge_scores)(layer, embeddings), mge_scores(*as_floats))
    gradient = inspect.unwrap(gradient_embeddings)(layer, embeddings)
    np.testing.assert_array_equal(gradient["kernel"], gradient_embeddings(*as_floats)["kernel"])
    scores = inspect.unwrap(ll_scores)([3, -1])
    assert (scores.tolist(), scores.dtype) == ([3.0, -1.0], np.float32)
    np.testing.assert_allclose(inspect.unwrap(tpd_scores)([[0, 1]], [[1, 1]]), [1.0])


def test_pseudo_residuals_are_the_gradient_for_the_bias_also_at_probability_one_half() -> None:
    logits = np.array([[0.0, -0.0, 1e-6, -3.0, 9.0]], np.float32)  # a head that has learnt nothing gives zeros
    layer = {"kernel": np.zeros((1, 5), np.float32), "bias": logits[0]}
    gradient = gradient_embeddings(layer, np.zeros((1, 1), np.float32))["bias"]
    np.testing.assert_allclose(pseudo_residuals(logits), gradient, rtol=1e-3)
    np.testing.assert_allclose(pseudo_residuals(logits)[0, :2], [0.5, 0.5])


def test_pseudo_residuals_keep_what_is_left_near_certainty() -> None:
    logits = np.array([[-60.0, 60.0]], np.float32)
    np.testing.assert_allclose(pseudo_residuals(logits)[0], [np.exp(-60.0), -np.exp(-60.0)], rtol=1e-5)


# Each would broadcast. In a process of its own, without the shape checks that are on in tests, as for a user.
WRONG = """
import aljax, aljax.queries as queries, numpy as np, jax
z, key = np.zeros, jax.random.key(0)
layer = {"kernel": z((5, 3)), "bias": z(3)}
for call in (
    lambda: aljax.tpd_scores(z((5, 3)), z((1, 3))),
    lambda: aljax.tpd_scores(z(3), z(3)),
    lambda: aljax.ll_scores(z((5, 1))),
    lambda: aljax.bce_loss(z((5, 3)), z(3)),
    lambda: aljax.bce_loss(z((5, 1)), z(5)),
    lambda: aljax.ranking_loss(z((5, 3)), z((5, 3))),
    lambda: aljax.select(key, z((5, 1)), z((5, 2)), 2, 1),
    lambda: aljax.select(key, z(5), z(5), 2, 2),
    lambda: aljax.kmeans(key, z(5), 2),
    lambda: aljax.mge_scores(layer, z((2, 7, 5))),
    lambda: aljax.mge_scores(layer, z(5)),
    lambda: aljax.mge_scores({"kernel": z((5, 3)), "bias": z(1)}, z((7, 5))),
    lambda: aljax.gradient_embeddings(layer, z((7, 4))),
    lambda: queries.entropy_scores(z(3)),
    lambda: queries.margin_scores(z((2, 5, 3))),
    lambda: queries.least_confidence_scores(z(3)),
    lambda: queries.rarity_scores(z((5, 3)), z(1), 8),
    lambda: queries.rarity_scores(z((5, 3)), 0.0, 8),
    lambda: queries.bald_scores(z((5, 3))),
    lambda: queries.badge(0, z((5, 3)), z(5), 2),
    lambda: queries.badge(0, z((5, 3)), z((1, 2)), 2),
    lambda: queries.coreset(z((5, 3)), z((4, 1)), 2),
    lambda: queries.coreset(z((5, 3)), z(3), 2),
    lambda: queries.coverage(0, z(5), 2),
):
    try:
        print(call())
    except ValueError as error:
        assert "shape" in str(error), error
        print("refused")
"""


def test_shapes_that_would_broadcast_are_refused() -> None:
    output = subprocess.run([sys.executable, "-c", WRONG], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["refused"] * 24
