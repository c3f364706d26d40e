"""The terms of an opened number: the largest listed, named and placed, the rest summed up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from whence.receipt import Others, Receipt, Term
from whence.receipt.figures import figure
from whence.why.receipts.ranking import ranked
from whence.why.recording.tape import Call
from whence.why.rules.opening import Cells, Factor, Part

if TYPE_CHECKING:
    from collections.abc import Callable

    from whence.why.trace import Trace

    Inner = Callable[[Cells, int, int], Receipt]  # tensor, place, depth → its receipt

Element = tuple[Cells, int, float]
_PICKS = ("nll_loss_forward", "nll_loss2d_forward")  # losses that pick the expected token's ln P


def listed(
    trace: Trace, parts: Sequence[Part], top: int, depth: int, call: Call | None, inner: Inner
) -> tuple[list[Term], Others]:
    """List the largest terms over all parts, and sum up the rest.

    Args:
        trace: the step.
        parts: the sums that the number consists of.
        top: how many terms are listed.
        depth: how many levels are opened.
        call: the operation that made the number.
        inner: writes the receipt of a term's factor.
    """
    rows = [part.terms()[0] for part in parts]
    valid = [
        np.ones(len(row), bool) if p.valid is None else np.broadcast_to(p.valid[0], row.shape)
        for p, row in zip(parts, rows, strict=True)
    ]
    which = np.concatenate([np.full(len(row), i) for i, row in enumerate(rows)])
    place = np.concatenate([np.arange(len(row)) for row in rows])
    values = np.concatenate(rows)
    real = np.flatnonzero(np.concatenate(valid))
    order: list[int] = real[ranked(values[real])].tolist()
    counts = int((values[real] != 0).sum())
    many = min(top, counts) if counts else top  # zeros are among the others
    terms = [
        _term(trace, parts[which[i]], int(place[i]), float(values[i]), top, depth, call, inner)
        for i in order[:many]
    ]
    rest = values[order[many:]]
    bad = ~np.isfinite(rest)
    with np.errstate(all="ignore"):
        size = float(np.abs(rest[~bad]).sum())
        return terms, Others(len(rest), float(rest.sum()), size, int(bad.sum()))


def _term(
    trace: Trace,
    part: Part,
    number: int,
    value: float,
    top: int,
    depth: int,
    call: Call | None,
    inner: Inner,
) -> Term:
    factors = [element(f, number) for f in part.factors]
    shared = [element(f, number) for f in part.shared if np.asarray(f.at).shape[-1] == 1]
    whole = [f for f in part.shared if np.asarray(f.at).shape[-1] > 1]
    slopes = _slopes(factors, value) + [_slope(part, 0) for _ in shared]
    # A term of its own for each element (a loss that pairs two tensors), or one made of them all.
    if whole and (part.factors or part.terms().shape[1] > 1):
        shared += [element(f, number) for f in whole]
    elif whole:  # a function of many numbers: those that count most, or the largest
        for factor in whole:
            for i in _largest(part, factor, top):
                shared.append(element(factor, i))
                slopes.append(_slope(part, i))
    named = [(trace.address(ref, at), v) for ref, at, v in factors + shared]
    slopes += [math.nan] * (len(named) - len(slopes))
    first = (factors or shared or [None])[0]
    opened = ()
    if depth > 1 and first is not None:
        opened = (inner(first[0], first[1], depth - 1),)
    return Term(
        label=part.symbol,
        value=value,
        detail=_detail(trace, part, number, factors),
        address=named[0][0] if named else None,
        place=_place(trace, factors + shared, call),
        factors=tuple(named),
        slopes=tuple(slopes),
        opened=opened,
    )


def element(factor: Factor, place: int) -> Element:
    """Return the element of a factor that goes into one term."""
    at = np.asarray(factor.at)[0]
    i = place if len(at) > 1 else 0
    return factor.cells, int(at[i]), float(factor.values[0][i])


def _slopes(factors: list[Element], value: float) -> list[float]:
    """The derivative of a product by each of its factors."""
    return [value / v if v else (value if len(factors) == 1 else math.nan) for _, _, v in factors]


def _slope(part: Part, place: int) -> float:
    """The derivative of a function by one of the numbers it reads."""
    if part.slope is None:
        return math.nan
    slopes = np.asarray(part.slope()).reshape(1, -1)[0]
    return float(slopes[place if len(slopes) > 1 else 0])


def _largest(part: Part, factor: Factor, top: int) -> list[int]:
    values = factor.values[0]
    if part.slope is not None and len(part.shared) == 1:
        weighed = np.asarray(part.slope()).reshape(1, -1)[0]
        if len(weighed) == len(values):
            return [int(i) for i in ranked(weighed)[:top]]
    shown = np.where(values == -np.inf, 0.0, values)  # what a mask hides comes last
    return [int(i) for i in ranked(shown)[:top]]


def _place(trace: Trace, elements: list[Element], call: Call | None) -> str:
    """Where in the batch a term comes from; of a loss, also which token was expected."""
    labels = trace.labels
    for ref, at, _ in elements:
        words = labels.describe(ref, at)
        if not words:
            continue
        if call is not None and call.name in _PICKS and labels.decode is not None:
            read = labels.place(ref, np.array([at])).token
            target = at % ref.size[-1]
            if read is None:  # what answers for no token names a class of its own
                return f"{words}, class {target} expected"
            own = labels.text(int(read[0]))
            where = words.removeprefix(own).removeprefix(" at ")
            return f"{own} read, {labels.text(target)} expected, at {where}"
        return words
    return ""


def _detail(trace: Trace, part: Part, place: int, factors: list[Element]) -> str:
    """The term in figures: its coefficient, and each factor with its address."""
    words = []
    coefficient = np.asarray(part.coefficient, dtype=np.float64)
    if part.factors and coefficient.size:
        row = np.atleast_2d(coefficient)[0]
        c = float(row[place if len(row) > 1 else 0])
        if c != 1:
            words.append(figure(c))
    words += [f"{figure(v)} [{trace.address(ref, at)}]" for ref, at, v in factors]
    return " · ".join(words)


def in_figures(terms: list[Term], others: Others) -> str:
    """`6.0 + 1.0 − 0.5 + …`, the first few terms."""
    if not terms or len(terms) + others.count < 2:
        return ""
    words = [figure(terms[0].value)]
    words += [f"{'−' if t.value < 0 else '+'} {figure(abs(t.value))}" for t in terms[1:4]]
    if len(terms) > 4 or others.count:
        words.append("+ …")
    return " ".join(words)
