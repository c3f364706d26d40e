"""Loaded ahead of every test."""

import whence  # noqa: F401  # before PyTorch, for the threads of two test processes: decision 044
