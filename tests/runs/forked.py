"""A fork in which PyTorch may compute: OpenMP waits for threads that stayed in the parent."""

import os

import torch


def forked() -> int:
    """Fork as `os.fork` does; the child computes with one thread."""
    pid = os.fork()
    if not pid:
        torch.set_num_threads(1)
    return pid
