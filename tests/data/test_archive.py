"""An archive's split, and the statistics that standardise its tiles."""

import jax.numpy as jnp
import numpy as np
import pytest

from aljax.data.archive import Archive, band_statistics, random_split, split_tiles, whole_range
from aljax.data.augmentation import BandStatistics, standardise
from aljax.errors import InputError


def test_split_is_the_papers_and_depends_on_the_seed_alone() -> None:
    split = random_split(0, 2100, 525, 525)
    assert list(map(len, split)) == [1050, 525, 525]
    assert sorted(np.concatenate(split).tolist()) == list(range(2100))
    for first, second in zip(split, random_split(0, 2100, 525, 525), strict=True):
        np.testing.assert_array_equal(first, second)
    assert np.any(split.pool != random_split(1, 2100, 525, 525).pool)


@pytest.mark.parametrize(("validation", "test"), [(6, 4), (0, 5), (5, 0)])
def test_split_without_a_pool_or_a_set_is_refused(validation: int, test: int) -> None:
    with pytest.raises(InputError, match="10 tiles cannot give"):
        random_split(0, 10, validation, test)


def test_standardisation_knows_the_pool_alone(archive: Archive) -> None:
    split = random_split(0, len(archive.ids), 10, 10)
    spoilt = archive.images.copy()
    spoilt[np.concatenate([split.validation, split.test])] = 255
    changed = Archive(archive.name, spoilt, archive.labels, archive.ids, archive.class_names)
    tiles = split_tiles(changed, split, seed=0)
    pool = archive.images[split.pool]
    for part in (tiles.pool, tiles.validation, tiles.test):
        np.testing.assert_allclose(part.statistics.mean, pool.mean((0, 1, 2)), rtol=1e-5)
        np.testing.assert_allclose(part.statistics.deviation, pool.std((0, 1, 2)), rtol=1e-5)
    (first,) = tiles.pool.batches(np.array([5, 2]), 2)
    np.testing.assert_array_equal(first, archive.images[split.pool[[5, 2]]])


@pytest.mark.parametrize(
    ("dtype", "value", "other", "most"),
    [
        ("uint8", 255, 0, 1.0),
        ("uint16", 0, 65535, 1.0),
        ("float32", 300.0, 0.0, 1.0),
        ("float32", 0.0, 1.0, 1.0),
        ("float32", 0.1, 0.0, 1.0),  # whose sums are not exact
    ],
)
def test_other_pixel_of_a_constant_band_does_not_outweigh_everything(dtype, value, other, most) -> None:
    statistics = band_statistics(np.full((7, 9, 9, 2), value, dtype), np.arange(7))
    found = standardise(np.array([[[[value, other]]]], dtype), statistics)
    np.testing.assert_allclose(found, [[[[0.0, most if other > value else -most]]]], atol=1e-6)


@pytest.mark.parametrize(("kind", "largest"), [("uint8", 255), ("uint16", 65535)])
def test_whole_range_is_that_of_the_type(kind: str, largest: int) -> None:
    assert whole_range(np.zeros((1, 2, 2, 3), kind)).deviation.tolist() == [largest] * 3


def test_statistics_are_of_a_random_sample_of_the_pool(archive: Archive, monkeypatch) -> None:
    samples: list[list[int]] = []

    def sampled(images: np.ndarray, indices: np.ndarray) -> BandStatistics:
        samples.append(indices.tolist())
        return band_statistics(images, indices)

    monkeypatch.setattr("aljax.data.archive.MAX_TILES_FOR_STATISTICS", 5)
    monkeypatch.setattr("aljax.data.archive.band_statistics", sampled)
    split = random_split(0, len(archive.ids), 10, 10)
    for seed in (0, 1):
        split_tiles(archive, split, seed)
    first, second = samples
    assert len(first) == len(second) == 5
    assert first != second
    assert {*first, *second} <= {*split.pool.tolist()}


def test_band_in_small_units_is_standardised() -> None:
    images = np.random.default_rng(0).normal(1e-8, 2e-9, (5, 16, 16, 1)).astype(np.float32)
    found = standardise(images, band_statistics(images, np.arange(5)))
    np.testing.assert_allclose([found.mean(), found.std()], [0.0, 1.0], atol=1e-5)


def test_archive_whose_parts_do_not_fit_is_refused(archive: Archive) -> None:
    with pytest.raises(InputError, match="do not fit together"):
        Archive("odd", archive.images, archive.labels, archive.ids[1:], archive.class_names)


@pytest.mark.parametrize("value", [255, 2, -1, 0.5, np.nan])
def test_labels_other_than_0_and_1_are_refused_by_tile_and_class(value, archive: Archive, as_users_have_it) -> None:
    labels = archive.labels.astype(type(value) if isinstance(value, float) else int)
    labels[7, 1] = value
    with pytest.raises(InputError, match=rf"tile tile007 has the label {value} for class class1: labels are 0 or 1"):
        Archive("odd", archive.images, labels, archive.ids, archive.class_names)


def test_labels_that_nobody_knows_are_refused(archive: Archive, as_users_have_it) -> None:
    masked = np.ma.masked_array(archive.labels, archive.labels == 1)
    with pytest.raises(ValueError, match="masked values: fill them"):
        Archive("odd", archive.images, masked, archive.ids, archive.class_names)
    with pytest.raises(InputError, match=r"labels have the shape \(60,\)"):
        Archive("odd", archive.images, archive.labels[:, 0], archive.ids, archive.class_names)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("kind", [">u2", ">f4"])
def test_big_endian_tiles_and_labels_reach_the_devices_as_they_are_meant(
    kind, on_device, archive: Archive, as_users_have_it
) -> None:
    split = random_split(0, len(archive.ids), 10, 10)
    images, labels = archive.images.astype(kind), archive.labels.astype(">i4")
    swapped = Archive("swapped", images, labels, archive.ids, archive.class_names)
    tiles = split_tiles(swapped, split, 0, on_device)
    (batch,) = tiles.pool.batches(np.arange(4), 4)
    np.testing.assert_array_equal(jnp.asarray(batch) + 0, archive.images[split.pool[:4]])
    np.testing.assert_array_equal(jnp.asarray(tiles.pool.labels_of(np.arange(4))) + 0, archive.labels[split.pool[:4]])
