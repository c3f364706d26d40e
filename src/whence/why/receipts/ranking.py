"""Numbers by size, those that aren't finite first."""

from __future__ import annotations

import math

import numpy as np


def ranked(values: np.ndarray) -> np.ndarray:
    """Return the places of numbers sorted by size, those that aren't finite first."""
    size = np.where(np.isfinite(values), np.abs(values), math.inf)
    return np.argsort(-size, kind="stable")


def shares(values: np.ndarray) -> np.ndarray:
    """Return the share of each number: |value| / Σ|values|.

    Where some aren't finite, the others have no share in what became of the sum.

    Example:
        >>> shares(np.array([1.0, -3.0])).tolist(), shares(np.array([1.0, np.nan])).tolist()
        ([0.25, 0.75], [0.0, 1.0])
    """
    bad = ~np.isfinite(values)
    size = bad.astype(np.float64) if bad.any() else np.abs(values)
    whole = size.sum()
    return size / whole if whole else size
