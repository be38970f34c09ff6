"""What a user runs besides the experiments."""
