"""Generated land-use scenes seen from above: an archive that needs no download.

Like real archives it is redundant and long-tailed: two thirds of the tiles show one or two common covers, the
rest compound scenes whose rare small objects (cars, boats, tanks, courts) come with certain surroundings.
That is what makes choosing tiles pay. Every element is drawn twice, in colour and as its class, so a label is
1 exactly if enough of the class is still visible when the scene is finished.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from aljax.data.archive import Archive
from aljax.errors import InputError

CLASS_NAMES = (
    "field",
    "grass",
    "bare-soil",
    "trees",
    "water",
    "sand",
    "pavement",
    "buildings",
    "cars",
    "boats",
    "tanks",
    "court",
)
OVERSAMPLING = 2
# Visible part of a tile, in 1/1000 of its area, from which a class is there: objects are small, covers are not.
VISIBLE_OBJECT = 4.0
VISIBLE_COVER = 15.0
OBJECTS = ("cars", "boats", "tanks", "court", "trees", "buildings")

Colour = Sequence[float] | np.ndarray
ROOFS = ((178, 84, 66), (150, 140, 132), (205, 198, 190), (120, 88, 76))
CAR_PAINTS = ((230, 230, 232), (40, 42, 48), (190, 40, 38), (52, 84, 160), (200, 180, 60))


class Canvas:
    """A tile in the making: its colours and its classes, on a square with sides of length 1."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng = rng
        self.side = size * OVERSAMPLING
        self.colours = Image.new("RGB", (self.side, self.side))
        self.classes = Image.new("L", (self.side, self.side), 255)
        self._pens = ImageDraw.Draw(self.colours), ImageDraw.Draw(self.classes)

    def polygon(self, points: np.ndarray, colour: Colour, name: str | None) -> None:
        """Fills a polygon (k, 2); without a class name it is a mark on what lies below."""
        corners = [tuple(point) for point in np.asarray(points) * self.side]
        self._pens[0].polygon(corners, fill=_rgb(colour))
        if name is not None:
            self._pens[1].polygon(corners, fill=CLASS_NAMES.index(name))

    def disc(self, centre: np.ndarray, radius: float, colour: Colour, name: str | None) -> None:
        """Fills a circle."""
        box = [*((centre - radius) * self.side), *((centre + radius) * self.side)]
        self._pens[0].ellipse(box, fill=_rgb(colour))
        if name is not None:
            self._pens[1].ellipse(box, fill=CLASS_NAMES.index(name))

    def shade(self, colour: Colour, spread: float = 14.0) -> np.ndarray:
        """The colour, a little brighter or darker and a little off in hue."""
        return np.asarray(colour) + self.rng.normal(0.0, spread) + self.rng.normal(0.0, spread / 3, 3)


def _count(canvas: "Canvas", least: int, below: int) -> int:
    return int(canvas.rng.integers(least, below))


def _rgb(colour: Colour) -> tuple[int, ...]:
    return tuple(int(value) for value in np.clip(colour, 0, 255))


def _box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _turned(centre: np.ndarray, length: float, width: float, angle: float) -> np.ndarray:
    """Corners of a rectangle around `centre`, its length along `angle`."""
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    return np.array([centre + a * length / 2 * along + b * width / 2 * across for a, b in CORNERS])


CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))
WHOLE = _box(0.0, 0.0, 1.0, 1.0)


# Covers: fill an area given as a polygon.


def field(canvas: Canvas, area: np.ndarray = WHOLE) -> None:
    """A crop with furrows."""
    crop = canvas.shade(((150, 160, 70), (110, 140, 60), (186, 164, 84))[canvas.rng.integers(3)])
    canvas.polygon(area, crop, "field")
    (left, top), (right, bottom) = area.min(0), area.max(0)
    step = canvas.rng.uniform(0.09, 0.16)
    for x in np.arange(left + step / 2, right, step):
        canvas.polygon(_box(*map(float, (x, top, min(x + step * 0.4, right), bottom))), crop - 34, None)


