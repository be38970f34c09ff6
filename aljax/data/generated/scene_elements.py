"""Elements of synthetic scenes: covers, which fill an area, and objects at random positions in a box.

Positions and sizes are fractions of the tile's width, so a scene looks the same at every resolution.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

CLASS_NAMES = (
    *("field", "grass", "bare-soil", "trees", "water", "sand", "pavement"),
    *("buildings", "cars", "boats", "tanks", "court"),
)
OVERSAMPLING = 2
Colour = Sequence[float] | np.ndarray
Box = tuple[float, float, float, float]
"""Left, top, right and bottom of the area in which objects are placed."""
Count = int | tuple[int, int]
"""Number of objects, or the range (inclusive, exclusive) of a random number."""
# Covers of one colour, with the standard deviation of its brightness over the tiles.
COVERS = {
    "grass": ((112, 146, 66), 14.0),
    "bare-soil": ((156, 122, 88), 14.0),
    "water": ((46, 82, 112), 14.0),
    "sand": ((214, 198, 156), 9.0),
    "pavement": ((116, 116, 120), 14.0),
}
CROPS = ((150, 160, 70), (110, 140, 60), (186, 164, 84))
ROOFS = ((178, 84, 66), (150, 140, 132), (205, 198, 190), (120, 88, 76))
CAR_PAINTS = ((230, 230, 232), (40, 42, 48), (190, 40, 38), (52, 84, 160), (200, 180, 60))
COURTS = ((60, 104, 128), (150, 78, 62), (56, 110, 84))
LINES = (228, 228, 224)


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Corners (4, 2) of an upright rectangle."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _turned(centre: np.ndarray, length: float, width: float, angle: float) -> np.ndarray:
    """Corners of a rectangle around `centre`, its length along `angle`."""
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return np.array([centre + a * length / 2 * along + b * width / 2 * across for a, b in corners])


WHOLE = rectangle(0.0, 0.0, 1.0, 1.0)


class Canvas:
    """A tile that is being drawn: its colours and its class map, in coordinates from 0 to 1."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng = rng
        self.side = size * OVERSAMPLING
        self.colours = Image.new("RGB", (self.side, self.side))
        self.classes = Image.new("L", (self.side, self.side), 255)
        self._pens = ImageDraw.Draw(self.colours), ImageDraw.Draw(self.classes)

    def polygon(self, points: np.ndarray, colour: Colour, name: str | None) -> None:
        """Fills a polygon (k, 2); without a class name only the colour changes, not the class map."""
        self._fill("polygon", [tuple(point) for point in np.asarray(points) * self.side], colour, name)

    def disc(self, centre: np.ndarray, radius: float, colour: Colour, name: str | None) -> None:
        """Fills a circle, as `polygon` does."""
        self._fill("ellipse", [*((centre - radius) * self.side), *((centre + radius) * self.side)], colour, name)

    def _fill(self, shape: str, place: list[Any], colour: Colour, name: str | None) -> None:
        getattr(self._pens[0], shape)(place, fill=tuple(int(value) for value in np.clip(colour, 0, 255)))
        if name is not None:
            getattr(self._pens[1], shape)(place, fill=CLASS_NAMES.index(name))

    def shade(self, colour: Colour, deviation: float = 14.0) -> np.ndarray:
        """The colour with random brightness, of this standard deviation, and slightly random hue."""
        return np.asarray(colour) + self.rng.normal(0.0, deviation) + self.rng.normal(0.0, deviation / 3, 3)

    def cover(self, name: str, area: np.ndarray = WHOLE) -> None:
        """Grass, bare soil, water, sand or pavement."""
        self.polygon(area, self.shade(*COVERS[name]), name)

    def field(self, area: np.ndarray = WHOLE) -> None:
        """A crop with furrows."""
        crop = self.shade(CROPS[self.rng.integers(3)])
        self.polygon(area, crop, "field")
        (left, top), (right, bottom) = area.min(0), area.max(0)
        step = self.rng.uniform(0.09, 0.16)
        for x in np.arange(left + step / 2, right, step):
            self.polygon(rectangle(*map(float, (x, top, min(x + step * 0.4, right), bottom))), crop - 34, None)

    def _spots(self, box: Box, count: Count, chance: float) -> np.ndarray:
        """Random positions (k, 2) of `count` objects, which are there with probability `chance`."""
        if chance < 1.0 and self.rng.random() >= chance:
            return np.empty((0, 2))
        left, top, right, bottom = box
        number = count if isinstance(count, int) else int(self.rng.integers(*count))
        return self.rng.uniform((left, top), (right, bottom), (number, 2))

    def trees(self, box: Box, count: Count, chance: float = 1.0) -> None:
        """Crowns with their shadows."""
        for spot in self._spots(box, count, chance):
            radius = self.rng.uniform(0.05, 0.1)
            green = self.shade((52, 88, 44), 8.0)
            self.disc(spot + 0.02, radius, green * 0.55, "trees")
            self.disc(spot, radius * 0.9, green, "trees")

    def buildings(self, box: Box, count: Count, chance: float = 1.0) -> None:
        """Pitched roofs with their shadows."""
        for spot in self._spots(box, count, chance):
            length, width = self.rng.uniform(0.16, 0.3), self.rng.uniform(0.12, 0.2)
            angle = self.rng.normal(0.0, 0.1)
            roof = self.shade(ROOFS[self.rng.integers(len(ROOFS))], 8.0)
            self.polygon(_turned(spot + 0.025, length, width, angle), (44, 44, 48), None)
            self.polygon(_turned(spot, length, width, angle), roof, "buildings")
            self.polygon(_turned(spot - (0, width / 4), length, width / 2, angle), roof * 0.8, "buildings")

    def cars(self, box: Box, count: Count, chance: float = 1.0, angle: float = 0.0) -> None:
        """Cars in the direction `angle`, in radians."""
        for spot in self._spots(box, count, chance):
            paint = self.shade(CAR_PAINTS[self.rng.integers(len(CAR_PAINTS))], 6.0)
            self.polygon(_turned(spot + 0.012, 0.12, 0.06, angle), (50, 50, 54), None)
            self.polygon(_turned(spot, 0.12, 0.06, angle), paint, "cars")

    def boats(self, box: Box, count: Count, chance: float = 1.0) -> None:
        """Boats in any direction."""
        for spot in self._spots(box, count, chance):
            angle, length = self.rng.uniform(0, np.pi), self.rng.uniform(0.13, 0.2)
            along = np.array([np.cos(angle), np.sin(angle)])
            across = 0.032 * np.array([-along[1], along[0]])
            stern, bow = spot - length / 2 * along, spot + length / 2 * along
            hull = np.array([stern - across, spot - across, bow, spot + across, stern + across])
            self.polygon(hull, self.shade((226, 228, 230), 6.0), "boats")

    def tanks(self, box: Box, count: Count, chance: float = 1.0) -> None:
        """Storage tanks."""
        for spot in self._spots(box, count, chance):
            radius = self.rng.uniform(0.08, 0.13)
            self.disc(spot + 0.03, radius, (60, 58, 58), None)
            self.disc(spot, radius, self.shade((206, 206, 200), 8.0), "tanks")
            self.disc(spot, radius * 0.35, (170, 170, 166), "tanks")

    def court(self, box: Box, chance: float = 1.0) -> None:
        """A tennis court."""
        for spot in self._spots(box, 1, chance):
            angle = self.rng.normal(0.0, 0.15)
            floor = COURTS[self.rng.integers(3)]
            for scale, colour in ((1.0, self.shade(floor, 8.0)), (0.78, LINES), (0.66, self.shade(floor, 8.0))):
                self.polygon(_turned(spot, 0.42 * scale, 0.24 * scale, angle), colour, "court")
            self.polygon(_turned(spot, 0.02, 0.17, angle), LINES, "court")
