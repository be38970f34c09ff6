"""The elements that generated scenes are composed of: covers fill an area, objects stand in a box.

Positions and sizes are fractions of the tile's side, so a scene looks the same at every resolution.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

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


def some(canvas: "Canvas", least: int, below: int) -> int:
    """A random number of objects, `least` or more but fewer than `below`."""
    return int(canvas.rng.integers(least, below))


def _rgb(colour: Colour) -> tuple[int, ...]:
    return tuple(int(value) for value in np.clip(colour, 0, 255))


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Corners (4, 2) of an upright rectangle."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _turned(centre: np.ndarray, length: float, width: float, angle: float) -> np.ndarray:
    """Corners of a rectangle around `centre`, its length along `angle`."""
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    return np.array([centre + a * length / 2 * along + b * width / 2 * across for a, b in CORNERS])


CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))
WHOLE = rectangle(0.0, 0.0, 1.0, 1.0)


# Covers: fill an area given as a polygon.


def field(canvas: Canvas, area: np.ndarray = WHOLE) -> None:
    """A crop with furrows."""
    crop = canvas.shade(((150, 160, 70), (110, 140, 60), (186, 164, 84))[canvas.rng.integers(3)])
    canvas.polygon(area, crop, "field")
    (left, top), (right, bottom) = area.min(0), area.max(0)
    step = canvas.rng.uniform(0.09, 0.16)
    for x in np.arange(left + step / 2, right, step):
        canvas.polygon(rectangle(*map(float, (x, top, min(x + step * 0.4, right), bottom))), crop - 34, None)


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
