"""One number: the cells it was made of, the arithmetic, and who used it."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from whence.errors import WhenceError
from whence.receipt.verdicts import GIVEN
from whence.studio.answers.inside.asking import Loop, asked_of
from whence.studio.answers.inside.tiles import matrices, place_of, tile
from whence.studio.answers.inside.traces import Asked
from whence.why import Address, Number, Numbers, Trace
from whence.why.receipts.arrivals import arrivals
from whence.why.receipts.wording import in_words, made_by, spoken
from whence.why.recording.storage import Ref
from whence.why.rules.open import open_element
from whence.why.rules.opening import Cells

SOURCES, LIT = 6, 4096  # tensors that are drawn, cells that light up in each
SIDE = 64
DEEP = 4  # levels that are opened at once within a fused operation


def cell(
    folder: Path,
    *,
    run: str,
    address: str = "loss",
    step: int | None = None,
    text: str = "",
    top: int = 24,
) -> dict[str, Any]:
    """Open one number into the cells it was made of, and say where it went.

    Args:
        folder: the folder of runs.
        run: the run's name.
        address: the number's, as of `whence.why.Trace.number`.
        step: from 0 to the last one done; none: that.
        text: instead of the step's batch, let the model of that step read this text.
        top: how many terms are listed.
    """
    asked = asked_of(folder, run, _step_of(address, step), text)
    address = without_step(address)
    top = max(1, min(top, 1000))
    with asked.opened() as t:
        number = found(t, address)
        receipt = number.why(top=top, raw=True)  # one operation: its cells are lit
        own = Numbers(t, number.ref, name_in(receipt.address))
        shown = receipt.to_dict()
        sources, reverse = _sources(t, number), _reverse(number)
        return {
            **asked.head(),
            "address": receipt.address,
            "receipt": shown,
            "words": _words(t, shown, sources, reverse),
            "place": place_of(number),
            "matrix": tile(t, own, **place_of(number), most=SIDE),
            "sources": sources,
            "slopes": _slopes(number, top),
            **_within(t, number, receipt),
            "before": _before(receipt, number, asked),
            **reverse,
            "notes": t.notes,
            "python": asked.python(f".why({receipt.address!r}, top={top})"),
            "shell": asked.shell(receipt.address, f"--top {top}"),
        }


def matrix(
    folder: Path,
    *,
    run: str,
    name: str,
    step: int | None = None,
    text: str = "",
    lead: int = 0,
    row: int = 0,
    column: int = 0,
) -> dict[str, Any]:
    """Give the tile of a tensor that a cell lies in.

    Args:
        folder: the folder of runs.
        run: the run's name.
        name: the tensor's.
        step: as of `cell`.
        text: as of `cell`.
        lead: as of `whence.studio.answers.inside.tiles.tile`, as row and column.
        row: a row of it.
        column: a column of it.
    """
    asked = asked_of(folder, run, step, text)
    with asked.opened() as t:
        cut = tile(t, t[name], lead, row, column, SIDE)
    index = ",".join(map(str, [*cut["index"], row, column][-len(cut["shape"]) :]))
    address = spelled(name, index) if cut["shape"] else name
    return {
        **asked.head(),
        **cut,
        "python": asked.python(f"[{name!r}].value"),
        "shell": asked.shell(address),
    }


def name_in(address: str) -> str:
    """`w[3,7].grad` → `w.grad`."""
    head, _, tail = address.partition("[")
    return head + tail.rpartition("]")[2]


def spelled(name: str, index: str) -> str:
    """`w.grad`, `3,7` → `w[3,7].grad`."""
    for quantity in (".grad", ".update", ".after"):
        if name.endswith(quantity):
            return f"{name.removesuffix(quantity)}[{index}]{quantity}"
    return f"{name}[{index}]"


def found(t: Trace, address: str) -> Number:
    """Find a number; an address without an index leads to the largest of that tensor."""
    parsed = Address.parse(address)
    if parsed.index is None:
        numbers = t[parsed.name]
        for quantity in parsed.quantity:
            numbers = getattr(numbers, quantity)
        if numbers.shape and numbers.ref.numel:
            size = numbers.ref.tensor().abs().reshape(-1).double().nan_to_num(0, 0, 0)
            return Number(t, numbers.ref, int(size.argmax()), numbers.name)
    return t.number(address)


def without_step(address: str) -> str:
    """An address without its `@step`, a token in it as it was written."""
    parsed = Address.parse(address)
    return address.strip() if parsed.step is None else address.strip().rpartition("@")[0]


def _step_of(address: str, step: int | None) -> int | None:
    said = Address.parse(address).step
    return step if said is None else said


def _words(t: Trace, *parts: Any) -> dict[str, list[str]]:
    """What each raw name of an answer stands for: where it was made, and by what."""
    texts: list[str] = []
    todo: list[Any] = list(parts)
    while todo:
        each = todo.pop()
        if isinstance(each, str):
            texts.append(each)
        elif isinstance(each, dict):
            todo += each.values()
        elif isinstance(each, list | tuple):
            todo += each
    # "head.to_copy#2 (head.weight rounded to bfloat16)" is how a symbol is explained
    names = {name_in(text.partition(" (")[0]).removesuffix(".grad") for text in texts}
    found = {name: spoken(t, name) for name in names}
    return {name: list(words) for name, words in found.items() if words is not None}


def _before(receipt: Any, number: Number, asked: Asked | Loop) -> dict[str, Any] | None:
    """The step before made what was given to this one."""
    t = number.trace
    if receipt.verdict != GIVEN or not asked.has_before:
        return None
    if t.after_of(number.numbers.name) is None:
        return None
    return {"address": f"{number.address}.after", "step": asked.step - 1}


def _within(t: Trace, number: Number, receipt: Any) -> dict[str, Any]:
    """Numbers within a fused operation have no address: open them along with this one."""
    named = {address for term in receipt.terms for address, _ in term.factors}
    closed = sorted(a for a in named if name_in(a) not in t)
    closed = [a for a in closed if not _opens(t, a)]
    deeper = "\n".join(number.why(top=6, depth=DEEP).lines()) if closed else ""
    return {"closed": closed, "within": deeper}


def _opens(t: Trace, address: str) -> bool:
    try:
        t.number(address)
    except WhenceError:
        return False
    return True


def _sources(t: Trace, number: Number) -> list[dict[str, Any]]:
    """The tensors that the number was made of, and which of their cells."""
    opened, call = open_element(number.ref, number.at)
    if opened is None or (call is None and isinstance(number.ref, Ref)):
        return []
    lists: list[dict[str, Any]] = []
    for part in opened.parts:
        width = part.terms().shape[1]
        valid = None if part.valid is None else np.broadcast_to(part.valid, (1, width))[0]
        for factor in (*part.factors, *part.shared):
            at = np.asarray(factor.at).reshape(-1)
            if valid is not None and len(at) == len(valid):
                at = at[valid]
            if len(at):
                lists.append(_lit(t, factor.cells, at, factor.symbol))
    merged: dict[tuple[str, int], dict[str, Any]] = {}
    for one in lists:
        kept = merged.setdefault((one["name"], one["lead"]), one)
        if kept is not one:
            both = np.unique(np.concatenate([kept["cells"], one["cells"]]), axis=0)
            kept["cells"], kept["count"] = both[:LIT], len(both)
    shown = list(merged.values())
    for one in shown[:SOURCES]:
        row, column = (int(i) for i in one["cells"][0])
        one["matrix"] = tile(t, one["numbers"], one["lead"], row, column, SIDE)
    return [{k: v for k, v in one.items() if k != "numbers"} for one in shown[:SOURCES]]


def _lit(t: Trace, cells: Cells, at: np.ndarray, symbol: str) -> dict[str, Any]:
    """Where elements are in the tensor they are best known by."""
    name = name_in(t.address(cells, int(at[0])))
    if name in t:
        known = t[name].ref
        if isinstance(known, Ref) and isinstance(cells, Ref) and known is not cells:
            where = known.locate(cells.places(at))
            if (where >= 0).all():
                cells, at = known, where
    _, rows, columns = matrices(cells.size)
    lead, row, column = at // (rows * columns), at // columns % rows, at % columns
    here = lead == lead[0]
    lit = np.stack([row[here], column[here]], 1).astype(np.int32)
    return {
        "name": name,
        "symbol": symbol,
        "lead": int(lead[0]),
        "cells": np.unique(lit, axis=0)[:LIT],
        "count": len(at),
        "numbers": Numbers(t, cells, name),
    }


def _slopes(number: Number, top: int) -> list[dict[str, Any]]:
    """How fast the number grows with each of those it was made of, the strongest first."""
    inputs = [(n, s) for n, s in number.inputs if math.isfinite(s)]
    inputs.sort(key=lambda pair: -abs(pair[1]))
    return [{"address": n.address, "value": n.value, "slope": s} for n, s in inputs[:top]]


def _reverse(number: Number) -> dict[str, Any]:
    """Who used it, the gradient that each use sent back, and their sum."""
    t = number.trace
    used = [
        {"operation": op, "name": name, "words": made_by(t, name) or in_words(op)}
        for op, name in number.used_by
    ]
    try:
        grad, came = number.grad, arrivals(number)
    except WhenceError as error:
        return {"used_by": used, "grad": None, "arrivals": [], "no_grad": str(error)}
    listed = [
        {
            "module": a.module,
            "operation": a.operation,
            "words": in_words(a.operation),
            "address": a.number.address,
            "value": a.number.value,
        }
        for a in came
    ]
    total = sum(a.number.value for a in came)
    value = grad.value
    why = grad.why(top=1)
    return {
        "used_by": used,
        "grad": {"address": grad.address, "value": value, "verdict": why.verdict},
        "arrivals": listed,
        "rounding": value - total,
    }
