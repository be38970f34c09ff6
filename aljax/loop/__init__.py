"""The active-learning loop: pool, metrics, history, state, settings, and the way from a fit to the next labels."""
