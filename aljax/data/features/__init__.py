"""Frozen features of tiles from a network that was trained elsewhere: NumPy files and Parquet, read and written."""

from aljax.data.features.reader import open_features, read_features

__all__ = ["open_features", "read_features"]
