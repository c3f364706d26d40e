"""What a run records of itself: lines that only grow, and the index of its steps."""
