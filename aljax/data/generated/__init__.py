"""Synthetic archives: land-use scenes, and forests in TreeSatAI's format."""
