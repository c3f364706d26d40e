"""Linear algebra beyond products: what solves, inverts, factors or measures a matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whence.why.recording.storage import Index
from whence.why.recording.tape import Call
from whence.why.rules.elements.elementwise import product
from whence.why.rules.forms.again import Again, widened
from whence.why.rules.forms.picks import by_slot
from whence.why.rules.forms.positions import broadcast, column, coordinates
from whence.why.rules.forms.rerun import computed, linear
from whence.why.rules.forms.rounding import narrow
from whence.why.rules.opening import Factor, Opened, Part, Rule

# A solver's error is that of inputs some roundings off, for each row it goes through.
_MANY = 64.0

_COMPUTED = {
    "linalg_inv_ex": "A⁻¹[i,j]",
    "_linalg_det": "det A",
    "_linalg_slogdet": "ln |det A|",
    "linalg_matrix_exp": "e^A[i,j]",
    "linalg_cholesky_ex": "L[i,j], where L·Lᵀ = A",
    "cholesky_inverse": "(L·Lᵀ)⁻¹[i,j]",
    "linalg_qr": "Q[i,j] or R[i,j], where Q·R = A",
    "linalg_lu": "P, L or U[i,j], where P·L·U = A",
    "linalg_lu_factor_ex": "L and U in one matrix",
    "linalg_pinv": "A⁺[i,j]",
    "linalg_lstsq": "x[i,j], where ‖A·x − b‖ is least",
    "_linalg_eigvals": "an eigenvalue",
    "_cdist_forward": "‖x[i] − y[j]‖",
    "_euclidean_dist": "‖x[i] − y[j]‖",
    "_pdist_forward": "‖x[i] − x[j]‖",
    "_linalg_check_errors": "whether it failed",
}


def _solved(b: str, a: str) -> Rule:
    """The rule of a solver: linear in b, and as far off as inputs some roundings off would be."""
    return linear("A⁻¹[i,k]·b[k,j]", b, shared=(a,), backward=64)


def _directions(one: Tensor, two: Tensor, p: float) -> Tensor:
    """The slope of ‖x − y‖ₚ by x, for each pair: [..., P, R, D]."""
    off = one.unsqueeze(-2) - two.unsqueeze(-3)
    size = torch.linalg.vector_norm(off, p, -1, keepdim=True)
    if math.isinf(p):
        far = off.abs() == size
        return off.sign() * far
    slopes = off.sign() * off.abs() ** (p - 1) / size.clamp(min=1e-300) ** (p - 1)
    return torch.where(size > 0, slopes, 0.0)


def _apart(given: dict[str, Any]) -> Tensor:
    slopes = _directions(given["x1"], given["x2"].detach(), given["p"])
    return (given["grad"].unsqueeze(-1) * slopes).sum(-2)


def _pairs_apart(given: dict[str, Any]) -> Tensor:
    x = given["self"]
    slopes = _directions(x, x.detach(), given["p"])
    i, j = torch.triu_indices(len(x), len(x), 1)
    square = torch.zeros(len(x), len(x), dtype=x.dtype).index_put((i, j), given["grad"])
    return ((square + square.T).unsqueeze(-1) * slopes).sum(-2)


def decomposed(words: str, across: dict[int, int]) -> Rule:
    """Make the rule of a decomposition whose vectors are known but for their signs or phases.

    Args:
        words: the decomposition.
        across: for each output of vectors, the dimension that runs along one vector.
    """
    rule = computed(words, roundings=_MANY, backward=_MANY)

    def opened(call: Call, at: Index) -> Opened:
        found = rule(call, at)
        if call.slot in across:
            dim, ours = across[call.slot], Again(call).output.detach()
            theirs = widened(call.output.tensor())
            turn = (ours.conj() * theirs).sum(dim, keepdim=True).expand_as(ours).reshape(-1)
            turn = turn[torch.from_numpy(at)].resolve_conj().numpy()
            turn = turn / np.maximum(np.abs(turn), 1e-300)
            part = found.parts[0]
            part.value, part.slope = part.terms() * column(turn), None
            part.value = part.value if call.output.dtype.is_complex else np.real(part.value)
        return found

    return opened


def outer(call: Call, at: Index) -> Opened:
    """Open β·x + α·a[i]·b[j] (addr)."""
    i, j = coordinates(at, call.output.size)
    a, b = Factor(call["vec1"], column(i), "a"), Factor(call["vec2"], column(j), "b")
    x = Factor(call["self"], column(broadcast(at, call.output.size, call["self"])), "x")
    parts = [
        product("β·x", float(call["beta"]), x),
        product("α·a[i]·b[j]", float(call["alpha"]), a, b),
    ]
    return Opened("β·x + α·a[i]·b[j]", parts, roundings=3, inner=narrow(call))


def cross(call: Call, at: Index) -> Opened:
    """Open x[j]·y[k] − x[k]·y[j] (linalg_cross)."""
    size, x, y = call.output.size, call["self"], call["other"]
    dim = call["dim"] % len(size)

    def beside(step: int) -> list[np.ndarray]:
        where = coordinates(at, size)
        where[dim] = (where[dim] + step) % 3
        return where

    j, k = (np.ravel_multi_index(tuple(beside(s)), size) for s in (1, 2))
    one, two = (
        (
            Factor(x, column(broadcast(a, size, x)), "x"),
            Factor(y, column(broadcast(b, size, y)), "y"),
        )
        for a, b in ((j, k), (k, j))
    )
    parts = [Part("x[j]·y[k]", one), Part("−x[k]·y[j]", two, -1.0)]
    return Opened("x[j]·y[k] − x[k]·y[j]", parts, roundings=2, inner=narrow(call))


RULES: dict[str, Rule] = {
    **{name: computed(words, roundings=_MANY, backward=_MANY) for name, words in _COMPUTED.items()},
    "_linalg_svd": decomposed("U, S or V, where U·S·Vᵀ = A", {0: -2, 2: -1}),
    "_linalg_eigh": decomposed("an eigenvalue, or an element of its vector", {1: -2}),
    "linalg_eig": decomposed("an eigenvalue, or an element of its vector", {1: -2}),
    "_linalg_solve_ex": by_slot(
        _solved("B", "A"), computed("L and U in one matrix", "A", roundings=_MANY, backward=_MANY)
    ),
    "linalg_solve_triangular": _solved("B", "self"),
    "linalg_lu_solve": _solved("B", "LU"),
    "cholesky_solve": _solved("self", "input2"),
    "triangular_solve": by_slot(_solved("self", "A"), computed("A", "A")),
    "_trilinear": computed("Σ x·w·y"),
    "addbmm": computed("β·x + α·Σ a·b"),
    "addr": outer,
    "linalg_cross": cross,
    "_cdist_backward": linear(
        "Σⱼ g[i,j]·slope", "grad", shared=("x1",), formula=_apart, backward=16
    ),
    "_pdist_backward": linear(
        "Σⱼ g[i,j]·slope", "grad", shared=("self",), formula=_pairs_apart, backward=16
    ),
}
