"""From labelled tiles to a fitted model: recipe, steps, one fit, predictions, and weights to start from."""
