"""Synthetic forest tiles in the format of TreeSatAI: four bands (IR, G, B, R) and the area of each genus.

A tile has a main stand, stands that usually grow beside its genus, stray trees of other species, and sometimes open
ground. Every tree and every ground is an object with an index and a height; its colour and genus are looked up by the
index, so areas are those visible from above. Trees are drawn at their size in metres: a tile shows the same ground,
60.8 m wide, at every resolution.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int32, UInt8, UInt16
from PIL import Image

from aljax.data.generated import forest_canopy as canopy
from aljax.data.generated.forest_plan import AGE_CROWNS, GROUNDS, SPECIES, Plan, Stand, has_trees, plan, stream

SIDE_M = 60.8  # width of a tile
MARGIN_M = 8.0  # drawn around the tile, for crowns and shadows from outside
LEAST_SIZE = 32
Areas = list[tuple[str, float]]


class Drawing(NamedTuple):
    """A tile with its margin as indices and heights of objects, with the stand and kind of each object."""

    canvas: Int32[np.ndarray, "side side"]
    stand: Int[np.ndarray, " objects"]  # index into the plan's stands
    kind: Int[np.ndarray, " objects"]  # index into (*SPECIES, *GROUNDS)
    relief: UInt8[np.ndarray, "side side"]  # slow variation of the ground


class Tile(NamedTuple):
    """A finished tile."""

    name: str  # file name: species, age class, index and sensor, as in the published archive
    pixels: UInt8[np.ndarray, "size size 4"]
    areas: Areas


def areas(seed: int, index: int, size: int) -> Areas:
    """Genus and fraction of the tile of each species, largest first; cheaper than `render`."""
    return _measure(_draw(plan(seed, index), stream(seed, index, "drawing"), size), size)


def render(seed: int, index: int, size: int) -> Tile:
    """Tile `index` of the archive with this seed, `size` x `size` pixels; it depends on these three alone."""
    scene = plan(seed, index)
    drawing = _draw(scene, stream(seed, index, "drawing"), size)
    return Tile(scene.name, _colour(drawing, scene, stream(seed, index, "colour"), size), _measure(drawing, size))


# The drawing: grounds, and trees on them.


def _draw(scene: Plan, rng: np.random.Generator, size: int) -> Drawing:
    scale = size / SIDE_M
    side = size + 2 * _margin(size)
    relief = _relief(rng, side)
    floors = _floors(scene, rng, relief, scale)
    canvas = floors.astype(np.int32)
    objects = np.array([(place, stand.kind) for place, stand in enumerate(scene.stands)])
    for place, stand in enumerate(scene.stands):
        if stand.kind < len(SPECIES):
            first, room = len(objects), canopy.MAX_OBJECTS - len(objects)
            trees, kinds = _trees(scene, stand, rng, floors == place, scale)
            canopy.put_crowns(canvas, trees[:room], first)
            objects = np.concatenate([objects, np.column_stack([np.full(len(kinds), place), kinds])[:room]])
    return Drawing(canvas, objects[:, 0], objects[:, 1], relief)


def _margin(size: int) -> int:
    return int(np.ceil(MARGIN_M * size / SIDE_M))


def _relief(rng: np.random.Generator, side: int) -> UInt8[np.ndarray, "side side"]:
    slow, quick = (
        Image.fromarray(rng.integers(0, 256, (waves, waves), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        for waves in (8, 40)
    )
    return ((np.asarray(slow, np.uint16) * 166 + np.asarray(quick, np.uint16) * 90) >> 8).astype(np.uint8)


def _floors(scene: Plan, rng: np.random.Generator, relief: np.ndarray, scale: float) -> UInt8[np.ndarray, "side side"]:
    """Index of the stand at each pixel, with irregular edges."""
    metres = ((np.arange(len(relief)) - (len(relief) - 1) / 2) / scale).astype(np.float32)
    y, x = metres[:, None], metres[None, :]
    crooked = relief.astype(np.float32) / np.float32(40.0) - np.float32(3.2)
    floors = np.zeros(relief.shape, np.uint8)
    for place, stand in enumerate(scene.stands):
        across = _direction(rng)
        centre = (rng.uniform(-0.8, 0.8, 2) * SIDE_M / 2).tolist()  # Python floats, so that float32 is not promoted
        if stand.shape == "group":
            reach = stand.extent * (1 + crooked / 4)
            covered = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < reach * reach
        elif stand.shape == "edge":
            covered = y * across[0] + x * across[1] > stand.extent + crooked
        elif stand.shape == "strip":
            covered = np.abs(y * across[0] + (x * across[1] - centre[0] / 2) + crooked / 4) < stand.extent
        else:
            continue
        floors[covered] = place
    return floors


def _direction(rng: np.random.Generator) -> tuple[float, float]:
    """A random unit vector."""
    while True:
        y, x = rng.uniform(-1.0, 1.0, 2).tolist()
        length = np.sqrt(y * y + x * x)
        if 0.1 < length < 1.0:
            return float(y / length), float(x / length)


def _trees(
    scene: Plan, stand: Stand, rng: np.random.Generator, ground: np.ndarray, scale: float
) -> tuple[Int[np.ndarray, "n 6"], Int[np.ndarray, " n"]]:
    """Rows for `put_crowns` and the species of the trees of a stand; `ground` is the mask of its pixels."""
    side, species = len(ground), SPECIES[stand.kind]
    growth = AGE_CROWNS[stand.age] if has_trees(stand.kind) else 1.0
    spots = _grid(rng, species.crown * growth * species.gaps, species.disorder, side / scale)
    kinds = np.where(rng.random(len(spots)) < scene.strays * has_trees(stand.kind), scene.stray, stand.kind)
    crowns = np.array([SPECIES[kind].crown for kind in (stand.kind, scene.stray)])
    diameter = growth * np.where(kinds == stand.kind, *crowns) * rng.uniform(0.78, 1.16, len(spots))
    pointed = np.array([species.pointed for species in SPECIES])[kinds]
    radius = np.maximum(np.rint(diameter / 2 * scale), 1)
    # Heights in steps of two metres give few different crowns, which are cached.
    height = np.maximum(np.rint(diameter * np.where(pointed, 1.9, 1.2) - 1.0), 1.0) * 2 * canopy.HEIGHTS_PER_METRE
    variant = rng.integers(0, canopy.VARIANTS, len(spots))
    pixel = np.floor(spots * scale)
    trees = np.column_stack([pixel, radius, pointed, height, variant]).astype(np.int64)
    within = ((pixel >= radius[:, None]) & (pixel < side - radius[:, None])).all(1)
    trees, kinds = trees[within], kinds[within]
    rooted = ground[trees[:, 0], trees[:, 1]]
    return trees[rooted], kinds[rooted]


def _grid(rng: np.random.Generator, spacing: float, disorder: float, width: float) -> Float[np.ndarray, "n 2"]:
    """Points (n, 2) in metres in and around a square of this width: a staggered grid, randomly turned and perturbed."""
    along, across = _direction(rng)
    half = int(np.ceil(0.71 * width / spacing)) + 1
    row, column = (part.ravel() for part in np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64))
    shift = rng.uniform(-disorder, disorder, (2, len(row)))
    row, column = (row + shift[0]) * spacing, (column + (row % 2) / 2 + shift[1]) * spacing
    return np.column_stack([row * along - column * across, row * across + column * along]) + width / 2


# What is visible: areas and colours.


def _measure(drawing: Drawing, size: int) -> Areas:
    inner = _inner(drawing.canvas, size, 0)
    seen = np.bincount(canopy.numbers(inner).ravel(), minlength=len(drawing.kind))
    # Rounded down to the five digits of the label file, so that the sum does not exceed 1.
    found = [
        (species.genus, int(seen[drawing.kind == kind].sum()) * 100_000 // size**2 / 100_000)
        for kind, species in enumerate(SPECIES)
    ]
    return sorted((row for row in found if row[1] > 0.0), key=lambda row: -row[1])


def _inner(picture: np.ndarray, size: int, rim: int) -> np.ndarray:
    """The tile without its margin, but with `rim` pixels of it at each side."""
    start = _margin(size) - rim
    return picture[start : start + size + 2 * rim, start : start + size + 2 * rim]


def _colour(drawing: Drawing, scene: Plan, rng: np.random.Generator, size: int) -> UInt8[np.ndarray, "size size 4"]:
    palette = _palette(drawing, scene, rng)
    sun_column = rng.uniform(-0.8, 0.8)
    length = np.sqrt(1.0 + sun_column * sun_column)
    away = (float(-1.0 / length), float(sun_column / length))  # shadows fall northwards
    shine = canopy.light(drawing.canvas, away, rng.uniform(0.9, 1.8), size / SIDE_M).astype(np.int16)
    shine += drawing.relief.astype(np.int16) // 6 - 21
    # The blur of the lens takes one pixel off each side.
    shine, seen = _inner(shine, size, 1), canopy.numbers(_inner(drawing.canvas, size, 1))
    leaves = (rng.integers(0, 256, shine.shape, np.uint8) >> 2).astype(np.int16) - 32
    shine = np.clip(shine + leaves, 10, 250).astype(np.uint16)
    haze = rng.integers(0, 14, (4, 1, 1)).astype(np.int16) + canopy.grain(rng, (4, size, size))
    bands = canopy.soften(np.stack([(band[seen] * shine) >> 7 for band in palette.T])).astype(np.int16)
    return np.moveaxis(np.clip(bands + haze, 0, 255).astype(np.uint8), 0, 2)


def _palette(drawing: Drawing, scene: Plan, rng: np.random.Generator) -> UInt16[np.ndarray, "objects 4"]:
    """Colour (IR, G, B, R) of each object in sunlight: that of its kind, varied by tile, by stand and by object."""
    colours = np.array([kind.colour for kind in (*SPECIES, *GROUNDS)], np.float64)[drawing.kind]
    colours[: len(scene.stands)] = [stand.floor for stand in scene.stands]
    of_stand = rng.uniform(0.93, 1.07, (len(scene.stands), 4))[drawing.stand]
    is_tree = np.arange(len(colours))[:, None] >= len(scene.stands)  # the first objects are the grounds of the stands
    of_object = 1.0 + is_tree * (
        rng.uniform(-0.12, 0.12, (len(colours), 1)) + rng.uniform(-0.05, 0.05, (len(colours), 4))
    )
    of_tile = rng.uniform(0.85, 1.15) * rng.uniform(0.94, 1.06, 4)
    return np.clip(np.rint(colours * of_stand * of_object * of_tile), 8, 255).astype(np.uint16)
