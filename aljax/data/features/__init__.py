"""Frozen features of tiles, made by a network trained elsewhere: readers of NumPy's and Arrow's files."""

from aljax.data.features.reader import open_features, read_features

__all__ = ["open_features", "read_features"]
