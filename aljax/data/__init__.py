"""Archives: tiles and labels by index, their split, label files, and where decoded tiles are kept.

Decoding of pixels is in `tiles`, readers of published archives and folders in `archives`, frozen features in
`features`, synthetic archives in `generated`.
"""

from aljax.data.archive import Archive, Split, SplitTiles, Tiles, random_split, split_tiles

__all__ = ["Archive", "Split", "SplitTiles", "Tiles", "random_split", "split_tiles"]
