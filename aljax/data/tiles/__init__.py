"""Pixels: tiles as files hold them, decoded and resized, read ahead by threads."""
