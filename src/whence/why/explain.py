"""From an opened element to a receipt: terms sorted, named, added up and judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from whence.why.open import open_element
from whence.why.opening import Cells, Factor, Opened, Part, bound
from whence.why.receipt import CLOSED, EXACT, GIVEN, NOISE, ROUNDED, Receipt, Term, figure, verdict
from whence.why.storage import Ref
from whence.why.tape import Call, flatten
from whence.why.unroll import Node, unroll
from whence.why.update import Update

if TYPE_CHECKING:
    from whence.why.number import Number
    from whence.why.trace import Trace


def explain(number: Number, top: int, depth: int) -> Receipt:
    """Write the receipt of a number.

    Args:
        number: what is asked about.
        top: how many terms are listed.
        depth: how many levels are opened.
    """
    opened, call = open_element(number.ref, number.at)
    quantity = _quantity(number, call)
    if opened is None:
        assert call is not None
        return _closed(number, call, quantity)
    return write(
        number.trace,
        number,
        opened,
        quantity,
        top,
        depth,
        given=call is None and isinstance(number.ref, Ref),
    )


def write(
    trace: Trace,
    number: Number,
    opened: Opened,
    quantity: str,
    top: int,
    depth: int,
    given: bool = False,
) -> Receipt:
    """Write the receipt of a number whose terms are known."""
    (total,), (size,), count = opened.total(1)
    value = number.value
    total, size = float(total), float(size)
    residual = 0.0 if value == total else value - total
    limit = float(bound(opened, number.ref.dtype, np.array([total]), np.array([size]), count)[0])
    judged = verdict(
        value, residual, limit, size, exact=opened.exact and residual == 0, sampled=opened.sampled
    )
    if judged in (EXACT, ROUNDED) and 0 < abs(value) < _SUSPECT * size:
        inherited = _inherited(number)
        if abs(value) <= inherited:
            judged = NOISE
            limit = max(limit, inherited)
    terms, others = _terms(trace, opened.parts, size, top, depth) if not given else ([], (0, 0.0))
    return Receipt(
        address=number.address,
        quantity=quantity,
        symbols=opened.formula,
        numbers=_in_figures(terms, others),
        value=value,
        dtype=str(number.ref.dtype).removeprefix("torch."),
        terms=tuple(terms),
        others=others,
        total=total,
        residual=residual,
        bound=limit,
        magnitude=size,
        verdict=GIVEN if given else judged,
        recomputed=opened.recomputed,
        names={} if given else _names(trace, opened),
        opens=tuple(dict.fromkeys(a for t in terms for a, _ in t.factors))[: 2 * top],
        notes=tuple(opened.notes),
    )


_SUSPECT = 1e-3  # of Σ|terms|: what is smaller may be no more than its inputs' rounding
_LEVELS, _ELEMENTS = 6, 5_000


def _inherited(number: Number) -> float:
    """How large rounding alone can make a number, here and in the operations that led to it."""
    opened = 0

    def into(node: Node) -> bool:
        nonlocal opened
        opened += 1
        return opened <= _LEVELS and len(node.at) <= _ELEMENTS

    return unroll([(number.ref, np.array([number.at]), np.ones(1))], into).bound


def _quantity(number: Number, call: Call | None) -> str:
    if isinstance(number.ref, Update):
        return "this step's change"
    if call is None:
        return "given"
    where = number.trace.labels.describe(number.ref, number.at)
    return call.name + (f", {where}" if where else "")


def _names(trace: Trace, opened: Opened) -> dict[str, str]:
    """Tell which tensor each symbol of the formula stands for."""
    names: dict[str, str] = {}
    for part in opened.parts:
        for factor in (*part.factors, *part.shared):
            at = np.asarray(factor.at)
            if factor.symbol and at.size and factor.symbol not in names:
                name = trace.address(factor.cells, int(at.reshape(-1)[0]))
                head, _, tail = name.partition("[")
                names[factor.symbol] = head + tail.rpartition("]")[2]
    return names


def _closed(number: Number, call: Call, quantity: str) -> Receipt:
    return Receipt(
        address=number.address,
        quantity=quantity,
        symbols=f"{call.op.func}: a closed box, for there is no rule for it",
        numbers="",
        value=number.value,
        dtype=str(number.ref.dtype).removeprefix("torch."),
        verdict=CLOSED,
        names=_read(number.trace, call),
        notes=(
            "what it reads and what it made is recorded; how one came of the other is not known",
        ),
    )


def _read(trace: Trace, call: Call) -> dict[str, str]:
    """Tell which tensor each argument of a call is."""
    refs = {name: flatten(value, Ref) for name, value in call.values.items()}
    return {
        name if len(several) == 1 else f"{name}[{i}]": trace.name_of(ref)
        for name, several in refs.items()
        for i, ref in enumerate(several)
    }


def _terms(
    trace: Trace, parts: Any, size: float, top: int, depth: int
) -> tuple[list[Term], tuple[int, float]]:
    """List the largest terms over all parts, and sum up the rest."""
    rows = [part.terms()[0] for part in parts]
    valid = [
        np.ones(len(row), bool) if p.valid is None else np.broadcast_to(p.valid[0], row.shape)
        for p, row in zip(parts, rows, strict=True)
    ]
    which = np.concatenate([np.full(len(row), i) for i, row in enumerate(rows)])
    place = np.concatenate([np.arange(len(row)) for row in rows])
    values = np.concatenate(rows)
    real = np.flatnonzero(np.concatenate(valid))
    order = real[np.argsort(-np.abs(values[real]), kind="stable")]
    if len(order) == 1:
        depth += _handed_on(parts[which[order[0]]], int(place[order[0]]), float(values[order[0]]))
    terms = [
        _term(trace, parts[which[i]], int(place[i]), float(values[i]), size, top, depth)
        for i in order[:top]
    ]
    rest = order[top:]
    return terms, (len(rest), float(values[rest].sum()))


def _term(
    trace: Trace, part: Part, number: int, value: float, size: float, top: int, depth: int
) -> Term:
    factors = [_element(f, number) for f in part.factors]
    shared = [_element(f, number) for f in part.shared if np.asarray(f.at).shape[-1] == 1]
    whole = [f for f in part.shared if np.asarray(f.at).shape[-1] > 1]
    # A term of its own for each element (a loss that pairs two tensors), or one made of them all.
    if whole and (part.factors or part.terms().shape[1] > 1):
        shared += [_element(f, number) for f in whole]
    elif whole:  # a function of many numbers: the largest of them
        shared += _largest(whole, top)
    named = [(trace.address(ref, at), v) for ref, at, v in factors + shared]
    first = (factors or shared or [None])[0]
    places = (trace.labels.describe(ref, at) for ref, at, _ in factors + shared)
    receipt = None
    if depth > 1 and first is not None:
        receipt = trace.number_at(first[0], first[1]).why(top=top, depth=depth - 1)
    return Term(
        value=value,
        share=abs(value) / size if size else 0.0,
        label=part.symbol,
        detail=_detail(trace, part, number, factors),
        place=next((words for words in places if words), ""),
        address=named[0][0] if named else None,
        factors=tuple(named),
        receipt=receipt,
    )


def _handed_on(part: Part, place: int, value: float) -> bool:
    """Whether an only term is its factor unchanged (a copy, a view, a cast): opened unasked."""
    return len(part.factors) == 1 and _element(part.factors[0], place)[2] == value


def _element(factor: Factor, place: int) -> tuple[Cells, int, float]:
    at = np.asarray(factor.at)[0]
    i = place if len(at) > 1 else 0
    return factor.cells, int(at[i]), float(factor.values[0][i])


def _largest(factors: list[Factor], top: int) -> list[tuple[Cells, int, float]]:
    found = []
    for factor in factors:
        size = np.abs(factor.values[0])
        size[np.isinf(size)] = -1  # what a mask hides comes last
        order = np.argsort(-size, kind="stable")[:top]
        found += [_element(factor, int(i)) for i in order]
    return found


def _detail(trace: Trace, part: Part, place: int, factors: list[tuple[Cells, int, float]]) -> str:
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


def _in_figures(terms: list[Term], others: tuple[int, float]) -> str:
    """`6.0 + 1.0 − 0.5 + …`, the first few terms."""
    if not terms or len(terms) + others[0] < 2:
        return ""
    words = [figure(terms[0].value)]
    words += [f"{'−' if t.value < 0 else '+'} {figure(abs(t.value))}" for t in terms[1:4]]
    if len(terms) > 4 or others[0]:
        words.append("+ …")
    return " ".join(words)
