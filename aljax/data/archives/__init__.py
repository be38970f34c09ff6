"""Readers: UC Merced, TreeSatAI, a folder of tiles with a CSV, archives of TensorFlow Datasets; downloads."""