def grass(canvas: Canvas, area: np.ndarray = WHOLE) -> None:
    """Lawn or meadow."""
    canvas.polygon(area, canvas.shade((112, 146, 66)), "grass")


def bare_soil(canvas: Canvas, area: np.ndarray = WHOLE) -> None:
    """Open ground."""
    canvas.polygon(area, canvas.shade((156, 122, 88)), "bare-soil")


def water(canvas: Canvas, area: np.ndarray = WHOLE) -> None:
    """River, lake or sea."""
    canvas.polygon(area, canvas.shade((46, 82, 112)), "water")


def sand(canvas: Canvas, area: np.ndarray = WHOLE) -> None:
    """Beach."""
    canvas.polygon(area, canvas.shade((214, 198, 156), 9.0), "sand")


def pavement(canvas: Canvas, area: np.ndarray = WHOLE) -> None:
    """Road, square or quay."""
    canvas.polygon(area, canvas.shade((116, 116, 120)), "pavement")


# Objects: drawn inside a box (left, top, right, bottom).

Box = tuple[float, float, float, float]


def _spots(canvas: Canvas, box: Box, count: int) -> np.ndarray:
    left, top, right, bottom = box
    return canvas.rng.uniform((left, top), (right, bottom), (count, 2))


def trees(canvas: Canvas, box: Box = (0.0, 0.0, 1.0, 1.0), count: int = 8) -> None:
    """Crowns with their shadows."""
    for spot in _spots(canvas, box, count):
        radius = canvas.rng.uniform(0.05, 0.1)
        green = canvas.shade((52, 88, 44), 8.0)
        canvas.disc(spot + 0.02, radius, green * 0.55, "trees")
        canvas.disc(spot, radius * 0.9, green, "trees")


def buildings(canvas: Canvas, box: Box, count: int) -> None:
    """Pitched roofs with their shadows."""
    for spot in _spots(canvas, box, count):
        length, width = canvas.rng.uniform(0.16, 0.3), canvas.rng.uniform(0.12, 0.2)
        angle = canvas.rng.normal(0.0, 0.1)
        roof = canvas.shade(ROOFS[canvas.rng.integers(len(ROOFS))], 8.0)
        canvas.polygon(_turned(spot + 0.025, length, width, angle), (44, 44, 48), None)
        canvas.polygon(_turned(spot, length, width, angle), roof, "buildings")
        canvas.polygon(_turned(spot - (0, width / 4), length, width / 2, angle), roof * 0.8, "buildings")


def cars(canvas: Canvas, box: Box, count: int, angle: float = 0.0) -> None:
    """Cars along `angle`, in radians."""
    for spot in _spots(canvas, box, count):
        paint = canvas.shade(CAR_PAINTS[canvas.rng.integers(len(CAR_PAINTS))], 6.0)
        canvas.polygon(_turned(spot + 0.012, 0.12, 0.06, angle), (50, 50, 54), None)
        canvas.polygon(_turned(spot, 0.12, 0.06, angle), paint, "cars")


def boats(canvas: Canvas, box: Box, count: int) -> None:
    """Boats in any direction."""
    for spot in _spots(canvas, box, count):
        angle, length = canvas.rng.uniform(0, np.pi), canvas.rng.uniform(0.13, 0.2)
        along = np.array([np.cos(angle), np.sin(angle)])
        across = 0.032 * np.array([-along[1], along[0]])
        stern, bow = spot - length / 2 * along, spot + length / 2 * along
        hull = np.array([stern - across, spot - across, bow, spot + across, stern + across])
        canvas.polygon(hull, canvas.shade((226, 228, 230), 6.0), "boats")


def tanks(canvas: Canvas, box: Box, count: int) -> None:
    """Storage tanks."""
    for spot in _spots(canvas, box, count):
        radius = canvas.rng.uniform(0.08, 0.13)
        canvas.disc(spot + 0.03, radius, (60, 58, 58), None)
        canvas.disc(spot, radius, canvas.shade((206, 206, 200), 8.0), "tanks")
        canvas.disc(spot, radius * 0.35, (170, 170, 166), "tanks")


