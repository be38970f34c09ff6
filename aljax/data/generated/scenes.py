"""Synthetic land-use scenes seen from above: an archive that needs no download.

Like real archives it is redundant and long-tailed: two thirds of the tiles show one or two common covers, the rest
are compound scenes with rare small objects (cars, boats, tanks, courts) in typical surroundings. So query functions
can gain over random choice. Every element is drawn twice, in colour and as its class, so a label is 1 exactly if enough
of the class is visible in the finished scene.
"""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from aljax.data.archive import Archive
from aljax.data.generated.scene_elements import CLASS_NAMES, WHOLE, Canvas, rectangle
from aljax.errors import InputError

# Smallest visible area, in 1/1000 of the tile, for a label; small objects need less than covers.
VISIBLE_OBJECT = 4.0
VISIBLE_COVER = 15.0
OBJECTS = ("cars", "boats", "tanks", "court", "trees", "buildings")
EVERYWHERE = (0.0, 0.0, 1.0, 1.0)


# Scenes, the common ones first.


def farmland(canvas: Canvas) -> None:
    """A field, sometimes with a neighbour."""
    canvas.field()
    if canvas.rng.random() < 0.2:
        edge = canvas.rng.uniform(0.6, 0.8)
        canvas.cover(("bare-soil", "grass")[canvas.rng.integers(2)], rectangle(edge, 0.0, 1.0, 1.0))


def meadow(canvas: Canvas) -> None:
    """Grass, sometimes with a few trees."""
    canvas.cover("grass")
    canvas.trees(EVERYWHERE, (2, 5), chance=0.3)


def forest(canvas: Canvas) -> None:
    """Trees only."""
    canvas.polygon(WHOLE, canvas.shade((44, 76, 38), 8.0), "trees")
    canvas.trees(EVERYWHERE, 110)


def open_water(canvas: Canvas) -> None:
    """Water, sometimes with a wooded shore."""
    canvas.cover("water")
    canvas.trees((0.0, 0.0, 1.0, 0.15), 14, chance=0.15)


def fallow(canvas: Canvas) -> None:
    """Bare soil only."""
    canvas.cover("bare-soil")


def street(canvas: Canvas) -> None:
    """A road with cars, between buildings and trees."""
    canvas.cover(("grass", "grass", "bare-soil")[canvas.rng.integers(3)])
    top = canvas.rng.uniform(0.3, 0.5)
    canvas.cover("pavement", rectangle(0.0, top, 1.0, top + 0.26))
    canvas.buildings((0.1, 0.08, 0.9, top - 0.14), (1, 4), chance=0.7)
    canvas.trees((0.0, top + 0.38, 1.0, 1.0), (3, 7), chance=0.6)
    canvas.cars((0.1, top + 0.06, 0.9, top + 0.2), (1, 4), chance=0.75)


def parking(canvas: Canvas) -> None:
    """Rows of parked cars."""
    canvas.cover("pavement")
    for row in np.arange(0.15, 0.95, canvas.rng.uniform(0.2, 0.3)):
        canvas.cars((0.05, row - 0.01, 0.95, row + 0.01), (1, 6), angle=np.pi / 2)
    canvas.buildings((0.15, 0.8, 0.85, 0.9), 2, chance=0.4)


def harbour(canvas: Canvas) -> None:
    """Boats off a quay."""
    canvas.cover("water")
    quay = canvas.rng.uniform(0.15, 0.3)
    canvas.cover("pavement", rectangle(0.0, 0.0, 1.0, quay))
    canvas.boats((0.1, quay + 0.1, 0.9, 0.9), (1, 7))
    canvas.cars((0.1, 0.05, 0.9, quay - 0.06), 2, chance=0.3)


def beach(canvas: Canvas) -> None:
    """Sand and water."""
    canvas.cover("water")
    shore = canvas.rng.uniform(0.35, 0.65)
    canvas.cover("sand", np.array([[0, 0], [1, 0], [1, shore + canvas.rng.normal(0, 0.08)], [0, shore]]))
    canvas.boats((0.1, 0.78, 0.9, 0.92), (1, 3), chance=0.35)
    canvas.trees((0.0, 0.0, 1.0, 0.15), 5, chance=0.35)


def industry(canvas: Canvas) -> None:
    """Tanks and sheds."""
    canvas.cover(("bare-soil", "pavement")[canvas.rng.integers(2)])
    canvas.tanks((0.15, 0.15, 0.85, 0.5), (1, 5))
    canvas.buildings((0.2, 0.75, 0.8, 0.88), (1, 3), chance=0.5)


def sports(canvas: Canvas) -> None:
    """Courts."""
    canvas.cover(("grass", "pavement")[canvas.rng.integers(2)])
    canvas.court((0.3, 0.25, 0.7, 0.45))
    canvas.court((0.3, 0.75, 0.7, 0.8), chance=0.4)
    canvas.trees((0.0, 0.9, 1.0, 1.0), 6, chance=0.4)


# With their frequencies.
COMMON = {farmland: 0.21, meadow: 0.15, forest: 0.15, open_water: 0.13, fallow: 0.10}
COMPOUND = {street: 0.07, parking: 0.05, harbour: 0.04, beach: 0.03, industry: 0.035, sports: 0.035}


def render(seed: int, index: int, size: int) -> tuple[UInt8[np.ndarray, "size size 3"], UInt8[np.ndarray, " c"]]:
    """Pixels and labels of tile `index` of the archive with this seed; they depend on the three arguments alone."""
    rng = np.random.default_rng([seed, index])
    canvas = Canvas(rng, size)
    scenes = COMMON | COMPOUND
    list(scenes)[rng.choice(len(scenes), p=list(scenes.values()))](canvas)
    pixels = np.asarray(canvas.colours.resize((size, size), Image.Resampling.BOX), np.float32)
    light, cast = rng.normal(1.0, 0.08), rng.normal(1.0, 0.03, 3)
    texture = rng.normal(0.0, 5.0, (size, size, 1)) + rng.normal(0.0, 3.0, (size, size, 3))
    pixels = np.clip(pixels * light * cast + texture, 0, 255).astype(np.uint8)
    # A scene has no preferred direction: any of the eight symmetries of the square.
    pixels = np.rot90(pixels, int(rng.integers(4)))
    pixels = pixels[:, :: rng.choice((-1, 1))]
    classes = np.asarray(canvas.classes)
    visible = np.bincount(classes.ravel(), minlength=256)[: len(CLASS_NAMES)] * 1000.0 / classes.size
    least = [VISIBLE_OBJECT if name in OBJECTS else VISIBLE_COVER for name in CLASS_NAMES]
    return pixels, (visible >= least).astype(np.uint8)


def generate_scenes(num_tiles: int, size: int = 32, seed: int = 0) -> Archive:
    """An archive of `num_tiles` RGB tiles of `size` x `size` pixels with 12 classes.

    Raises InputError for no tiles, or a size below 16.
    """
    if num_tiles < 1 or size < 16:
        raise InputError(f"{num_tiles} tiles of {size} pixels: ask for at least 1 tile of at least 16 pixels")
    images, labels = zip(*(render(seed, index, size) for index in range(num_tiles)), strict=True)
    ids = tuple(f"scene{index:06d}" for index in range(num_tiles))
    return Archive("generated scenes", np.stack(images), np.stack(labels), ids, CLASS_NAMES)
