"""Generated scenes: the same for a seed, and as redundant as real archives."""

import numpy as np
import pytest

from aljax.data.generated.scenes import CLASS_NAMES, generate_scenes, render
from aljax.errors import InputError


def test_scene_depends_on_seed_and_index_alone() -> None:
    archive = generate_scenes(12, 32, seed=3)
    pixels, labels = render(3, 7, 32)
    np.testing.assert_array_equal(archive.images[7], pixels)
    np.testing.assert_array_equal(archive.labels[7], labels)
    assert np.any(generate_scenes(12, 32, seed=4).images != archive.images)


def test_scenes_are_multi_label_correlated_and_imbalanced() -> None:
    labels = generate_scenes(600).labels.astype(float)
    share = dict(zip(CLASS_NAMES, labels.mean(0), strict=True))
    assert (labels.sum(1) >= 1).all()
    assert (labels.sum(1) >= 3).mean() > 0.05
    assert all(0.01 < share[name] < 0.12 for name in ("boats", "tanks", "court"))
    assert all(share[name] > 0.15 for name in ("field", "grass", "trees", "water"))
    assert np.corrcoef(labels.T)[CLASS_NAMES.index("cars"), CLASS_NAMES.index("pavement")] > 0.4


@pytest.mark.parametrize(("tiles", "size"), [(0, 32), (5, 15)])
def test_impossible_scenes_are_refused(tiles: int, size: int) -> None:
    with pytest.raises(InputError, match="at least"):
        generate_scenes(tiles, size)
