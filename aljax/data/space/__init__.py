"""Where tiles are on the Earth: distances between outlines, footprints that overlap, and blocks of held-out tiles.

All are functions of arrays; they know no archive.
"""
