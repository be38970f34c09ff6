"""Archives that a program draws: land-use scenes, and forests in TreeSatAI's format."""
