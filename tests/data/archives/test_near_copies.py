"""Held-out tiles that are nearly those of the pool are told, by features and by pixels, and others are not."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiles_on_disk import on_disk
from tiny import make_archive

from aljax.data.archives import near_copies
from aljax.data.archives.near_copies import most_alike, warn_of_near_copies
from aljax.data.generated.scenes import generate_scenes
from aljax.errors import InputWarning

SCENES = generate_scenes(24, 64, 0)
LEARNT, HELD = np.arange(16), np.arange(16, 24)


def scanned_again(pixels: np.ndarray) -> np.ndarray:
    """The tile a little brighter, with other noise."""
    noise = np.random.default_rng(0).normal(0, 1.5, pixels.shape)
    return np.clip(pixels * 1.05 + 6 + noise, 0, 255).astype(np.uint8)


def said(archive, learnt=LEARNT, held=HELD) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_near_copies(archive, learnt, held)
    return [str(one.message) for one in caught]


def test_different_scenes_are_not_reported() -> None:
    assert said(SCENES) == []
    assert said(SCENES, LEARNT[:0]) == said(SCENES, held=HELD[:0]) == []
    mixed = np.array(SCENES.images)
    mixed[20] = (0.8 * mixed[3] + 0.2 * mixed[4]).astype(np.uint8)  # alike, but not the same
    assert said(replace(SCENES, images=mixed)) == []
    flat = replace(SCENES, images=np.full((24, 64, 64, 3), 7, np.uint8))
    assert said(flat) == []  # nothing is in them to be alike


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_tile_that_is_there_a_little_brighter_is_reported(place: str, tmp_path: Path) -> None:
    images = np.array(SCENES.images)
    images[20], images[17] = scanned_again(images[3]), scanned_again(images[4])
    archive = replace(SCENES, images=images)
    if place == "disk":
        archive = on_disk(archive, tmp_path)
        (tmp_path / f"{SCENES.ids[5]}.png").write_bytes(b"")  # one that cannot be read
    (message,) = said(archive)
    ids = SCENES.ids
    assert message.startswith("2 tiles to learn from have nearly the pixels of test or validation tiles (")
    assert f"{ids[3]} and {ids[20]}" in message
    assert f"{ids[4]} and {ids[17]}" in message
    assert message.endswith("): where both show one scene, scores flatter; move one away")
    copies = np.arange(24)
    copies[20] = 3
    assert said(replace(archive, copy_of=copies))[0].startswith("1 tiles to learn from")


def test_near_features_are_reported_and_few_features_say_nothing(monkeypatch) -> None:
    monkeypatch.setattr(near_copies, "PRODUCTS_AT_ONCE", 20)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(24, 64)).astype(np.float32) + 5.0
    for one, other in ((0, 16), (1, 17), (2, 18), (3, 19)):
        vectors[other] = vectors[one] + rng.normal(size=64) * 0.05
    archive = replace(make_archive(24), images=vectors[:, None, None])
    with pytest.warns(InputWarning, match=r"4 tiles to learn from have nearly the features of .* and 1 more\): "):
        warn_of_near_copies(archive, LEARNT, HELD)
    few = replace(archive, images=vectors[:, None, None, :8])
    assert said(few) == []


def test_most_alike_is_found_over_blocks(monkeypatch) -> None:
    monkeypatch.setattr(near_copies, "PRODUCTS_AT_ONCE", 20)
    some, others = (np.random.default_rng(seed).normal(size=(30, 5)) for seed in (0, 1))
    cosines, nearest = most_alike(some, others[:7])
    products = some @ others[:7].T
    np.testing.assert_array_equal(nearest, products.argmax(1))
    np.testing.assert_allclose(cosines, products.max(1), rtol=1e-6)
