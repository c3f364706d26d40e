"""Loaded ahead of every test."""

from whence.scale.process import tune_process

tune_process()  # before PyTorch, for the threads of two test processes: decision 044
