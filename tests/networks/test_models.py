"""DenseNet and the loss head: the paper's parameter counts, and the plain network behind the fast one."""

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax import DenseNet, DenseNet121, LossHead
from aljax.networks.batch_norm import batch_moments
from aljax.networks.densenet import Transition
from aljax.networks.model import Model, _init, count_parameters, init_variables
from aljax.networks.pooling import average_pool_2x2, max_pool_3x3_stride_2, mean_of_pixels
from aljax.xla.compiling import compiler_options


@pytest.mark.parametrize(
    ("bands", "classes", "with_head", "expected"),
    [
        (3, 17, False, 6_971_281),
        (4, 15, False, 6_972_367),
        (3, 17, True, 7_332_754),
        (4, 15, True, 7_333_840),
    ],
)
def test_parameter_counts_are_those_of_table_1(bands: int, classes: int, with_head: bool, expected: int) -> None:
    model = Model(DenseNet121(num_classes=classes), LossHead() if with_head else None)
    variables = jax.eval_shape(lambda key: init_variables(key, model, 64, bands), jax.random.key(0))
    assert count_parameters(variables) == expected


def test_forward_pass_returns_logits_embedding_and_four_blocks() -> None:
    network = DenseNet121(num_classes=17)
    images = jnp.zeros((2, 64, 64, 3))
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    out = jax.eval_shape(lambda v: network.apply(v, images, train=False), variables)
    assert out.logits.shape == (2, 17)
    assert out.embedding.shape == (2, 1024)
    assert [block.shape for block in out.blocks] == [
        (2, 16, 16, 256),
        (2, 8, 8, 512),
        (2, 4, 4, 1024),
        (2, 2, 2, 1024),
    ]


