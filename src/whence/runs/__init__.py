"""Runs: the recipe, the folder on disk, training with a record, and going back."""
