"""Receipts for `Value`: a value opens into its summands, a gradient into its uses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from whence.errors import WhenceError
from whence.receipt import Receipt, Term, added_up
from whence.receipt.sentence import said
from whence.receipt.verdicts import GIVEN
from whence.scalar import ops
from whence.scalar.graph import topological

if TYPE_CHECKING:
    from whence.scalar.value import Value

_SUMS = (ops.ADD, ops.SUB)
_LOOSE = (ops.ADD, ops.SUB, ops.NEG)  # formulas that need brackets inside another formula


def name(v: Value, depth: int = 2) -> str:
    """Return what to call a number: its label, a leaf's figure, or its formula cut at `depth`."""
    if v.label:
        return v.label
    if v.op is None:
        return repr(v._data)
    return formula(v, depth) if depth else "…"


def formula(v: Value, depth: int = 2) -> str:
    """Return the formula that made a number, in symbols."""
    if v.op is None:
        return repr(v._data)
    if v.op in _SUMS or v.op in (ops.SUM, ops.DOT):
        n = length(v)
        if n > 9:
            return f"Σ of {n} terms"
        return " + ".join(term.label for term in summands(v, depth - 1)).replace("+ −", "− ")
    names = []
    for source in v.inputs[:2]:
        text = name(source, depth - 1)
        inside = v.op.symbols[-1] in ")|"  # exp(…) has brackets already
        bare = not (source.label or inside) and source.op in _LOOSE
        names.append(f"({text})" if bare or (text[0] == "-" and v.op is ops.POW) else text)
    return v.op.symbols.format(*names, n=len(v.inputs))


def figures(v: Value) -> str:
    """Return the formula that made a number with the forward pass's figures in it."""
    if v.op is None:
        return repr(v._data)
    if v.op in _SUMS or v.op in (ops.SUM, ops.DOT):
        if length(v) > 9:
            return formula(v)
        texts = [term.detail or repr(term.value) for term in summands(v, 0)]
        return " + ".join(texts).replace("+ -", "− ").replace("+ −", "− ")
    texts = [f"({x!r})" if x < 0.0 else repr(x) for x in v.operands[:2]]
    return v.op.symbols.format(*texts, n=len(v.inputs))


def not_finite(v: Value) -> str:
    """Return the sentence that says which operation gave a number that isn't finite, from what."""
    return (
        f"{formula(v)} gave {v._data!r}: {figures(v)}. "
        "What is made from it is not a number to trust."
    )


def length(v: Value) -> int:
    """Return how many summands a sum has."""
    if v.op is ops.SUM:
        return len(v.inputs)
    if v.op is ops.DOT:
        return len(v.inputs) // 2 + 1
    n = 2
    left = v.inputs[0]
    while left.op in _SUMS and left.label is None:
        n += 1
        left = left.inputs[0]
    return n


def _term(source: Value, x: float, depth: int, sign: float = 1.0) -> Term:
    """One summand: a product shows its factors, anything else its name."""
    label = name(source, depth)
    if source.op is not None and not source.label and source.op in _LOOSE:
        label = f"({label})"
    product = source.op in (ops.MUL, ops.DOT) and not source.label
    detail = figures(source) if product else ""
    if sign < 0.0:
        label = f"−{label}"
        detail = detail and (f"−({detail})" if source.op is ops.DOT else f"−{detail}")
    return Term(label, sign * x, detail, source.label or (label if source.op else None))


def summands(v: Value, depth: int = 2) -> list[Term]:
    """Return the terms that add up, in this order, to the number."""
    if v.op is ops.SUM:
        return [_term(source, x, depth) for source, x in zip(v.inputs, v.operands, strict=True)]
    if v.op is ops.DOT:
        (c, *pairs), (x, *numbers) = v.inputs, v.operands
        terms = [_term(c, x, depth)] if x or c.op or c.label else []
        for i in range(0, len(pairs), 2):
            (a, b), (p, q) = pairs[i : i + 2], numbers[i : i + 2]
            detail = " · ".join(f"({x!r})" if x < 0.0 else repr(x) for x in (p, q))
            terms.append(Term(f"{name(a, depth - 1)} · {name(b, depth - 1)}", p * q, detail))
        return terms
    if v.op not in _SUMS:
        return [Term(formula(v, depth), v._data, figures(v))]
    # (x1 + x2) + x3 is one sum of three: opened leftwards, where the order of adding stays.
    terms = []
    left, x = v, v._data
    while left.op in _SUMS and (left is v or left.label is None):
        sign = -1.0 if left.op is ops.SUB else 1.0
        terms.append(_term(left.inputs[1], left.operands[1], depth, sign))
        x, left = left.operands[0], left.inputs[0]
    terms.append(_term(left, x, depth))
    return terms[::-1]


