"""Rounds with people: tiles that are drawn or chosen, forms, the page to label them on, a run for each round."""
