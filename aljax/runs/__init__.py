"""A run on disk and in processes: checkpoints, run directory, several processes, progress, its fitted model."""
