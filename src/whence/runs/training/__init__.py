"""Training with a record: what a recipe becomes in memory, the loop's body, and its end."""
