"""Across steps: the life of a weight, and which training windows moved a prediction."""
