"""Forms of rules for operations that are run again in float64.

An operation on elements at the same place is run on those alone. One that is linear in an input is
differentiated: the slopes are the coefficients of its sum. Any other is a function of its inputs,
with its value and, where torch can tell them, its slopes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call, flatten
from whence.why.rules.forms.again import (
    DIFFERENTIABLE,
    Again,
    Formula,
    padded,
    run,
    whole,
    wide,
    widened,
)
from whence.why.rules.forms.positions import column, operand
from whence.why.rules.forms.rounding import accuracy, narrow
from whence.why.rules.opening import Factor, Opened, Part, Rule

_SYMBOLS = {
    "self": "x",
    "input": "x",
    "weight": "w",
    "grad_output": "g",
    "grad": "g",
    "target": "y",
}
_ARRIVING = ("grad_output", "grad")


def elementwise(
    words: str,
    *,
    roundings: float = 6,
    backward: float = 4,
    beside: float = 0,
    narrowly: float = 2,
    exact: bool = False,
) -> Rule:
    """Make the rule of an operation on elements at the same place, run on those alone.

    A backward operation, with a `grad_output`, is the arriving gradient times a slope; any other is
    a function of its operands. Its error is some roundings of the result and of the operands.

    Args:
        words: the operation in symbols.
        roundings: of the result.
        backward: of the operands.
        beside: of a 1 that is met on the way.
        narrowly: how many it makes, in between, in a type narrower than float32.
        exact: no rounding, as in a comparison.
    """

    def opened(call: Call, at: Index) -> Opened:
        operands: dict[str, Factor] = {}
        given = dict(call.values)
        for name, value in call.values.items():
            found = operand(call, name, at) if isinstance(value, Ref) else None
            if isinstance(found, Factor) and isinstance(value, Ref):
                operands[name] = found
                kind = torch.empty(0, dtype=value.dtype)
                given[name] = torch.from_numpy(found.values[:, 0]).to(widened(kind).dtype)
            else:
                given[name] = wide(value)
        arriving = next((operands.pop(n) for n in _ARRIVING if n in operands), None)
        if arriving is not None:
            name = next(n for n in _ARRIVING if n in given)
            given[name] = torch.ones_like(given[name])
        value, slopes = _with_slopes(call, given, [] if exact else list(operands))
        value = np.broadcast_to(value, (len(at),))
        pairs = [(operands[n], slope) for n, slope in slopes.items()]
        with np.errstate(invalid="ignore"):
            slack = sum((np.abs(s * x.values[:, 0]) for x, s in pairs), np.zeros(len(at)))
        slack = accuracy(call) * backward * np.nan_to_num(slack)
        shared = tuple(operands.values())
        if arriving is not None:
            slack = (slack + accuracy(call) * 2) * np.abs(arriving.values[:, 0])
            part = Part(words, (arriving,), column(value), shared)
        else:
            part = Part(words, value=column(value), shared=shared)
            if len(pairs) == len(operands) == 1:
                part.slope = lambda: column(pairs[0][1])
        between = narrowly * narrow(call)
        slack = slack + beside * max(narrow(call), accuracy(call))
        return Opened(words, [part], roundings, inner=between, absolute=slack, exact=exact)

    return opened


def _with_slopes(
    call: Call, given: dict[str, Any], by: list[str]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Run an operation on single elements, and differentiate it where torch knows how to."""
    by = [name for name in by if given[name].dtype in DIFFERENTIABLE]
    try:
        with torch.enable_grad():
            tried = {n: v.requires_grad_() if n in by else v for n, v in given.items()}
            output = run(call, tried)[call.slot]
            assert output is not None
            slopes = torch.autograd.grad(
                output.sum(), [tried[n] for n in by], allow_unused=True
            ) if by and output.requires_grad and not output.is_complex() else []  # fmt: skip
        pairs = zip(by, slopes, strict=False)
        known = {n: s.numpy() for n, s in pairs if s is not None}
    except (RuntimeError, NotImplementedError):  # torch has no derivative of it
        with torch.no_grad():
            output, known = run(call, given)[call.slot], {}
    assert output is not None
    output = output.detach().resolve_conj()
    return (output if output.is_complex() else output.double()).numpy(), known


