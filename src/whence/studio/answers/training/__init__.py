"""What views of a run's course ask: lists, curves, marks, and what can be trained."""
