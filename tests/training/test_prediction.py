"""Prediction: rows do not depend on batching, order, padding, or where the pixels lie."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax.data.archive import Archive, SplitTiles, Tiles, random_split, split_tiles
from aljax.data.augmentation import BandStatistics, standardise
from aljax.networks import convolutions, densenet_inference
from aljax.networks.model import Model, forward, init_variables, prepare_inference
from aljax.training import prediction
from aljax.training.prediction import predict_batches, predict_probabilities
from aljax.xla import devices as machine_devices


@pytest.fixture(scope="module")
def variables(ll_model: Model):
    return init_variables(jax.random.key(0), ll_model, 32, 3)


def predict(model: Model, variables, tiles: Tiles, rows: np.ndarray, batch_size: int = 64) -> dict[int, np.ndarray]:
    """Everything that was predicted, by row."""
    found: dict[int, np.ndarray] = {}
    for batch_rows, batch in predict_batches(model, variables, tiles, rows, batch_size):
        assert len(batch_rows) == batch_size
        parts = (np.asarray(part).reshape(batch_size, -1) for part in batch if part is not None)
        found |= dict(zip(batch_rows.tolist(), np.concatenate(list(parts), axis=1), strict=True))
    return found


def run_forward(model: Model, variables, images) -> tuple:
    """Compiled anew in each call, for the device that a test pretends to have."""
    return jax.jit(partial(forward, model, train=False))(variables, images)


def test_probabilities_are_sigmoids_of_the_logits(ll_model, variables, tiles: SplitTiles) -> None:
    images = standardise(np.asarray(tiles.test.images)[tiles.test.indices], tiles.test.statistics)
    outputs, predicted, _ = run_forward(ll_model, variables, images)
    expected = 1 / (1 + np.exp(-np.asarray(outputs.logits)))
    np.testing.assert_allclose(predict_probabilities(ll_model, variables, tiles.test), expected, rtol=1e-4)
    ((_, batch),) = predict_batches(ll_model, variables, tiles.test, np.arange(10), 10)
    np.testing.assert_allclose(batch.embeddings, outputs.embedding, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(batch.predicted_losses, predicted, rtol=1e-4, atol=1e-5)


def test_rows_do_not_depend_on_the_batch_size(ll_model, variables, tiles: SplitTiles) -> None:
    rows = np.arange(40)
    whole = predict(ll_model, variables, tiles.pool, rows, batch_size=40)
    for batch_size in (7, 64):
        other = predict(ll_model, variables, tiles.pool, rows, batch_size=batch_size)
        assert other.keys() == whole.keys()
        for row in whole:
            np.testing.assert_allclose(whole[row], other[row], rtol=1e-4, atol=1e-5)


def test_only_the_tiles_asked_for_are_predicted(ll_model, variables, tiles: SplitTiles) -> None:
    whole = predict(ll_model, variables, tiles.pool, np.arange(40))
    some = predict(ll_model, variables, tiles.pool, np.array([31, 2, 17]))
    assert some.keys() == {31, 2, 17}
    for row in some:
        np.testing.assert_allclose(some[row], whole[row], rtol=1e-5)


def test_tiles_on_the_device_and_on_the_host_are_the_same_tiles(ll_model, variables, archive: Archive) -> None:
    split = random_split(0, len(archive.ids), 10, 10)
    for part in ("pool", "validation", "test"):
        host, device = (
            predict_probabilities(ll_model, variables, getattr(split_tiles(archive, split, 0, on_device), part), 16)
            for on_device in (False, True)
        )
        np.testing.assert_array_equal(host, device)


@pytest.fixture(params=["here", "older GPU", "GPU"])
def arranged(request, monkeypatch) -> str:
    """Parameters and network are arranged as on that device."""
    if request.param != "here":
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        monkeypatch.setattr(densenet_inference, "prepare_on_device", densenet_inference._prepare)
        for module in (convolutions, densenet_inference):
            monkeypatch.setattr(module, "fuses_into_products", lambda: request.param == "GPU")
    return request.param


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_what_is_prepared_for_inference_predicts_the_same(
    precision: str, tolerance: float, arranged: str, ll_model, variables
) -> None:
    # Statistics, scales and biases as after training: at the start folding has next to nothing to do.
    keys = iter(jax.random.split(jax.random.key(1), 1000))
    trained = jax.tree.map(
        lambda leaf: leaf + jax.random.uniform(next(keys), leaf.shape) if leaf.ndim == 1 else leaf, variables
    )
    model = replace(ll_model, network=replace(ll_model.network, dtype=jnp.dtype(precision)))
    images = jax.random.normal(jax.random.key(2), (6, 32, 32, 3))
    prepared = prepare_inference(model, trained)
    block = prepared["params"]["network"]["block1"]
    assert list(block["layer1"]["conv2"]) == ["filters" if jax.default_backend() == "gpu" else "kernel"]
    shapes = [block[f"layer{number + 1}"]["conv1"]["kernel"].shape for number in range(len(block))]
    assert (
        shapes == [shapes[-1]] * len(shapes)
        if densenet_inference.fuses_into_products()
        else shapes == sorted(set(shapes))
    )
    assert not prepared["batch_stats"]
    kernels = {str(leaf.dtype) for leaf in jax.tree.leaves(prepared["params"]["network"]) if leaf.ndim == 4}
    assert kernels == {precision}
    head = prepared["params"]["network"]["head"]
    np.testing.assert_array_equal(head["kernel"], trained["params"]["network"]["head"]["kernel"])

    whole, whole_losses, _ = run_forward(ll_model, trained, images)
    outputs, losses, _ = run_forward(model, prepared, images)
    assert outputs.logits.dtype == outputs.embedding.dtype == jnp.float32
    for found, expected in (
        (outputs.logits, whole.logits),
        (outputs.embedding, whole.embedding),
        (losses, whole_losses),
    ):
        assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_device_prepares_what_the_host_does(precision: str, arranged: str, ll_model, variables) -> None:
    stats = jax.tree.map(lambda leaf: leaf + jnp.linspace(0.0, 3.0, leaf.size), variables["batch_stats"])
    given = variables["params"]["network"], stats
    by_host = densenet_inference._prepare(jnp.dtype(precision), *jax.tree.map(np.asarray, given))
    by_device = jax.jit(lambda *given: densenet_inference._prepare(jnp.dtype(precision), *given))(*given)
    assert jax.tree.structure(by_host) == jax.tree.structure(by_device)
    for one, other in zip(jax.tree.leaves(by_host), jax.tree.leaves(by_device), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one.astype(jnp.float32), other.astype(jnp.float32), rtol=1e-6)


def test_nothing_recompiles_while_the_pool_shrinks(ll_model, variables, tiles: SplitTiles, traces) -> None:
    traces(prediction.predict_batch)
    for count in (40, 33, 5):
        predict(ll_model, variables, tiles.pool, np.arange(count), batch_size=9)
    assert traces(prediction.predict_batch) == 1


def test_predicted_losses_are_there_only_with_a_loss_head(model, ll_model, variables, tiles: SplitTiles) -> None:
    plain = init_variables(jax.random.key(0), model, 32, 3)
    rows = np.arange(10)
    ((_, without),) = predict_batches(model, plain, tiles.test, rows, 10)
    ((_, with_head),) = predict_batches(ll_model, variables, tiles.test, rows, 10)
    assert without.predicted_losses is None
    assert with_head.predicted_losses.shape == (10,)


def test_no_tiles_give_no_batches(model, variables, tiles: SplitTiles) -> None:
    assert not list(predict_batches(model, variables, tiles.pool, np.array([], dtype=np.int64)))


@pytest.mark.parametrize(
    ("backend", "size", "cores", "devices", "expected"),
    [
        *(("cpu", 256, 2, 1, 4), ("cpu", 256, 1, 1, 2), ("cpu", 288, 2, 1, 3), ("cpu", 64, 2, 1, 64)),
        *(("cpu", 4096, 2, 1, 1), ("cpu", 256, 2, 8, 8), ("cpu", 32, 64, 6, 66)),
        *(("gpu", 256, 1, 1, 256), ("gpu", 32, 1, 1, 256), ("gpu", 288, 1, 1, 202), ("gpu", 512, 1, 8, 512)),
        *(("gpu", 8192, 1, 1, 1), ("gpu", 300, 1, 3, 561), ("tpu", 64, 1, 4, 1024)),
    ],
)
def test_batches_suit_the_tiles_and_the_machine(monkeypatch, backend, size, cores, devices, expected) -> None:
    monkeypatch.setattr(machine_devices, "usable_cores", lambda: cores)
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    images = np.empty((0, size, size, 3), np.uint8)
    tiles = Tiles(images, np.arange(0), np.empty((0, 2), np.uint8), BandStatistics(np.zeros(3), np.ones(3)))
    assert tiles.at_once == expected


def test_processes_with_different_cores_predict_as_many_tiles_at_once(monkeypatch, tiles: SplitTiles) -> None:
    monkeypatch.setattr(machine_devices, "PIXELS_PER_CORE", 2 * 32 * 32)
    monkeypatch.setattr(machine_devices, "usable_cores", lambda: 7)
    assert tiles.pool.at_once == 14
    monkeypatch.setattr(
        machine_devices, "broadcast_from_first", lambda cores: np.full_like(cores, 3)
    )  # as the first process says
    assert tiles.pool.at_once == 6
