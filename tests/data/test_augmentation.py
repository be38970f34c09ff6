"""Flips and quarter turns: the eight symmetries of the square, each tile by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax.data.augmentation import BandStatistics, augment, standardise


def symmetries(tile: np.ndarray) -> list[bytes]:
    turned = [np.rot90(tile, turns) for turns in range(4)]
    return [view.tobytes() for tile in turned for view in (tile, tile[:, ::-1])]


def test_every_tile_becomes_one_of_the_eight_symmetries_with_equal_chance() -> None:
    tile = np.random.default_rng(0).integers(0, 256, (6, 6, 4), dtype=np.uint8)
    out = np.asarray(augment(jax.random.key(0), jnp.asarray(np.repeat(tile[None], 4000, axis=0))))
    expected = symmetries(tile)
    assert len(set(expected)) == 8
    counts = np.array([sum(view.tobytes() == form for view in out) for form in expected])
    assert counts.sum() == 4000
    # Each count is binomial with mean 500 and deviation 21.
    assert np.all(np.abs(counts - 500) < 5 * 21)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_same_key_gives_the_same_augmentation_and_keeps_the_type(dtype: type) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(dtype)
    first, second = (np.asarray(augment(jax.random.key(1), jnp.asarray(tiles))) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == dtype


def test_standardised_bands_have_zero_mean_and_unit_deviation() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 2), dtype=np.uint8)
    mean, deviation = tiles.mean((0, 1, 2)), tiles.std((0, 1, 2))
    statistics = BandStatistics(mean.astype(np.float32), deviation.astype(np.float32))
    out = np.asarray(standardise(tiles, statistics))
    np.testing.assert_allclose(out.mean((0, 1, 2)), 0.0, atol=1e-4)
    np.testing.assert_allclose(out.std((0, 1, 2)), 1.0, atol=1e-4)
