"""Numbers as a receipt writes them: a few digits to read, all of them on request."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

READ, EXACT = 4, 17  # significant digits: to read, and enough to give every float64 back
_FIGURE = re.compile(r"(?<![\w.\[])\d+\.\d+(?:e[-+]?\d+)?")


def short(value: float, digits: int = READ) -> str:
    """Write a number with so many significant digits.

    Example:
        >>> short(0.0312345678), short(-2.0), short(1 / 3, 9), short(0.1, EXACT)
        ('0.03123', '-2', '0.333333333', '0.1')
    """
    if not math.isfinite(value):
        return str(value)
    if digits >= EXACT:
        return repr(float(value)).removesuffix(".0")
    if digits < 9 and 10**digits <= abs(value) < 1e9:  # 20001, not 2e+04
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def figure(value: float) -> str:
    """Write a number with the digits that a float32 carries."""
    return short(value, 9)


def trimmed(text: str, digits: int = READ) -> str:
    """Cut the figures in a text to so many digits; addresses and whole numbers stay.

    Example:
        >>> trimmed("-0.0592157588 · 0.168873936 [w[0,3].grad]")
        '-0.05922 · 0.1689 [w[0,3].grad]'
    """
    if digits >= EXACT:
        return text
    return _FIGURE.sub(lambda found: short(float(found[0]), digits), text)


def enough(values: Iterable[float], digits: int = READ) -> int:
    """Return how many digits it takes for different numbers to look different, 9 at most.

    Example:
        >>> enough([2.8367531, 0.000289, 2.8370421]), enough([1.0, 2.0])
        (5, 4)
    """
    several = {value for value in values if math.isfinite(value)}
    while digits < 9 and len({short(value, digits) for value in several}) < len(several):
        digits += 1
    return digits


def percent(share: float) -> str:
    """Write a share: `60 %`, `2.5 %`, `0.03 %`, never `100 %` of what isn't all of it.

    Example:
        >>> percent(0.6), percent(0.0254), percent(1.0), percent(0.9999)
        ('60 %', '2.5 %', '100 %', '99.99 %')
    """
    hundredths = 100 * share
    if hundredths in (0.0, 100.0):
        return f"{hundredths:.0f} %"
    if 99.95 <= hundredths < 100:
        return f"{min(hundredths, 99.99):.2f} %"
    if 9.95 <= hundredths < 99.5:
        return f"{hundredths:.0f} %"
    return f"{hundredths:.1f} %" if hundredths >= 0.1 else f"{hundredths:.1g} %"


def finite(value: Any) -> Any:
    """Write numbers that JSON doesn't have as words, anywhere in nested lists and dicts.

    Example:
        >>> finite({"a": [1.0, float("inf")]})
        {'a': [1.0, 'inf']}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value
