"""Pixels: encoded tiles, decoded, resized and read ahead by threads."""
