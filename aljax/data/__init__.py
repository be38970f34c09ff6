"""What an archive is: tiles and labels by index, their split, where decoded tiles are kept, label files.

Pixels are in `tiles`, readers of published archives and of folders in `archives`, drawn ones in `generated`.
"""

from aljax.data.archive import Archive, Split, SplitTiles, Tiles, place, random_split

__all__ = ["Archive", "Split", "SplitTiles", "Tiles", "place", "random_split"]