def court(canvas: Canvas, box: Box) -> None:
    """A tennis court."""
    centre = _spots(canvas, box, 1)[0]
    angle = canvas.rng.normal(0.0, 0.15)
    floor = ((60, 104, 128), (150, 78, 62), (56, 110, 84))[canvas.rng.integers(3)]
    for scale, colour in ((1.0, canvas.shade(floor, 8.0)), (0.78, (228, 228, 224)), (0.66, canvas.shade(floor, 8.0))):
        canvas.polygon(_turned(centre, 0.42 * scale, 0.24 * scale, angle), colour, "court")
    canvas.polygon(_turned(centre, 0.02, 0.17, angle), (228, 228, 224), "court")


# Scenes: the common ones first.


def farmland(canvas: Canvas) -> None:
    """A field, sometimes with a neighbour."""
    field(canvas)
    if canvas.rng.random() < 0.2:
        edge = canvas.rng.uniform(0.6, 0.8)
        (bare_soil, grass)[canvas.rng.integers(2)](canvas, _box(edge, 0.0, 1.0, 1.0))


def meadow(canvas: Canvas) -> None:
    """Grass, sometimes with a few trees."""
    grass(canvas)
    if canvas.rng.random() < 0.3:
        trees(canvas, count=_count(canvas, 2, 5))


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
    pavement(canvas, _box(0.0, top, 1.0, top + 0.26))
    if canvas.rng.random() < 0.7:
        buildings(canvas, (0.1, 0.08, 0.9, top - 0.14), _count(canvas, 1, 4))
    if canvas.rng.random() < 0.6:
        trees(canvas, (0.0, top + 0.38, 1.0, 1.0), _count(canvas, 3, 7))
    if canvas.rng.random() < 0.75:
        cars(canvas, (0.1, top + 0.06, 0.9, top + 0.2), _count(canvas, 1, 4))


def parking(canvas: Canvas) -> None:
    """Rows of parked cars."""
    pavement(canvas)
    for row in np.arange(0.15, 0.95, canvas.rng.uniform(0.2, 0.3)):
        cars(canvas, (0.05, row - 0.01, 0.95, row + 0.01), _count(canvas, 1, 6), np.pi / 2)
    if canvas.rng.random() < 0.4:
        buildings(canvas, (0.15, 0.8, 0.85, 0.9), 2)


def harbour(canvas: Canvas) -> None:
    """Boats off a quay."""
    water(canvas)
    quay = canvas.rng.uniform(0.15, 0.3)
    pavement(canvas, _box(0.0, 0.0, 1.0, quay))
    boats(canvas, (0.1, quay + 0.1, 0.9, 0.9), _count(canvas, 1, 7))
    if canvas.rng.random() < 0.3:
        cars(canvas, (0.1, 0.05, 0.9, quay - 0.06), 2)


def beach(canvas: Canvas) -> None:
    """Sand and water."""
    water(canvas)
    shore = canvas.rng.uniform(0.35, 0.65)
    sand(canvas, np.array([[0, 0], [1, 0], [1, shore + canvas.rng.normal(0, 0.08)], [0, shore]]))
    if canvas.rng.random() < 0.35:
        boats(canvas, (0.1, 0.78, 0.9, 0.92), _count(canvas, 1, 3))
    if canvas.rng.random() < 0.35:
        trees(canvas, (0.0, 0.0, 1.0, 0.15), 5)


def industry(canvas: Canvas) -> None:
    """Tanks and sheds."""
    (bare_soil, pavement)[canvas.rng.integers(2)](canvas)
    tanks(canvas, (0.15, 0.15, 0.85, 0.5), _count(canvas, 1, 5))
    if canvas.rng.random() < 0.5:
        buildings(canvas, (0.2, 0.75, 0.8, 0.88), _count(canvas, 1, 3))


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
