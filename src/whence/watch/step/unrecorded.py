"""Preparations that aren't part of a step: a trace doesn't see them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import _disable_current_modes


@contextmanager
def unrecorded() -> Iterator[None]:
    """Compute past the recorder, outside of autograd.

    Only new tensors may be written inside: of others the recorder would keep what they were.
    """
    with _disable_current_modes(), torch.no_grad():
        yield
