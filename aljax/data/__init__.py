"""Archives: one file each, and what the loop sees of them."""
