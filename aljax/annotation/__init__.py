"""Annotation by people in rounds: the tiles of each round, forms, a page to label them on, and a run per round."""
