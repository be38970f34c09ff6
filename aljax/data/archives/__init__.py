"""Readers: UC Merced, TreeSatAI, a folder of tiles with a CSV, prepared TensorFlow Datasets archives; downloads."""
