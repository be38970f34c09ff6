"""A run on disk and in processes: checkpoints, the run directory, several processes, progress, what it has learnt."""
