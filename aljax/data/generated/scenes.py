"""Generated land-use scenes seen from above: an archive that needs no download.

Like real archives it is redundant and long-tailed: two thirds of the tiles show one or two common covers, the
rest compound scenes whose rare small objects (cars, boats, tanks, courts) come with certain surroundings.
That is what makes choosing tiles pay. Every element is drawn twice, in colour and as its class, so a label is
1 exactly if enough of the class is still visible when the scene is finished.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from aljax.data.archive import Archive
from aljax.data.generated.scene_elements import (
    CLASS_NAMES,
    WHOLE,
    Canvas,
    bare_soil,
    boats,
    buildings,
    cars,
    court,
    field,
    grass,
    pavement,
    rectangle,
    sand,
    some,
    tanks,
    trees,
    water,
)
from aljax.errors import InputError

# Visible part of a tile, in 1/1000 of its area, from which a class is there: objects are small, covers are not.
VISIBLE_OBJECT = 4.0
VISIBLE_COVER = 15.0
OBJECTS = ("cars", "boats", "tanks", "court", "trees", "buildings")


# Scenes: the common ones first.


def farmland(canvas: Canvas) -> None:
    """A field, sometimes with a neighbour."""
    field(canvas)
    if canvas.rng.random() < 0.2:
        edge = canvas.rng.uniform(0.6, 0.8)
        (bare_soil, grass)[canvas.rng.integers(2)](canvas, rectangle(edge, 0.0, 1.0, 1.0))


def meadow(canvas: Canvas) -> None:
    """Grass, sometimes with a few trees."""
    grass(canvas)
    if canvas.rng.random() < 0.3:
        trees(canvas, count=some(canvas, 2, 5))


def forest(canvas: Canvas) -> None:
    """Trees only."""
    canvas.polygon(WHOLE, canvas.shade((44, 76, 38), 8.0), "trees")
    trees(canvas, count=110)


def open_water(canvas: Canvas) -> None:
    """Water, sometimes with a wooded shore."""
    water(canvas)
    if canvas.rng.random() < 0.15:
        trees(canvas, (0.0, 0.0, 1.0, 0.15), 14)


def fallow(canvas: Canvas) -> None:
    """Bare soil only."""
    bare_soil(canvas)


def street(canvas: Canvas) -> None:
    """A road with what stands beside it and drives on it."""
    (grass, grass, bare_soil)[canvas.rng.integers(3)](canvas)
    top = canvas.rng.uniform(0.3, 0.5)
    pavement(canvas, rectangle(0.0, top, 1.0, top + 0.26))
    if canvas.rng.random() < 0.7:
        buildings(canvas, (0.1, 0.08, 0.9, top - 0.14), some(canvas, 1, 4))
    if canvas.rng.random() < 0.6:
        trees(canvas, (0.0, top + 0.38, 1.0, 1.0), some(canvas, 3, 7))
    if canvas.rng.random() < 0.75:
        cars(canvas, (0.1, top + 0.06, 0.9, top + 0.2), some(canvas, 1, 4))


def parking(canvas: Canvas) -> None:
    """Rows of parked cars."""
    pavement(canvas)
    for row in np.arange(0.15, 0.95, canvas.rng.uniform(0.2, 0.3)):
        cars(canvas, (0.05, row - 0.01, 0.95, row + 0.01), some(canvas, 1, 6), np.pi / 2)
    if canvas.rng.random() < 0.4:
        buildings(canvas, (0.15, 0.8, 0.85, 0.9), 2)


def harbour(canvas: Canvas) -> None:
    """Boats off a quay."""
    water(canvas)
    quay = canvas.rng.uniform(0.15, 0.3)
    pavement(canvas, rectangle(0.0, 0.0, 1.0, quay))
    boats(canvas, (0.1, quay + 0.1, 0.9, 0.9), some(canvas, 1, 7))
    if canvas.rng.random() < 0.3:
        cars(canvas, (0.1, 0.05, 0.9, quay - 0.06), 2)


def beach(canvas: Canvas) -> None:
    """Sand and water."""
    water(canvas)
    shore = canvas.rng.uniform(0.35, 0.65)
    sand(canvas, np.array([[0, 0], [1, 0], [1, shore + canvas.rng.normal(0, 0.08)], [0, shore]]))
    if canvas.rng.random() < 0.35:
        boats(canvas, (0.1, 0.78, 0.9, 0.92), some(canvas, 1, 3))
    if canvas.rng.random() < 0.35:
        trees(canvas, (0.0, 0.0, 1.0, 0.15), 5)


def industry(canvas: Canvas) -> None:
    """Tanks and sheds."""
    (bare_soil, pavement)[canvas.rng.integers(2)](canvas)
    tanks(canvas, (0.15, 0.15, 0.85, 0.5), some(canvas, 1, 5))
    if canvas.rng.random() < 0.5:
        buildings(canvas, (0.2, 0.75, 0.8, 0.88), some(canvas, 1, 3))


def sports(canvas: Canvas) -> None:
    """Courts."""
    (grass, pavement)[canvas.rng.integers(2)](canvas)
    court(canvas, (0.3, 0.25, 0.7, 0.45))
    if canvas.rng.random() < 0.4:
        court(canvas, (0.3, 0.75, 0.7, 0.8))
    if canvas.rng.random() < 0.4:
        trees(canvas, (0.0, 0.9, 1.0, 1.0), 6)


SCENES: tuple[tuple[float, Callable[[Canvas], None]], ...] = (
    (0.21, farmland),
    (0.15, meadow),
    (0.15, forest),
    (0.13, open_water),
    (0.10, fallow),
    (0.07, street),
    (0.05, parking),
    (0.04, harbour),
    (0.03, beach),
    (0.035, industry),
    (0.035, sports),
)


def render(seed: int, index: int, size: int) -> tuple[UInt8[np.ndarray, "size size 3"], UInt8[np.ndarray, " c"]]:
    """Tile `index` of the archive with that seed, and its labels; it depends on nothing else."""
    rng = np.random.default_rng([seed, index])
    canvas = Canvas(rng, size)
    probabilities, scenes = zip(*SCENES, strict=True)
    scenes[rng.choice(len(scenes), p=probabilities)](canvas)
    pixels = np.asarray(canvas.colours.resize((size, size), Image.Resampling.BOX), np.float32)
    light, cast = rng.normal(1.0, 0.08), rng.normal(1.0, 0.03, 3)
    texture = rng.normal(0.0, 5.0, (size, size, 1)) + rng.normal(0.0, 3.0, (size, size, 3))
    pixels = np.clip(pixels * light * cast + texture, 0, 255).astype(np.uint8)
    # A scene has no preferred direction: any of the eight symmetries of the square.
    pixels = np.rot90(pixels, int(rng.integers(4)))
    return pixels[:, :: rng.choice((-1, 1))], _labels(np.asarray(canvas.classes))


def _labels(classes: UInt8[np.ndarray, "side side"]) -> UInt8[np.ndarray, " c"]:
    visible = np.bincount(classes.ravel(), minlength=256)[: len(CLASS_NAMES)] * 1000.0 / classes.size
    least = [VISIBLE_OBJECT if name in OBJECTS else VISIBLE_COVER for name in CLASS_NAMES]
    return (visible >= least).astype(np.uint8)


def generate_scenes(num_tiles: int, size: int = 32, seed: int = 0) -> Archive:
    """An archive of `num_tiles` RGB tiles of `size` x `size` pixels with 12 classes. Raises InputError."""
    if num_tiles < 1 or size < 16:
        raise InputError(f"{num_tiles} tiles of {size} pixels: ask for at least 1 tile of at least 16 pixels")
    images, labels = zip(*(render(seed, index, size) for index in range(num_tiles)), strict=True)
    ids = tuple(f"scene{index:06d}" for index in range(num_tiles))
    return Archive("generated scenes", np.stack(images), np.stack(labels), ids, CLASS_NAMES)
