"""From an opened element to a receipt: terms sorted, named, added up and judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from whence.errors import WhenceError
from whence.why.receipts.receipt import (
    CLOSED,
    EXACT,
    GIVEN,
    NOISE,
    NOT_FINITE,
    ROUNDED,
    UNSEEN,
    Receipt,
    Term,
    figure,
    ranked,
    shares,
    verdict,
)
from whence.why.receipts.unroll import Node, unroll
from whence.why.receipts.update import Update
from whence.why.receipts.whole import Whole
from whence.why.recording.storage import Ref
from whence.why.recording.tape import Call, flatten
from whence.why.rules.open import open_element, reads_opaque
from whence.why.rules.opening import Cells, Factor, Opened, Part, bound, difference

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
    if number.ref.dtype.is_complex:
        raise WhenceError(
            f"{number.address} is a complex number, and a receipt is of a real one: ask for its "
            "torch.view_as_real, or check it with balance."
        )
    opened, call = open_element(number.ref, number.at)
    quantity = _quantity(number, call)
    if call is None and isinstance(number.ref, Ref) and number.ref.version.unseen:
        return _boxed(number, UNSEEN, UNSEEN, _UNSEEN)
    if opened is None:
        assert call is not None
        words = f"{call.op.func}: a closed box, for {_reason(call)}"
        return _boxed(number, quantity, CLOSED, words, call)
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
    totals, sizes, count = opened.total(1)
    limit = float(bound(opened, number.ref.dtype, totals, sizes, count)[0])
    value, total, size = number.value, float(totals[0]), float(sizes[0])
    residual = float(difference(np.array([value]), totals, sizes, number.ref.dtype)[0])
    judged = verdict(
        value, residual, limit, size, exact=opened.exact and residual == 0, sampled=opened.sampled
    )
    if judged in (EXACT, ROUNDED) and 0 < abs(value) < _SUSPECT * size:
        inherited = _inherited(number)
        if abs(value) <= inherited:
            judged = NOISE
            limit = max(limit, inherited)
    terms, others, bad = ([], (0, 0.0), 0) if given else _terms(trace, opened.parts, top, depth)
    notes = tuple(opened.notes)
    if judged == NOT_FINITE and not given:
        notes += (_not_finite(bad, len(terms) + others[0], number),)
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
        notes=notes,
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
    if isinstance(number.ref, Whole):
        return "the loss of the whole batch"
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


_UNSEEN = "made by operations that weren't recorded: before the step, or in another thread"


def _reason(call: Call) -> str:
    """Say why a call's numbers can't be opened."""
    if opaque := reads_opaque(call):
        return f"it reads a tensor whose memory can't be read ({opaque[0].kind})"
    return "there is no rule for it"


_NOT_KNOWN = "what it reads and what it made is recorded; how one came of the other is not known"


def _boxed(
    number: Number, quantity: str, verdict: str, words: str, call: Call | None = None
) -> Receipt:
    return Receipt(
        address=number.address,
        quantity=quantity,
        symbols=words,
        numbers="",
        value=number.value,
        dtype=str(number.ref.dtype).removeprefix("torch."),
        verdict=verdict,
        names={} if call is None else _read(number.trace, call),
        notes=() if call is None else (_NOT_KNOWN,),
    )


def _read(trace: Trace, call: Call) -> dict[str, str]:
    """Tell which tensor each argument of a call is."""
    refs = {name: flatten(value, Ref) for name, value in call.values.items()}
    return {
        name if len(several) == 1 else f"{name}[{i}]": trace.name_of(ref)
        for name, several in refs.items()
        for i, ref in enumerate(several)
    }


def _not_finite(bad: int, count: int, number: Number) -> str:
    """Say what took a number to NaN or ±∞."""
    if bad:
        are = "is" if bad == 1 else "are"
        return f"{bad:,} of {count:,} term{'' if count == 1 else 's'} {are} not finite"
    dtype = str(number.ref.dtype).removeprefix("torch.")
    return f"every term is finite: on the way to their sum is more than {dtype} holds"


def _terms(
    trace: Trace, parts: Any, top: int, depth: int
) -> tuple[list[Term], tuple[int, float], int]:
    """List the largest terms over all parts, sum up the rest, and count those not finite."""
    rows = [part.terms()[0] for part in parts]
    valid = [
        np.ones(len(row), bool) if p.valid is None else np.broadcast_to(p.valid[0], row.shape)
        for p, row in zip(parts, rows, strict=True)
    ]
    which = np.concatenate([np.full(len(row), i) for i, row in enumerate(rows)])
    place = np.concatenate([np.arange(len(row)) for row in rows])
    values = np.concatenate(rows)
    real = np.flatnonzero(np.concatenate(valid))
    order, share = real[ranked(values[real])], np.zeros(len(values))
    share[real] = shares(values[real])
    if len(order) == 1:
        depth += _handed_on(parts[which[order[0]]], int(place[order[0]]), float(values[order[0]]))
    terms = [
        _term(trace, parts[which[i]], int(place[i]), float(values[i]), float(share[i]), top, depth)
        for i in order[:top]
    ]
    rest = values[order[top:]]
    with np.errstate(all="ignore"):
        others = len(rest), float(rest.sum())
    return terms, others, int((~np.isfinite(values[real])).sum())


def _term(
    trace: Trace, part: Part, number: int, value: float, share: float, top: int, depth: int
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
        share=share,
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
        values = factor.values[0]
        shown = np.where(values == -np.inf, 0.0, values)  # what a mask hides comes last
        found += [_element(factor, int(i)) for i in ranked(shown)[:top]]
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
