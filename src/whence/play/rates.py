"""What a learning rate does: five rates judged, and a range test that proposes one."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from whence.errors import WhenceError

ROUNDING = 1e-12  # of a loss


def verdict(losses: Sequence[float], best: float = 0.0) -> str:
    """Return what a run's losses say of its rate, in a word that ten times the steps won't undo.

    What is left to fall, loss − best, is followed to the end and then on for nine times as many
    steps by the factor at which it changed over the last half, as a line's does.

    Args:
        losses: the loss at each step.
        best: the lowest loss that can be reached.

    Returns:
        `diverged` (it leaves, in these steps or in ten times as many), `swings` (no nearer, and in
        ten times as many not ten times further: losses of batches scatter), `crawls` (less than
        nine tenths of the way), `arrived` (less than a ten-thousandth of the way left) or `on its
        way`.

    Example:
        >>> verdict([4.0, 3.9, 3.8]), verdict([4.0, 1.0, 0.0]), verdict([4.0, 16.0, 256.0])
        ('crawls', 'arrived', 'diverged')
        >>> verdict([4.0 * 1.005**i for i in range(100)]), verdict([4.0] * 100)
        ('diverged', 'swings')
    """
    first, last = losses[0] - best, losses[-1] - best
    if not math.isfinite(last) or last > 10.0 * abs(first):
        return "diverged"
    if last <= ROUNDING * max(abs(first), abs(best)):
        return "arrived"  # how it changes from here on is rounding
    growth = _growth([x - best for x in losses])  # ln of the factor at each step
    later = math.log(max(last, 1e-300) / first) + 9 * len(losses) * growth if first > 0 else 0.0
    if growth > 0 and later > math.log(10.0):
        return "diverged"
    if last <= 1e-4 * first:
        return "arrived"
    if last >= 0.99 * first and abs(later) < math.log(10.0):
        return "swings"
    return "crawls" if last > 0.1 * first else "on its way"


def _growth(left: Sequence[float]) -> float:
    """Return ln of the factor by which what is left changes at each step, over the last half.

    Two steps are compared at a time where they take turns, as they do beyond the lowest point.
    """
    back = max(1, (len(left) - 1) // 2)
    start, end = left[-1 - back], left[-1]
    if back > 2 and back % 2:
        back, start = back - 1, left[-back]
    if min(start, end) <= 0:
        return 0.0
    return math.log(end / start) / back


class Range(NamedTuple):
    """What a range test found.

    Attributes:
        rates: the rates tried, rising.
        losses: the loss before the step at each rate.
        proposed: a tenth of the rate above which the loss grew past its least.
        diverges: the rate at which the loss left for good, or `None` if it never did.
    """

    rates: list[float]
    losses: list[float]
    proposed: float
    diverges: float | None


def range_test(step: Callable[[float], float], rates: Iterable[float]) -> Range:
    """Take one step at each rate, ever larger ones, and propose a rate.

    The loss first falls faster and faster, then turns and leaves. The rate at which it was least is
    already too large to keep; a tenth of it is proposed.

    Args:
        step: takes one step at a rate and returns the loss before it.
        rates: the rates to try, rising.

    Raises:
        WhenceError: if the loss never fell.

    Source:
        Smith, "Cyclical learning rates for training neural networks", 2017.

    Example:
        >>> w = [1.0]
        >>> def descend(rate):
        ...     loss = w[0] ** 2
        ...     w[0] -= rate * 2 * w[0]
        ...     return loss
        >>> range_test(descend, rising(1e-4, 10.0, 60)).proposed < 1.0
        True
    """
    tried: list[float] = []
    losses: list[float] = []
    diverges = None
    least = math.inf
    for rate in rates:
        loss = step(rate)
        if losses and (not math.isfinite(loss) or loss > 4.0 * max(least, 1e-300) > 0.0):
            diverges = tried[-1]
            if not math.isfinite(loss) or loss > 4.0 * losses[0]:
                break
        else:
            diverges = None
        tried.append(rate)
        losses.append(loss)
        least = min(least, loss)
    lowest = losses.index(least)
    if lowest == 0:
        raise WhenceError(
            f"The loss rose from the first step, at rate {tried[0]:g}: begin with a smaller rate."
        )
    # losses[i] is what rate i−1 led to.
    return Range(tried, losses, tried[lowest - 1] / 10.0, diverges)


def rising(low: float, high: float, n: int) -> list[float]:
    """Return n rates from low to high, each the same factor above the one before.

    Example:
        >>> [round(rate, 6) for rate in rising(0.001, 10.0, 5)]
        [0.001, 0.01, 0.1, 1.0, 10.0]
    """
    factor = (high / low) ** (1.0 / (n - 1))
    return [low * factor**i for i in range(n)]