def added(terms: list[Term]) -> float:
    """Return the terms added up one by one, as a reader would."""
    total = 0.0
    for term in terms:
        total += term.value
    return total


def value(v: Value, depth: int = 1) -> Receipt:
    """Return the receipt of a number: formula, figures, summands."""
    called = v.label or "v"
    if v.op is None:
        words = "a leaf: it was given, or stepped by an optimizer, not computed"
        return Receipt(called, "value", words, "", v._data, verdict=GIVEN)
    # `data` may have been set since; the receipt is of the forward pass.
    terms = summands(v)
    if depth > 1:
        terms = _opened(v, terms, depth)
    return added_up(called, "value", formula(v), figures(v), v._data, terms, sentence=said(terms))


def _each(several: tuple[Value, ...]) -> list[Value]:
    return list({id(source): source for source in several}.values())


def _opened(v: Value, terms: list[Term], depth: int) -> list[Term]:
    """Put under each term the receipt of what it was made of."""
    if v.op in _SUMS:  # a sum of many, opened leftwards
        sources, left = [], v
        while left.op in _SUMS and (left is v or left.label is None):
            sources.append((left.inputs[1],))
            left = left.inputs[0]
        sources = [(left,), *reversed(sources)]
    elif v.op is ops.SUM:
        sources = [(source,) for source in v.inputs]
    elif v.op is ops.DOT:
        pairs = v.inputs[1:]
        sources = [tuple(pairs[i : i + 2]) for i in range(0, len(pairs), 2)]
        sources = [(v.inputs[0],)] * (len(terms) - len(sources)) + sources
    else:
        sources = [v.inputs]
    return [
        replace(term, opened=tuple(value(s, depth - 1) for s in _each(several) if s.op))
        for term, several in zip(terms, sources, strict=True)
    ]


class Use(NamedTuple):
    """One place where a number was used on the way to another.

    Attributes:
        by: the number that was made there.
        arriving: ∂of/∂by.
        slope: ∂by/∂(the number), as in the forward pass.
    """

    by: Value
    arriving: float
    slope: float


def uses(v: Value, of: Value) -> list[Use]:
    """Return every place where `v` was used to make `of`, in the order `backward()` meets them.

    The gradients are computed afresh and nothing is written, so that the answer does not depend on
    which `backward()` was called last.

    Example:
        >>> from whence.scalar import Value
        >>> x = Value(3.0)
        >>> [(use.arriving, use.slope) for use in uses(x, of=x * x)]
        [(1.0, 3.0), (1.0, 3.0)]
    """
    order = topological(of)
    grads = {id(node): 0.0 for node in order}
    grads[id(of)] = 1.0
    places = []
    for node in reversed(order):
        arriving = grads[id(node)]
        for source, slope in zip(reversed(node.inputs), reversed(node.slopes), strict=True):
            if id(source) in grads:
                grads[id(source)] += arriving * slope
            if source is v:
                places.append(Use(node, arriving, slope))
    return places


def gradient(v: Value, of: Value, depth: int = 1) -> Receipt:
    """Return the receipt of ∂of/∂v: one term for each place where v was used."""
    called, root = v.label or name(v), of.label or "root"
    places = uses(v, of)
    if not places and v is not of:
        raise WhenceError(
            f"{root} was not made from {called}, so it has no gradient with respect to it: "
            "ask for a number that it was made from."
        )
    terms, seen = [], {id(of)}
    for use in places:
        by = use.by
        opened = depth > 1 and id(by) not in seen  # once, where several uses made the same number
        seen.add(id(by))
        terms.append(
            Term(
                label=f"∂{root}/∂{_bracketed(by)} · ∂{_bracketed(by)}/∂{called}",
                value=use.arriving * use.slope,
                detail=f"{use.arriving!r} · {use.slope!r}",
                address=by.label or name(by),
                opened=(gradient(by, of, depth - 1),) if opened else (),
            )
        )
    total = added(terms) if places else 1.0
    notes = []
    if not places:
        notes.append("a number's slope with respect to itself is 1")
    elif v.grad != total:
        notes.append(
            f"{called}.grad now holds {v.grad!r}: other losses were added to it, it was zeroed, "
            "or backward() has not been called on this one"
        )
    sum_of = " + ".join(f"{use.arriving!r} · {use.slope!r}" for use in places[:6])
    many = f"Σ over {len(places)} uses of " if len(places) != 1 else ""
    return added_up(
        f"{called}.grad",
        f"gradient of {root} with respect to {called}",
        f"{many}arriving gradient · local slope",
        f"{sum_of}{' + …' if len(places) > 6 else ''}",
        total,
        terms,
        notes=notes,
        sentence=said(terms),
    )


def _bracketed(v: Value) -> str:
    text = name(v)
    return text if v.label or v.op is None else f"[{text}]"
