"""Tiles that show the same place, as of another year or another copy: footprints that overlap by more than a half.

In two parts of a split, such a place would be in training and in the test.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from aljax.data.space.distances import PAIRS_AT_ONCE, Footprints, flat, to_earth_centred

SHARE = 0.5  # of the smaller tile; of tiles that are cut with an overlap of a half, neighbours are different places
SAME = 0.001  # metres within which corners are the same
SAMPLES = 16  # points in each direction of a tile, by which its share is measured


def locate(outlines: Sequence[Float[np.ndarray, "5 2"] | None]) -> Footprints:
    """The footprints of tiles with these outlines, closed rings of longitude and latitude in degrees."""
    of, none = np.full(len(outlines), -1), np.empty((0, 2), int)
    placed = [row for row, outline in enumerate(outlines) if outline is not None]
    if not placed:
        return Footprints(of, np.empty((0, 4, 3)), none)
    corners = to_earth_centred(np.stack([outline[:4] for outline in outlines if outline is not None]))
    rounded = np.rint(corners / SAME).reshape(len(corners), -1)
    _, first, index = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # that of the tiles
    of[placed] = np.argsort(order)[index.ravel()]
    found = Footprints(of, corners[first[order]], none)
    return found._replace(same=_same_places(found))


def _same_places(footprints: Footprints) -> Int[np.ndarray, "k 2"]:
    """Pairs of different footprints the smaller of which has more than `SHARE` of its area in the other."""
    centres, radii = footprints.centres, footprints.radii
    # What has more than half of a tile in it has its centre in it, too.
    inside = KDTree(centres).query_ball_point(centres, radii)
    outer = np.repeat(np.arange(len(centres)), [len(places) for places in inside])
    inner = np.concatenate([np.asarray(places, int) for places in inside])
    is_smaller = (radii[inner] < radii[outer]) | ((radii[inner] == radii[outer]) & (inner < outer))
    inner, outer = inner[is_smaller], outer[is_smaller]
    found = [np.empty((0, 2), int)]
    for start in range(0, len(outer), PAIRS_AT_ONCE // SAMPLES):
        one, other = (side[start : start + PAIRS_AT_ONCE // SAMPLES] for side in (inner, outer))
        is_same = _share(flat(footprints.corners[one], footprints.corners[other])) > SHARE
        found.append(np.stack([one, other], 1)[is_same])
    return np.concatenate(found)


def _share(pairs: Float[np.ndarray, "k 2 4 2"]) -> Float[np.ndarray, " k"]:
    """The share (k,) of the first outline of each pair that lies in the second, by points spread over it.

    Both count as parallelograms, as tiles are in their own reference systems.
    """
    centres = pairs.mean(2)
    # From the middle of one side to that of the opposite one, in both directions: (k, pair, direction, xy).
    spans = np.stack([pairs[:, :, 2] + pairs[:, :, 3], pairs[:, :, 1] + pairs[:, :, 2]], 2) - 2.0 * centres[:, :, None]
    has_area = np.abs(np.linalg.det(spans[:, 1])) > 0.0
    axes = np.where(has_area[:, None, None], spans[:, 1], np.eye(2))
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
    of_first = np.linalg.solve(axes.swapaxes(1, 2), spans[:, 0].swapaxes(1, 2))  # its spans, in those of the second
    start = np.linalg.solve(axes.swapaxes(1, 2), (centres[:, 0] - centres[:, 1])[..., None])
    places = (
        start[:, :, :, None] + of_first[:, :, :1, None] * steps[:, None] + of_first[:, :, 1:, None] * steps
    )  # (k, 2, points, points)
    return (np.abs(places) < 0.5).all(1).mean((1, 2)) * has_area


def groups(footprints: Footprints, copy_of: Int[np.ndarray, " n"] | None) -> Int[np.ndarray, " n"]:
    """For each tile the first one that belongs with it: of the same place or, as in `Archive.copy_of`, a copy.

    Where footprints overlap in a chain, as in a mosaic that is cut with small steps, the chain is no place: each one
    belongs to the first that it overlaps with and that belongs to no other.
    """
    count, size = len(footprints.of), len(footprints.corners)
    lead = np.full(size, -1)
    both = np.concatenate([footprints.same, footprints.same[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    ends = np.searchsorted(both[:, 0], np.arange(size + 1))
    for place in range(size):
        if lead[place] < 0:
            beside = both[ends[place] : ends[place + 1], 1]
            lead[beside[lead[beside] < 0]] = lead[place] = place
    own = count + np.arange(count)
    node = np.where(footprints.of >= 0, np.append(lead, -1)[footprints.of], own)
    copies = np.arange(count) if copy_of is None else copy_of
    links = coo_array((np.ones(count), (node, node[copies])), shape=(2 * count + size,) * 2)
    part = connected_components(links, directed=False)[1][node]
    _, first, group = np.unique(part, return_index=True, return_inverse=True)
    return first[group]


def of_same_place(footprints: Footprints, held: Int[np.ndarray, " h"]) -> Bool[np.ndarray, " n"]:
    """Which tiles (n,) show the place of one of the tiles `held`, as these do themselves."""
    is_held = np.zeros(len(footprints.corners), bool)
    is_held[footprints.among(held)] = True
    near = is_held.copy()
    for one, other in (footprints.same.T, footprints.same[:, ::-1].T):
        near[one[is_held[other]]] = True
    return np.append(near, False)[footprints.of]
