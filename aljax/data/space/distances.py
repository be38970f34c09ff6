"""Distances between the outlines of tiles, in metres, right at any latitude and across zones, 180 degrees and poles.

Corners are turned from longitude and latitude into Earth-centred coordinates (WGS 84, EPSG:4978), and distances are
those of straight lines between them. No projection is involved, so none can distort; a straight line is shorter than
the way along the ellipsoid by a millimetre in 10 km and by a metre in 100 km.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

SEMI_MAJOR, FLATTENING = 6_378_137.0, 1 / 298.257223563  # of the ellipsoid of WGS 84
PAIRS_AT_ONCE = 2**16


class Footprints(NamedTuple):
    """The different outlines of tiles; tiles of one place in several years share theirs."""

    of: Int[np.ndarray, " n"]
    """Index of the outline of each tile; -1 for a tile without a place."""
    corners: Float[np.ndarray, "u 4 3"]
    """Earth-centred, in metres, around the tile."""
    same: Int[np.ndarray, "k 2"]
    """Pairs of outlines that show the same place."""

    def take(self, rows: Int[np.ndarray, " m"]) -> "Footprints":
        """The footprints of the tiles `rows`."""
        return self._replace(of=self.of[rows])

    @property
    def centres(self) -> Float[np.ndarray, "u 3"]:
        return self.corners.mean(1)

    @property
    def radii(self) -> Float[np.ndarray, " u"]:
        """From the centre to the farthest corner, in metres."""
        return np.linalg.norm(self.corners - self.centres[:, None], axis=-1).max(1)

    def among(self, rows: Int[np.ndarray, " k"]) -> Int[np.ndarray, " m"]:
        """Indices of the outlines of the tiles `rows`, each once."""
        found = np.unique(self.of[rows])
        return found[found >= 0]


def to_earth_centred(degrees: Float[np.ndarray, "*k 2"]) -> Float[np.ndarray, "*k 3"]:
    """Earth-centred coordinates in metres of points on the ellipsoid, given by longitude and latitude."""
    longitude, latitude = np.moveaxis(np.radians(degrees), -1, 0)
    squared = FLATTENING * (2.0 - FLATTENING)  # of the eccentricity
    radius = SEMI_MAJOR / np.sqrt(1.0 - squared * np.sin(latitude) ** 2)  # of curvature, in the prime vertical
    across = radius * np.cos(latitude)
    height = radius * (1.0 - squared) * np.sin(latitude)
    return np.stack([across * np.cos(longitude), across * np.sin(longitude), height], -1)


def to_degrees(points: Float[np.ndarray, "*k 3"]) -> Float[np.ndarray, "*k 2"]:
    """Longitude and latitude of points on the ellipsoid; of others, those seen from its centre."""
    x, y, z = np.moveaxis(points, -1, 0)
    latitude = np.arctan2(z, (1.0 - FLATTENING) ** 2 * np.hypot(x, y))
    return np.degrees(np.stack([np.arctan2(y, x), latitude], -1))


def sphere_radius(latitude: float) -> float:
    """The radius in metres of the sphere that fits the ellipsoid best at a latitude in degrees."""
    squared = FLATTENING * (2.0 - FLATTENING)
    return SEMI_MAJOR * math.sqrt(1.0 - squared) / (1.0 - squared * math.sin(math.radians(latitude)) ** 2)


def closer_than(footprints: Footprints, held: Int[np.ndarray, " h"], metres: float) -> Bool[np.ndarray, " n"]:
    """Which tiles (n,) are nearer than `metres` to one of the tiles `held`, which are so themselves.

    Distances are those between the nearest points of two tiles, so that of neighbours is 0. Tiles without a place are
    near to none.
    """
    near = np.zeros(len(footprints.corners), bool)
    near[goals := footprints.among(held)] = True
    if len(goals) and metres > 0.0:
        centres, radii = footprints.centres, footprints.radii
        tree = KDTree(centres[goals])
        to_centre = tree.query(centres)[0]
        near |= to_centre < metres  # outlines are no farther from each other than their centres
        reach = metres + radii + radii[goals].max()
        near[_pairs_within(tree, goals, footprints, np.flatnonzero(~near & (to_centre < reach)), reach, metres)] = True
    return np.append(near, False)[footprints.of]


def _pairs_within(
    tree: KDTree,
    goals: Int[np.ndarray, " g"],
    footprints: Footprints,
    unsure: Int[np.ndarray, " m"],
    reach: Float[np.ndarray, " u"],
    metres: float,
) -> Int[np.ndarray, " k"]:
    """Those of the outlines `unsure` with a gap below `metres` to one of the `goals`, which are in the tree."""
    found = []
    for start in range(0, len(unsure), 1024):
        rows = unsure[start : start + 1024]
        others = tree.query_ball_point(footprints.centres[rows], reach[rows])
        one = np.repeat(rows, [len(places) for places in others])
        other = goals[np.concatenate([np.asarray(places, int) for places in others])]
        found.append(one[gaps(footprints.corners, one, other) < metres])
    return np.unique(np.concatenate([np.empty(0, int), *found]))


def gaps(
    corners: Float[np.ndarray, "u 4 3"], one: Int[np.ndarray, " k"], other: Int[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
    """Distances (k,) in metres between the nearest points of two outlines each; 0 if they overlap."""
    found = np.empty(len(one))
    for start in range(0, len(one), PAIRS_AT_ONCE):
        chunk = slice(start, start + PAIRS_AT_ONCE)
        first, second = corners[one[chunk]], corners[other[chunk]]
        # Of two convex outlines that are apart, a corner of one is nearest to the other.
        apart = np.minimum(_to_edges(first, second), _to_edges(second, first))
        found[chunk] = np.where(_overlap(first, second), 0.0, apart)
    return found


def _to_edges(points: Float[np.ndarray, "k 4 3"], ring: Float[np.ndarray, "k 4 3"]) -> Float[np.ndarray, " k"]:
    """The least distance (k,) of any of four points to any of four edges."""
    edges = np.roll(ring, -1, 1) - ring
    offsets = points[:, :, None] - ring[:, None]
    lengths = np.square(edges).sum(-1)
    along = (offsets * edges[:, None]).sum(-1) / np.where(lengths > 0.0, lengths, 1.0)[:, None]
    nearest = np.clip(along, 0.0, 1.0)[..., None] * edges[:, None]
    return np.linalg.norm(offsets - nearest, axis=-1).min((1, 2))


def flat(first: Float[np.ndarray, "k 4 3"], second: Float[np.ndarray, "k 4 3"]) -> Float[np.ndarray, "k 2 4 2"]:
    """Both outlines of each pair in metres on the plane that touches the Earth at their middle."""
    both = np.stack([first, second], 1)
    middle = both.mean((1, 2))
    up = middle / np.linalg.norm(middle, axis=-1, keepdims=True)
    aside = np.eye(3)[np.abs(up).argmin(-1)]
    east = np.cross(aside, up)
    east /= np.linalg.norm(east, axis=-1, keepdims=True)
    axes = np.stack([east, np.cross(up, east)], -1)
    return np.einsum("kpcx,kxa->kpca", both - middle[:, None, None], axes)


def _overlap(first: Float[np.ndarray, "k 4 3"], second: Float[np.ndarray, "k 4 3"]) -> Bool[np.ndarray, " k"]:
    """Whether two convex outlines overlap: no edge of either has them on different sides."""
    both = flat(first, second)
    edges = np.roll(both, -1, 2) - both
    normals = np.stack([edges[..., 1], -edges[..., 0]], -1).reshape(len(both), 8, 2)
    shadows = np.einsum("kna,kpca->knpc", normals, both)
    least, most = shadows.min(-1), shadows.max(-1)
    apart = (least[..., 0] >= most[..., 1]) | (least[..., 1] >= most[..., 0])
    degenerate = np.square(normals).sum(-1) == 0.0
    return ~(apart & ~degenerate).any(1)


def spread(footprints: Footprints, order: Int[np.ndarray, " k"], metres: float, wanted: int) -> Int[np.ndarray, " b"]:
    """The first tiles of an order that are at least `metres` from each other, at most `wanted`.

    Each is the first of those that are so far from all before it. Tiles without a place are far from all.
    """
    kept: list[int] = []
    places, free = footprints.of[order], np.ones(len(order), bool)
    corners, centres, radii = footprints.corners, footprints.centres, footprints.radii
    while free.any() and len(kept) < wanted:
        first = int(free.argmax())
        kept.append(int(order[first]))
        free[first] = False
        if (place := places[first]) >= 0:
            rest = np.flatnonzero(free & (places >= 0))
            others = places[rest]
            apart = np.linalg.norm(centres[others] - centres[place], axis=-1) - radii[others] - radii[place]
            rest, others = rest[apart < metres], others[apart < metres]
            free[rest[gaps(corners, np.full(len(others), place), others) < metres]] = False
    return np.array(kept, np.int64)