def linear(
    words: str,
    *names: str,
    shared: Sequence[str] = (),
    roundings: float = 4,
    inner: float = 4,
    backward: float = 0,
    beside: float = 0,
    sums_narrowly: bool = False,
    formula: Formula | None = None,
) -> Rule:
    """Make the rule of an operation that is linear in some inputs: Σ slope · x.

    Args:
        words: the operation in symbols.
        names: the inputs; each adds a sum of its own.
        shared: what else the slopes are made of.
        roundings: how many the kernel makes beside those of adding up.
        inner: how many it makes in each slope.
        backward: how many it makes, in effect, in the inputs that the slopes are made of.
        beside: what it adds to those inputs before it rounds them, at most.
        sums_narrowly: it adds up in the type of its output, where that is narrower than float32.
        formula: the operation, where torch can't differentiate its own.
    """

    def opened(call: Call, at: Index) -> Opened:
        again = Again(call, (*names, *shared) if backward else names, formula)
        rows = again.rows(at)
        if rows is None:  # nothing that is opened depends on it
            value = column(again.values(at))
            return Opened(words, [Part(words, value=value, shared=whole(call, names, at))], 4)
        parts, slack, count = [], np.zeros(len(at)), np.ones(len(at))
        for i, source in enumerate(again.sources):
            places, slopes, valid = padded([row[i] for row in rows])
            factor = Factor(source, places, _SYMBOLS.get(again.names[i], ""))
            if backward:
                size = np.abs(factor.values) + beside * (again.names[i] not in names)
                slack += np.abs(np.where(valid, np.abs(slopes) * size, 0.0)).sum(1)
            elif sums_narrowly:
                count = np.maximum(count, np.minimum(valid.sum(1), 3 * np.sqrt(valid.sum(1))))
            if again.names[i] in names:
                part = Part(words, (factor,), slopes, whole(call, shared, at), valid=valid)
                if source.dtype.is_complex and not call.output.dtype.is_complex:
                    part.value = np.real(slopes * factor.values)
                parts.append(part)
        own = narrow(call)
        slack = slack * (backward * accuracy(call) + 2 * own)
        rounded = inner * accuracy(call) + own * count
        return Opened(words, parts, roundings, inner=rounded, absolute=slack)

    return opened


def scaled(words: str, gradient: str, *shared: str, dim: int = 0, inner: float = 16) -> Rule:
    """Make the rule of a loss's backward pass: one arriving gradient, or one an example, × slope.

    Args:
        words: the operation in symbols.
        gradient: name of the arriving gradient.
        shared: what the slopes are made of.
        dim: the dimension of examples.
        inner: how many roundings the kernel makes in a slope.
    """

    def opened(call: Call, at: Index) -> Opened:
        given = {name: wide(value) for name, value in call.values.items()}
        given[gradient] = torch.ones_like(given[gradient])
        with torch.no_grad():
            output = run(call, given)[call.slot]
        assert output is not None
        slopes = output.reshape(-1)[torch.from_numpy(np.asarray(at))].numpy()
        one = call[gradient].numel == 1
        where = np.unravel_index(at, call.output.size)[dim % len(call.output.size)]
        arriving = Factor(call[gradient], column(np.zeros_like(at) if one else where), "g")
        part = Part(words, (arriving,), column(slopes), whole(call, shared, at))
        slack = accuracy(call) * inner * np.abs(arriving.values[:, 0])
        slack = slack * np.abs(slopes).max(initial=0.0)
        return Opened(words, [part], inner, inner=2 * narrow(call), absolute=slack)

    return opened


def computed(
    words: str,
    *names: str,
    roundings: float = 16,
    backward: float = 8,
    formula: Formula | None = None,
) -> Rule:
    """Make the rule of an operation that is a function of its inputs, its value recomputed.

    The kernel is taken to be backward stable: it returns what inputs would that are some roundings
    off, so its error is their slopes' times the inputs, and some roundings of the result.

    Args:
        words: the operation in symbols.
        names: the inputs that count; all real ones, if none is named.
        roundings: of the result.
        backward: of the inputs.
        formula: the operation, where torch can't differentiate its own.
    """

    def opened(call: Call, at: Index) -> Opened:
        again = Again(call, names, formula)
        rows = again.rows(at)
        value = column(again.values(at))
        if rows is None:
            from_ = names or [n for n, v in call.values.items() if flatten(v, Ref)]
            part = Part(words, value=value, shared=whole(call, from_, at))
            return Opened(words, [part], roundings + backward, recomputed=True)
        shared, known, slack = [], [], np.zeros(len(at))
        for i, source in enumerate(again.sources):
            places, slopes, valid = padded([row[i] for row in rows])
            if valid.any():
                factor = Factor(source, places, _SYMBOLS.get(again.names[i], ""))
                with np.errstate(invalid="ignore"):
                    slack += np.abs(np.where(valid, slopes * factor.values, 0.0)).sum(1)
                shared.append(factor)
                known.append(slopes)
        part = Part(words, value=value, shared=tuple(shared))
        if len(shared) == 1 and not np.iscomplexobj(known[0]):
            part.slope = lambda: known[0]
        slack = np.nan_to_num(slack) * (backward * accuracy(call) + narrow(call))
        between = 2 * narrow(call)
        return Opened(words, [part], roundings, inner=between, absolute=slack, recomputed=True)

    return opened
