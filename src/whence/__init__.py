"""Whence: train models with one loop, and ask of any number in any step where it came from."""

__version__ = "0.1.0"
