"""Blocks of held-out tiles: each is a random tile with those around it, so that few others are near to them."""

import numpy as np
from jaxtyping import Int
from scipy.spatial import KDTree

from aljax.data.space.distances import Footprints

BLOCKS = 10  # into which the tiles are drawn, unless these would be too small
LEAST = 16  # tiles of a block: of four by four tiles, little more is near than they are


def in_blocks(
    footprints: Footprints, order: Int[np.ndarray, " n"], wanted: int, metres: float
) -> Int[np.ndarray, " n"]:
    """A random order of tiles, rearranged so that its first `wanted` tiles lie in blocks.

    A block is the first tile of the order that is in none yet, and those nearest to it: a tenth of `wanted`, but at
    least 16. Tiles farther away than `metres`, and than so many tiles of a mosaic reach, are in none of its: tiles that
    lie scattered are drawn one by one.
    """
    count = max(-(-wanted // BLOCKS), LEAST)
    placed = order[footprints.of[order] >= 0]
    if not len(placed):
        return order
    centres = footprints.centres[footprints.of[placed]]
    tree, side = KDTree(centres), np.sqrt(2.0) * float(np.median(footprints.radii))
    reach = max(metres, side * np.sqrt(count / np.pi))
    taken, blocks = np.zeros(len(placed), bool), list[int]()
    for start in range(len(placed)):
        if len(blocks) >= wanted:
            break
        if not taken[start]:
            around = np.array(tree.query_ball_point(centres[start], reach))
            around = around[~taken[around]]
            near = np.linalg.norm(centres[around] - centres[start], axis=-1)
            block = around[np.lexsort((around, near))][:count]
            taken[block] = True
            blocks += block.tolist()
    drawn = placed[blocks]
    return np.concatenate([drawn, order[~np.isin(order, drawn)]])