class PlainDenseNet(nn.Module):
    """The textbook network: linen's own normalisation, pooling and 1x1 convolutions, in the usual order."""

    num_classes: int
    depths: tuple[int, ...]
    growth: int
    stem_channels: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        def norm(name: str) -> nn.BatchNorm:
            return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name=name)

        def conv(features: int, width: int, name: str, stride: int = 1) -> nn.Conv:
            pad = ((width // 2, width // 2),) * 2
            return nn.Conv(features, (width, width), stride, pad, use_bias=False, name=name)

        x = nn.relu(norm("stem_norm")(conv(self.stem_channels, 7, "stem", 2)(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for block, depth in enumerate(self.depths, start=1):
            for layer in range(1, depth + 1):
                prefix = f"block{block}/layer{layer}"
                y = conv(4 * self.growth, 1, f"{prefix}/conv1")(nn.relu(norm(f"{prefix}/norm1")(x)))
                y = conv(self.growth, 3, f"{prefix}/conv2")(nn.relu(norm(f"{prefix}/norm2")(y)))
                x = jnp.concatenate([x, y], axis=-1)
            if block < len(self.depths):
                x = conv(x.shape[-1] // 2, 1, f"transition{block}/conv")(nn.relu(norm(f"transition{block}/norm")(x)))
                x = nn.avg_pool(x, (2, 2), (2, 2))
        x = nn.relu(norm("norm")(x)).mean((1, 2))
        return nn.Dense(self.num_classes, name="head")(x)


def to_plain(tree: dict) -> dict:
    """The plain network's names and its 4-dimensional 1x1 kernels."""
    plain: dict = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        *module, name = (part.key for part in path)
        if module[-1] in ("conv", "conv1"):
            leaf = leaf[None, None]
        plain.setdefault("/".join(module), {})[name] = leaf
    return plain


@pytest.mark.parametrize(("tile", "backend"), [((44, 44, 3), "cpu"), ((45, 43, 4), "gpu")], ids=["even", "odd"])
@pytest.mark.parametrize("train", [False, True])
def test_fast_network_equals_the_plain_one_in_outputs_and_gradients(
    train: bool, tile: tuple[int, ...], backend: str, monkeypatch
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)  # as the network would be arranged there
    shape = {"num_classes": 3, "depths": (2, 3), "growth": 4, "stem_channels": 8}
    fast, plain = DenseNet(**shape), PlainDenseNet(**shape)
    images = jax.random.normal(jax.random.key(1), (4, *tile))
    variables = jax.jit(fast.init)(jax.random.key(0), images)
    noisy = jax.tree.map(lambda x: x + 0.1 * jnp.abs(jnp.sin(jnp.arange(x.size).reshape(x.shape))), variables)

    def fast_logits(params: dict) -> jax.Array:
        both = {"params": params, "batch_stats": noisy["batch_stats"]}
        return fast.apply(both, images, train=train, mutable=["batch_stats"])[0].logits

    def plain_logits(params: dict) -> jax.Array:
        both = {"params": to_plain(params), "batch_stats": to_plain(noisy["batch_stats"])}
        return plain.apply(both, images, train, mutable=["batch_stats"])[0]

    def gradient_and_logits(logits_of: Callable[[dict], jax.Array]) -> tuple[dict, jax.Array]:
        def objective(params: dict) -> tuple[jax.Array, jax.Array]:
            logits = logits_of(params)
            return (jnp.tanh(logits) @ jnp.array([1.0, -2.0, 0.5])).sum(), logits

        return jax.jit(jax.grad(objective, has_aux=True))(noisy["params"])

    (ours, logits), (theirs, expected) = map(gradient_and_logits, (fast_logits, plain_logits))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def test_running_statistics_move_a_tenth_towards_the_unbiased_batch_statistics() -> None:
    network = DenseNet(num_classes=2, depths=(1,), growth=4, stem_channels=8)
    images = jax.random.normal(jax.random.key(1), (4, 32, 32, 3))
    variables = jax.jit(network.init)(jax.random.key(0), images)
    _, changed = jax.jit(partial(network.apply, train=True, mutable=["batch_stats"]))(variables, images)
    pad = ((3, 3), (3, 3))
    maps = jax.lax.conv_general_dilated(
        images, variables["params"]["stem"]["kernel"], (2, 2), pad, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    stats = changed["batch_stats"]["stem_norm"]
    rows = np.asarray(maps).reshape(-1, 8)
    np.testing.assert_allclose(stats["mean"], 0.1 * rows.mean(0), atol=1e-6)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * rows.var(0, ddof=1), rtol=1e-5)


def test_max_pooling_and_its_gradient_are_those_of_a_window() -> None:
    maps = nn.relu(jax.random.normal(jax.random.key(0), (2, 9, 8, 3)))

    def window(x: jax.Array) -> jax.Array:
        return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))

    np.testing.assert_array_equal(max_pool_3x3_stride_2(maps), window(maps))
    ours, theirs = (
        jax.grad(lambda x, f=f: jnp.sin(f(nn.relu(x))).sum())(maps - 0.3) for f in (max_pool_3x3_stride_2, window)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("size", [(3, 5), (47, 44)], ids=["written out", "summed"])
def test_mean_of_pixels_and_its_gradient_are_those_of_a_mean(size: tuple[int, int]) -> None:
    maps = jax.random.normal(jax.random.key(0), (2, *size, 4)).astype(jnp.bfloat16)
    weights = jax.random.normal(jax.random.key(1), (2, 4))
    found, of_maps = jax.value_and_grad(lambda maps: (mean_of_pixels(maps) * weights).sum())(maps)
    expected, of_mean = jax.value_and_grad(lambda maps: (maps.astype(jnp.float32).mean((1, 2)) * weights).sum())(maps)
    assert (mean_of_pixels(maps).dtype, of_maps.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(of_maps.astype(np.float32), of_mean.astype(np.float32), rtol=1e-2)


def test_equal_maxima_of_a_window_share_its_gradient() -> None:
    gradient = jax.grad(lambda x: max_pool_3x3_stride_2(x).sum())(jnp.ones((1, 4, 4, 1)))
    # Windows hold 4, 6, 6 and 9 pixels of the 4 x 4.
    first = [1 / 4, 1 / 4 + 1 / 6, 1 / 6, 1 / 6]
    second = [1 / 4 + 1 / 6, 1 / 4 + 2 / 6 + 1 / 9, 1 / 6 + 1 / 9, 1 / 6 + 1 / 9]
    third = [1 / 6, 1 / 6 + 1 / 9, 1 / 9, 1 / 9]
    np.testing.assert_allclose(gradient[0, :, :, 0], [first, second, third, third], rtol=1e-6)


def test_average_pooling_drops_an_odd_last_row_and_column() -> None:
    maps = jnp.arange(2 * 5 * 7 * 1, dtype=jnp.float32).reshape(2, 5, 7, 1)
    np.testing.assert_allclose(average_pool_2x2(maps), nn.avg_pool(maps, (2, 2), (2, 2)))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices transpose within their kernels")
def test_gradients_of_1x1_convolutions_transpose_no_maps() -> None:
    # A copy the size of the maps for each of 61 products took a fifth of a training step.
    maps, layer = jnp.ones((2, 32, 32, 64)), Transition(jnp.float32)
    variables = layer.init(jax.random.key(0), maps, None)
    moments = batch_moments(maps)

    def objective(params: Any, maps: jax.Array) -> jax.Array:
        changed = {**variables, "params": params}
        return jnp.sin(layer.apply(changed, maps, moments, mutable=["batch_stats"])[0]).sum()

    program = jax.jit(jax.grad(objective, (0, 1))).lower(variables["params"], maps).compile(compiler_options())
    transposed = re.findall(r"f32\[([\d,]+)\]\S* transpose\(", program.as_text())
    assert not [shape for shape in transposed if math.prod(map(int, shape.split(","))) > 64 * 32], transposed


def test_bfloat16_keeps_parameters_statistics_and_outputs_in_float32() -> None:
    network = DenseNet(num_classes=2, depths=(2,), growth=4, stem_channels=8, dtype=jnp.bfloat16)
    images = jax.random.normal(jax.random.key(1), (4, 32, 32, 3))
    variables = jax.jit(network.init)(jax.random.key(0), images)
    outputs, changed = jax.jit(partial(network.apply, train=True, mutable=["batch_stats"]))(variables, images)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, changed))} == {jnp.dtype("float32")}
    assert (outputs.logits.dtype, outputs.embedding.dtype) == (jnp.float32, jnp.float32)
    assert outputs.blocks[0].dtype == jnp.bfloat16
    exact = jax.jit(DenseNet(num_classes=2, depths=(2,), growth=4, stem_channels=8).apply)(variables, images)
    rounded = jax.jit(network.apply)(variables, images)
    np.testing.assert_allclose(rounded.logits, exact.logits, atol=0.1)


def test_variables_are_float32_where_jax_computes_in_float64(ll_model: Model) -> None:
    before = jax.config.jax_enable_x64  # type: ignore[attr-defined]
    jax.config.update("jax_enable_x64", True)
    try:
        of_modules = jax.eval_shape(lambda key: _init(key, ll_model, 32, 3), jax.random.key(0))
        fresh = jax.eval_shape(lambda key: init_variables(key, ll_model, 32, 3), jax.random.key(0))
    finally:
        jax.config.update("jax_enable_x64", before)
    assert {leaf.dtype.name for leaf in jax.tree.leaves((of_modules, fresh))} == {"float32"}


def test_loss_head_gradient_into_the_blocks_is_cut_by_scale_0_and_whole_at_scale_1() -> None:
    head = LossHead(width=8)
    blocks = [jax.random.normal(jax.random.key(i), (3, 4, 4, 5 + i)) for i in range(2)]
    variables = head.init(jax.random.key(9), blocks)

    def gradient(scale: float) -> list[jax.Array]:
        return jax.grad(lambda b: head.apply(variables, b, scale).sum())(blocks)

    assert head.apply(variables, blocks).shape == (3,)
    np.testing.assert_array_equal(head.apply(variables, blocks, 0.0), head.apply(variables, blocks, 1.0))
    for cut, whole, plain in zip(
        gradient(0.0), gradient(1.0), jax.grad(lambda b: head.apply(variables, b).sum())(blocks), strict=True
    ):
        assert not np.any(cut)
        assert np.any(whole)
        np.testing.assert_array_equal(whole, plain)


def test_fresh_variables_are_distributed_as_those_that_the_modules_draw() -> None:
    network = DenseNet(num_classes=17, depths=(2, 2))
    model = Model(network, LossHead())
    images = jnp.zeros((1, 32, 32, 3))
    outputs, own = jax.jit(network.init_with_output)(jax.random.key(1), images)
    head = LossHead().init(jax.random.key(2), outputs.blocks)["params"]
    theirs = {"params": {"network": own["params"], "loss_head": head}, "batch_stats": own["batch_stats"]}
    ours = init_variables(jax.random.key(0), model, 32, 3)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    kernels = []
    for (path, leaf), expected in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        assert (leaf.shape, leaf.dtype) == (expected.shape, expected.dtype)
        if path[-1].key != "kernel":
            np.testing.assert_array_equal(leaf, expected, err_msg=str(path))
            continue
        kernels.append(np.ravel(leaf))
        # Four deviations of the difference between two samples.
        tolerance = 4.0 * np.sqrt(2.0 / leaf.size)
        assert np.std(leaf) == pytest.approx(np.std(expected), rel=tolerance), path
        assert np.max(np.abs(leaf)) == pytest.approx(np.max(np.abs(expected)), rel=0.1), path
        assert abs(np.mean(leaf)) < tolerance * np.std(leaf), path
    assert len(kernels) == 1 + 2 * (2 + 2) + 1 + 1 + 3
    values = np.concatenate(kernels)
    assert len(np.unique(values)) > 0.9 * len(values)


def test_fresh_variables_are_those_of_a_key_and_a_loss_head_changes_no_other() -> None:
    network = DenseNet(num_classes=2, depths=(1, 1), growth=4, stem_channels=8)
    plain, again = (init_variables(jax.random.key(0), Model(network), 32, 3) for _ in range(2))
    with_head = init_variables(jax.random.key(0), Model(network, LossHead(width=8)), 32, 3)
    jax.tree.map(np.testing.assert_array_equal, plain, again)
    jax.tree.map(np.testing.assert_array_equal, plain["params"]["network"], with_head["params"]["network"])
    other = init_variables(jax.random.key(1), Model(network), 32, 3)
    assert np.all(other["params"]["network"]["stem"]["kernel"] != plain["params"]["network"]["stem"]["kernel"])


def test_images_of_which_nothing_would_be_left_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 31 x 40 pixels: at least 32 x 32 needed"):
        jax.eval_shape(DenseNet121(17).init, jax.random.key(0), jnp.zeros((1, 31, 40, 3)))


@pytest.mark.parametrize(("tiles", "size"), [(4, 32), (32, 32), (8, 64)])
def test_what_is_not_a_number_comes_out_as_such(tiles: int, size: int) -> None:
    # Of larger maps XLA's CPU kernels take a ReLU into the sum after it, and made 0 of NaN there.
    network = DenseNet(3, depths=(1, 2), growth=4, stem_channels=8)
    images = jax.random.normal(jax.random.key(1), (tiles, size, size, 3))
    variables = jax.jit(network.init)(jax.random.key(0), images)
    outputs = jax.jit(network.apply)(variables, images.at[1, 5, 5, 0].set(jnp.nan))
    assert np.isnan(outputs.embedding[1]).any()
    assert np.isnan(outputs.logits).all(1).tolist() == [row == 1 for row in range(tiles)]


def test_forgotten_batch_statistics_are_missed() -> None:
    network = DenseNet(3, depths=(1,), growth=4, stem_channels=8)
    images = jnp.zeros((1, 32, 32, 3))
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    with pytest.raises((flax.errors.ScopeCollectionNotFound, flax.errors.ScopeVariableNotFoundError)):
        jax.eval_shape(network.apply, {"params": variables["params"]}, images)
