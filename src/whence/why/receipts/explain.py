"""From an opened element to a receipt: terms sorted, named, added up and judged."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from whence.receipt import Others, Receipt, Term
from whence.receipt.text import HANDED_ON
from whence.receipt.verdicts import (
    CLOSED,
    EXACT,
    GIVEN,
    NOISE,
    NOT_FINITE,
    ROUNDED,
    UNADDED,
    UNSEEN,
    verdict,
)
from whence.why.receipts.followed import Node
from whence.why.receipts.formula import with_formula
from whence.why.receipts.saying import with_words
from whence.why.receipts.terms import element, in_figures, listed
from whence.why.receipts.unroll import unroll
from whence.why.receipts.update import Update
from whence.why.receipts.whole import Whole
from whence.why.receipts.wording import operation
from whence.why.recording.storage import Ref
from whence.why.recording.tape import Call, flatten
from whence.why.rules.open import open_element, reads_opaque
from whence.why.rules.opening import Cells, Opened, bound, difference

if TYPE_CHECKING:
    from whence.why.number import Number
    from whence.why.trace import Trace


def explain(
    number: Number,
    top: int,
    depth: int,
    raw: bool = False,
    context: bool = False,
    source: str = "",
) -> Receipt:
    """Write the receipt of a number, with its title and a sentence.

    Args:
        number: what is asked about.
        top: how many terms are listed.
        depth: how many levels are opened.
        raw: leave operations that only hand a number on unfolded.
        context: also say what it is to be compared with.
        source: which line of the text most of it comes from.
    """
    receipt = with_formula(number, inner(number, top, depth, raw))
    return with_words(number, receipt, context, source)


def inner(number: Number, top: int, depth: int, raw: bool = False) -> Receipt:
    """Write the receipt of a number that is a term of another."""
    number.check_real()
    opened, call = open_element(number.ref, number.at)
    quantity = _quantity(number, call)
    if call is None and isinstance(number.ref, Ref) and number.ref.version.unseen:
        return _boxed(number, UNSEEN, UNSEEN, _UNSEEN)
    if opened is None:
        assert call is not None
        words = f"{call.op.func}: a closed box, for {_reason(call)}"
        return _boxed(number, quantity, CLOSED, words, call)
    given = call is None and isinstance(number.ref, Ref)
    own = _write(number, opened, call, quantity, top, depth, given, raw)
    if raw or given or call is None:
        return own
    source = _handed_on(number, opened)
    return own if source is None else _folded(number, own, call, source, top, depth)


def _handed_on(number: Number, opened: Opened) -> Number | None:
    """The number that this one is a copy, a view or a cast of."""
    if len(opened.parts) != 1 or len(opened.parts[0].factors) != 1:
        return None
    terms = opened.parts[0].terms()[0]
    if len(terms) != 1:
        return None
    cells, at, value = element(opened.parts[0].factors[0], 0)
    return number.trace.number_at(cells, at) if value == terms[0] else None


def _folded(
    number: Number, own: Receipt, call: Call, source: Number, top: int, depth: int
) -> Receipt:
    """Write a number that was only handed on as what its source is the sum of."""
    made = inner(source, top, depth)
    if made.verdict in UNADDED or made.residual != made.residual:
        return own
    residual = own.value - made.total
    limit = made.bound + own.bound
    judged = made.verdict
    if judged in (EXACT, ROUNDED):
        judged = EXACT if residual == 0 else ROUNDED
    way = (operation(call) if call.name in _SAID else HANDED_ON, made.address)
    return replace(
        made,
        address=own.address,
        value=own.value,
        dtype=own.dtype,
        residual=residual,
        bound=limit,
        verdict=judged,
        through=(way, *made.through),
        notes=(*own.notes, *made.notes),
    )


def _write(
    number: Number,
    opened: Opened,
    call: Call | None,
    quantity: str,
    top: int,
    depth: int,
    given: bool,
    raw: bool,
) -> Receipt:
    """Write the receipt of a number whose terms are known."""
    trace = number.trace
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
    terms, others = [], Others()
    if not given:
        terms, others = listed(
            trace, opened.parts, top, depth, call,
            lambda cells, at, levels: inner(trace.number_at(cells, at), top, levels, raw),
        )  # fmt: skip
    notes = tuple(opened.notes)
    if judged == NOT_FINITE and not given:
        bad = sum(not np.isfinite(t.value) for t in terms) + others.bad
        notes += (_not_finite(bad, len(terms) + others.count, number),)
    opens = dict.fromkeys(a for t in terms for a in _untold(t))
    return Receipt(
        address=number.address,
        quantity=quantity,
        symbols=opened.formula,
        numbers=in_figures(terms, others),
        value=value,
        dtype=str(number.ref.dtype).removeprefix("torch."),
        terms=tuple(terms),
        others=others,
        total=total,
        residual=residual,
        bound=limit,
        magnitude=size,
        verdict=GIVEN if given else judged,
        operation=call.name if call is not None else "",
        recomputed=opened.recomputed,
        names={} if given else _names(trace, opened),
        opens=tuple(opens)[: 2 * top],
        notes=notes,
    )


_SAID = ("_to_copy", "copy", "clone")  # others, such as a product with 1, are no news
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


def _untold(term: Term) -> list[str]:
    """The addresses of a term that are neither in its figures nor beside its slopes."""
    slopes = [*term.slopes, *[math.nan] * (len(term.factors) - len(term.slopes))]
    return [
        address
        for (address, _), slope in zip(term.factors, slopes, strict=True)
        if f"[{address}]" not in term.detail and (term.detail or math.isnan(slope))
    ]


def _quantity(number: Number, call: Call | None) -> str:
    if isinstance(number.ref, Update):
        return "this step's change"
    if isinstance(number.ref, Whole):
        return "the loss of the whole batch"
    if call is None:
        return "given"
    where = number.trace.labels.describe(number.ref, number.at)
    return operation(call) + (f", {where}" if where else "")


def _names(trace: Trace, opened: Opened) -> dict[str, str]:
    """Tell which tensor each symbol of the formula stands for."""
    names: dict[str, str] = {}
    for part in opened.parts:
        for factor in (*part.factors, *part.shared):
            at = np.asarray(factor.at)
            if factor.symbol and at.size and factor.symbol not in names:
                name = trace.address(factor.cells, int(at.reshape(-1)[0]))
                head, _, tail = name.partition("[")
                names[factor.symbol] = head + tail.rpartition("]")[2] + _cast(trace, factor.cells)
    return names


def _cast(trace: Trace, cells: Cells) -> str:
    """Say of a rounded or widened copy what it is a copy of."""
    writer = cells.version.writer if isinstance(cells, Ref) else None
    if writer is None or writer.name != "_to_copy":
        return ""
    call = writer.call(0)
    return f" ({trace.name_of(call.values['self'])} {operation(call)})"


_UNSEEN = "made by operations that weren't recorded: before the step, or in another thread"


def _reason(call: Call) -> str:
    """Say why a call's numbers can't be opened."""
    if opaque := reads_opaque(call):
        return f"it reads a tensor whose memory can't be read ({opaque[0].kind})"
    return "there is no rule for it"


_NOT_KNOWN = (
    "what it reads and what it made is recorded; how one came of the other is not known, but "
    "can be measured: --slope, or number.slope() in Python"
)


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
        operation=call.name if call is not None else "",
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
