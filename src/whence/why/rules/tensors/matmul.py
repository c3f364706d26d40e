"""Matrix products: each element is a sum of products along one dimension."""

from __future__ import annotations

import numpy as np

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.elements.elementwise import product
from whence.why.rules.forms.positions import broadcast, column, coordinates, position
from whence.why.rules.opening import Factor, Opened, Part, Rule


def _rows(a: Ref, lead: list[np.ndarray], i: np.ndarray | None) -> Factor:
    """Row i of a (or all of a vector): [m, n] positions along its last dimension."""
    k = np.arange(a.size[-1]).reshape(1, -1)
    where = [column(c) for c in lead] + ([] if i is None else [column(i)]) + [k]
    return Factor(a, position(where, a.size), "a")


def _columns(b: Ref, lead: list[np.ndarray], j: np.ndarray) -> Factor:
    """Column j of b: [m, n] positions along its last dimension but one."""
    k = np.arange(b.size[-2]).reshape(1, -1)
    return Factor(b, position([column(c) for c in lead] + [k, column(j)], b.size), "b")


def products(
    a: Ref, b: Ref, at: Index, size: tuple[int, ...], scale: float = 1.0, symbol: str = ""
) -> Part:
    """Write scale · Σₖ a[…,i,k]·b[…,k,j] as a part."""
    *lead, i, j = coordinates(at, size)
    factors = _rows(a, lead, i), _columns(b, lead, j)
    lead_symbol = "" if scale == 1 else f"{scale:g}·"
    return product(symbol or f"{lead_symbol}a[i,k]·b[k,j]", *factors, coefficient=scale)


def matrix(call: Call, at: Index) -> Opened:
    """Open Σₖ a[i,k]·b[k,j] (mm, bmm)."""
    a, b = call["self"], call["mat2"]
    return Opened("Σₖ a[i,k]·b[k,j]", [products(a, b, at, call.output.size)])


def added(call: Call, at: Index) -> Opened:
    """Open β·x + α·Σₖ a[i,k]·b[k,j] (addmm, baddbmm)."""
    names = ("batch1", "batch2") if "batch1" in call.values else ("mat1", "mat2")
    a, b, x = call[names[0]], call[names[1]], call["self"]
    alpha, beta = float(call["alpha"]), float(call["beta"])
    size = call.output.size
    bias = Factor(x, column(broadcast(at, size, x)), "x")
    symbol = "x" if beta == 1 else f"{beta:g}·x"
    sums = products(a, b, at, size, alpha)
    parts = [sums] if beta == 0 else [product(symbol, beta, bias), sums]
    return Opened(" + ".join(["Σₖ " + sums.symbol, *([symbol] if beta else [])]), parts, 2)


def vector(call: Call, at: Index) -> Opened:
    """Open Σₖ a[i,k]·b[k] (mv, addmv) or Σₖ a[k]·b[k] (dot)."""
    if call.name == "addmv":
        a, b, x = call["mat"], call["vec"], call["self"]
        alpha, beta = float(call["alpha"]), float(call["beta"])
    else:
        a, b = call["self"], next(call[n] for n in ("vec", "tensor", "other") if n in call.values)
        x, alpha, beta = None, 1.0, 0.0
    first = _rows(a, [], None if len(a.size) == 1 else at)
    second = Factor(b, np.arange(b.size[0]).reshape(1, -1), "b")
    parts = [product("a[i,k]·b[k]", first, second, coefficient=alpha)]
    if x is not None and beta:
        bias = Factor(x, column(broadcast(at, call.output.size, x)), "x")
        parts.insert(0, product("x", beta, bias))
    return Opened("Σₖ a[i,k]·b[k]", parts)


def linear(call: Call, at: Index) -> Opened:
    """Open Σₖ x[…,k]·w[j,k] + b[j]."""
    x, w, b = call["input"], call["weight"], call.get("bias")
    *lead, j = coordinates(at, call.output.size)
    k = np.arange(w.size[1]).reshape(1, -1)
    rows = Factor(x, position([column(c) for c in lead] + [k], x.size), "x")
    weights = Factor(w, position([column(j), k], w.size), "w")
    parts = [product("x[i,k]·w[j,k]", rows, weights)]
    if b is not None:
        parts.append(product("b[j]", Factor(b, column(j), "b")))
    return Opened("Σₖ x[i,k]·w[j,k]" + (" + b[j]" if b is not None else ""), parts)


RULES: dict[str, Rule] = {
    "mm": matrix,
    "bmm": matrix,
    "addmm": added,
    "baddbmm": added,
    "mv": vector,
    "addmv": vector,
    "dot": vector,
    "vdot": vector,
    "linear": linear,
}
