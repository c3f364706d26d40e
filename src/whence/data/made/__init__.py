"""Data that is made here, and so is known exactly."""
