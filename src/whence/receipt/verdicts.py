"""How a receipt is judged: by what its terms leave over, and what rounding may leave."""

from __future__ import annotations

import math

EXACT, ROUNDED, NOISE, SAMPLED = "exact", "rounded", "rounding noise", "sampled"
GIVEN, CLOSED, WRONG = "given", "closed box", "does not add up"
NOT_FINITE, UNSEEN = "not finite", "not recorded"
UNADDED = (GIVEN, UNSEEN, CLOSED, NOT_FINITE)  # verdicts of numbers that no terms are added up for


def verdict(
    value: float, residual: float, bound: float, magnitude: float, *, exact: bool, sampled: bool
) -> str:
    """Judge a receipt by its residual and the bound that rounding sets to it.

    Example:
        >>> verdict(3.0, 1e-9, 1e-7, 5.0, exact=False, sampled=False)
        'rounded'
    """
    if not math.isfinite(value) and residual == 0:
        return NOT_FINITE
    if sampled:
        return SAMPLED
    if math.isnan(residual):
        return WRONG
    if abs(residual) > bound and residual != 0:
        return WRONG
    if exact or (residual == 0 and abs(value) > bound):
        return EXACT
    if abs(value) <= bound and magnitude > abs(value) and (value or residual):
        return NOISE
    return EXACT if residual == 0 else ROUNDED
