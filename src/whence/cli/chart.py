"""Curves in a line of a terminal."""

import math
from collections.abc import Iterable

BARS = "▁▂▃▄▅▆▇█"


def bars(numbers: Iterable[float | None], low: float, high: float) -> str:
    """Draw numbers as bars between a lowest and a highest one; None and NaN are gaps.

    Example:
        >>> bars([0.0, 0.5, None, 1.0], 0.0, 1.0)
        '▁▅ █'
    """
    size = (high - low) or 1.0
    return "".join(
        " "
        if x is None or not math.isfinite(x)
        else BARS[max(0, min(7, int(8 * (x - low) / size)))]
        for x in numbers
    )
