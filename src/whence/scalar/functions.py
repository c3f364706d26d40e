"""Functions of many values: sums, products of rows, softmax and the losses.

All take plain numbers among the values.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from whence.errors import WhenceError
from whence.scalar import ops
from whence.scalar.value import Value, as_value, many


def total(values: Iterable[Any]) -> Value:
    """Return Σ values as one node, added up from the left.

    Example:
        >>> total([Value(1), Value(2), 3]).data
        6.0
    """
    inputs = tuple(as_value(v) for v in values)
    operands = tuple(v._data for v in inputs)
    z = operands[0] if operands else 0.0
    for x in operands[1:]:
        z += x
    return many(ops.SUM, inputs, operands, z)


def mean(values: Iterable[Any]) -> Value:
    """Return Σ values / n.

    Raises:
        WhenceError: if there are no values.

    Example:
        >>> mean([1.0, 2.0, 6.0]).data
        3.0
    """
    values = list(values)
    if not values:
        raise WhenceError("The mean of no values is not defined: give at least one.")
    return total(values) / len(values)


def dot(a: Sequence[Any], b: Sequence[Any], start: Any = 0.0) -> Value:
    """Return start + Σ aᵢ·bᵢ as one node, added up from the left.

    Raises:
        WhenceError: if the two rows are not of one length.

    Example:
        >>> dot([Value(2), Value(3)], [10, 100], start=1).data
        321.0

    Args:
        a: a row of numbers or Values.
        b: another, of the same length.
        start: what the sum begins with.
    """
    if len(a) != len(b):
        raise WhenceError(f"A row of {len(a)} cannot be multiplied with a row of {len(b)}.")
    start, a, b = as_value(start), _values(a), _values(b)
    x, y = [v._data for v in a], [v._data for v in b]
    z = start._data
    for p, q in zip(x, y, strict=True):
        z += p * q
    inputs = (start, *[v for pair in zip(a, b, strict=True) for v in pair])
    operands = (start._data, *[p for pair in zip(x, y, strict=True) for p in pair])
    return many(ops.DOT, inputs, operands, z)


def _values(row: Sequence[Any]) -> Sequence[Value]:
    return row if set(map(type, row)) == {Value} else [as_value(v) for v in row]


def maximum(values: Iterable[Any]) -> Value:
    """Return the largest value; the first of equal ones gets the gradient.

    Example:
        >>> maximum([1.0, 3.0, 2.0]).data
        3.0
    """
    return max(map(as_value, values))


def minimum(values: Iterable[Any]) -> Value:
    """Return the smallest value; the first of equal ones gets the gradient.

    Example:
        >>> minimum([1.0, 3.0, 2.0]).data
        1.0
    """
    return min(map(as_value, values))


def pick(values: Sequence[Any], index: Any) -> Value:
    """Return `values[index]`, so that a recorded graph may pick another one next time.

    With a plain integer it is `values[index]` and makes no node.

    Raises:
        WhenceError: if the index isn't a whole number or outside the row.

    Args:
        values: a row of numbers or Values.
        index: a whole number from 0, or a Value that holds one.

    Example:
        >>> pick([10.0, 20.0], 1).data
        20.0
    """
    k = index._data if isinstance(index, Value) else float(index)
    if not (k == int(k) and 0 <= k < len(values)):
        raise WhenceError(f"Index {k:g} is not one of 0 … {len(values) - 1}.")
    if not isinstance(index, Value):
        return as_value(values[int(k)])
    inputs = (index, *map(as_value, values))
    operands = tuple(v._data for v in inputs)
    return many(ops.PICK, inputs, operands, operands[int(k) + 1])


def log_softmax(logits: Sequence[Any]) -> list[Value]:
    """Return ln pᵢ = (zᵢ − m) − ln Σ exp(zⱼ − m), with m = max z held fixed.

    Subtracting m changes no result and keeps exp from overflowing.

    Example:
        >>> [round(v.data, 4) for v in log_softmax([Value(0), Value(0)])]
        [-0.6931, -0.6931]
    """
    logits = [as_value(z) for z in logits]
    m = highest(logits).detach()
    shifted = [z - m for z in logits]
    log_sum = total(z.exp() for z in shifted).log()
    return [z - log_sum for z in shifted]


def softmax(logits: Sequence[Any]) -> list[Value]:
    """Return pᵢ = exp(zᵢ − m) / Σ exp(zⱼ − m), with m = max z held fixed.

    Example:
        >>> [round(p.data, 3) for p in softmax([Value(2.1), Value(3.2)])]
        [0.25, 0.75]
    """
    logits = [as_value(z) for z in logits]
    m = highest(logits).detach()
    powers = [(z - m).exp() for z in logits]
    whole = total(powers)
    return [p / whole for p in powers]


def highest(values: Sequence[Any]) -> Value:
    """Return the largest value as a chain of `max` nodes, which a recorded graph can follow.

    Args:
        values: numbers or Values, at least one.

    Example:
        >>> highest([1.0, 3.0, 2.0]).data
        3.0
    """
    best, *others = map(as_value, values)
    for v in others:
        best = best.max(v)
    return best


def cross_entropy(logits: Sequence[Any], target: Any) -> Value:
    """Return −ln p(target): 0 for certainty in the right class, ∞ for certainty in another.

    Args:
        logits: one score for each class.
        target: the index of the right class.

    Example:
        >>> round(cross_entropy([Value(0)] * 12, 3).data, 4)
        2.4849
    """
    return -pick(log_softmax(logits), target)


def binary_cross_entropy(logit: Any, target: Any) -> Value:
    """Return −[t·ln σ(z) + (1−t)·ln(1−σ(z))], in the form that never overflows.

    It is ln(1 + eᶻ) − z·t for a score z and t between 0 and 1; the larger of 0 and z is taken out
    of the logarithm and held fixed, so that there is no kink at 0, where training begins.

    Example:
        >>> round(binary_cross_entropy(Value(0), 1).data, 4)
        0.6931

    Args:
        logit: z, a number or a Value.
        target: t.
    """
    z = as_value(logit)
    m = z.relu().detach()
    return ((-m).exp() + (z - m).exp()).log() + m - z * target


def nll(probability: Any) -> Value:
    """Return −ln p, in nats.

    Example:
        >>> [round(nll(p).data, 4) for p in (0.9, 0.5, 0.1, 0.01)]
        [0.1054, 0.6931, 2.3026, 4.6052]
    """
    return -as_value(probability).log()


def mse(predictions: Sequence[Any], targets: Sequence[Any]) -> Value:
    """Return Σ (ŷᵢ − yᵢ)² / n.

    Raises:
        WhenceError: if there are not as many targets as predictions.

    Example:
        >>> mse([Value(300)], [580]).data
        78400.0
    """
    if len(predictions) != len(targets):
        raise WhenceError(
            f"there are {len(predictions)} predictions for {len(targets)} targets: "
            f"give one target each."
        )
    return mean((p - as_value(t)) ** 2 for p, t in zip(predictions, targets, strict=True))
