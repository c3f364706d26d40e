"""What a rule answers: the terms that add up to an element, and how far rounding may take them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from whence.why.recording.storage import Index
from whence.why.recording.tape import Call

# Half the distance between 1 and the next number: the largest relative error of one rounding.
UNIT = {
    torch.float64: 2.0**-53,
    torch.float32: 2.0**-24,
    torch.bfloat16: 2.0**-8,
    torch.float16: 2.0**-11,
    torch.complex64: 3 * 2.0**-24,  # a product of two takes four products and two sums
    torch.complex128: 3 * 2.0**-53,
}
TINY = {
    torch.float64: 2.0**-1022,
    torch.complex128: 2.0**-1022,
    torch.float16: 2.0**-24,
}  # below it, numbers underflow


class Cells(Protocol):
    """A tensor whose elements can be read: recorded, or recomputed on demand."""

    size: tuple[int, ...]
    dtype: Any

    @property
    def ordinal(self) -> float:
        """Place in the step of the operation that made it, −1 if it was there before."""
        ...

    @property
    def carries(self) -> bool:
        """Whether it is a gradient, or was worked out from one."""
        ...

    @property
    def numel(self) -> int:
        """Number of elements."""
        ...

    def tensor(self) -> Tensor:
        """Return the whole tensor."""
        ...

    def gather(self, at: Index, /) -> np.ndarray:
        """Return the values at logical positions, as float64."""
        ...


class Derived(Cells, Protocol):
    """Cells that no operation stored: they know themselves how to be opened."""

    name: str

    @property
    def call(self) -> Call | None:
        """The operation they belong to."""
        ...

    def open(self, at: Index, /) -> Opened:
        """Open some elements."""
        ...


@dataclass(slots=True)
class Factor:
    """Elements of one tensor, as many as there are terms.

    Attributes:
        cells: the tensor.
        at: logical positions, broadcastable to [elements opened, terms].
        symbol: what it is called in the formula.
    """

    cells: Cells
    at: Index
    symbol: str = ""
    _values: np.ndarray | None = None

    @property
    def values(self) -> np.ndarray:
        """The elements' values, in float64, in the shape of `at`."""
        if self._values is None:
            at = np.asarray(self.at)
            self._values = self.cells.gather(at.reshape(-1)).reshape(at.shape)
        return self._values


def real_or_complex(values: Any) -> np.ndarray:
    """Return numbers in float64, complex ones in complex128."""
    values = np.asarray(values)
    return values.astype(np.complex128 if np.iscomplexobj(values) else np.float64, copy=False)


@dataclass(slots=True)
class Part:
    """One sum of an element's terms, written once for all: Σ coefficient · Π factors.

    Attributes:
        symbol: one term in symbols (`x[i,k]·w[k,j]`).
        factors: what is multiplied. The first is the one that the sum is *of*, the others weigh it.
        coefficient: a number for each term, or one for all.
        shared: what went into the coefficient, such as a norm's denominator.
        value: the terms themselves, where they aren't the plain product.
        valid: which terms there are, where the elements opened have different numbers of them.
        slope: derivative of the terms by the (one) shared factor, where the part is a function.
    """

    symbol: str
    factors: tuple[Factor, ...] = ()
    coefficient: np.ndarray | float = 1.0
    shared: tuple[Factor, ...] = ()
    value: np.ndarray | None = None
    valid: np.ndarray | None = None
    slope: Callable[[], np.ndarray] | None = None

    def terms(self) -> np.ndarray:
        """Return the terms, broadcastable to [elements opened, terms], in float64."""
        if self.value is not None:
            terms = real_or_complex(self.value)
        else:
            terms = real_or_complex(self.coefficient)
            with np.errstate(all="ignore"):
                for factor in self.factors:
                    terms = terms * factor.values
        if terms.ndim < 2:
            terms = terms.reshape(1, -1) if terms.ndim else terms.reshape(1, 1)
        return terms if self.valid is None else np.where(self.valid, terms, 0.0)


@dataclass(slots=True)
class Opened:
    """Some elements of an operation's output, opened: each is the sum of its parts' terms.

    Attributes:
        formula: the operation in symbols.
        parts: the sums.
        roundings: how many roundings the kernel makes beside those of adding up, at most.
        unit: relative size of one of them; `None` for that of the output's own type, float32 for
            the narrower ones.
        inner: a further relative error of each element, from intermediate results that the kernel
            rounds and doesn't keep; [elements] or one number.
        absolute: a further error in the number's own unit.
        exact: rounding plays no part, as in a copy or a comparison.
        sampled: the numbers were drawn at random.
        recomputed: intermediate numbers were computed again, as the kernel kept none.
        magnitude: Σ|terms| of each element, where the parts don't tell.
        notes: sentences the reader needs.
    """

    formula: str
    parts: Sequence[Part]
    roundings: float = 1.0
    unit: float | None = None
    inner: np.ndarray | float = 0.0
    absolute: np.ndarray | float = 0.0
    exact: bool = False
    sampled: bool = False
    recomputed: bool = False
    magnitude: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)

    def total(self, count: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Return Σ terms and Σ|terms| for each of `count` elements, and how many terms there are.

        The sum is correct to a few units of float64: NumPy adds pairwise.
        """
        total, size, number = np.zeros(count), np.zeros(count), 0
        with np.errstate(all="ignore"):
            for part in self.parts:
                terms = part.terms()
                total = total + terms.sum(1)
                size += np.abs(terms).sum(1)
                number += terms.shape[1]
        return total, size if self.magnitude is None else self.magnitude, number


def bound(opened: Opened, dtype: Any, total: np.ndarray, size: np.ndarray, number: int):
    """Say how far rounding can have taken each stored number from the sum of its terms.

    |stored − Σ| ≤ (g(n) + roundings)·u·Σ|terms| + inner·Σ|terms| + u_out·|Σ| + absolute

    g(n) = min(n − 1, 6·√n): up to 36 terms the worst case; beyond, what rounding errors that do not
    conspire stay within (Higham and Mary 2019: with λ = 6, all but one in 10⁷ sums).

    Args:
        opened: the elements, as their rule opened them.
        dtype: the type they are stored in.
        total: Σ terms of each.
        size: Σ|terms| of each.
        number: n.
    """
    if opened.exact or dtype not in UNIT:
        return np.zeros_like(size)
    out = UNIT[dtype]
    unit = opened.unit if opened.unit is not None else min(out, UNIT[torch.float32])
    sums = min(number - 1, 6 * math.sqrt(number)) + opened.roundings
    relative = sums * unit + 4 * UNIT[torch.float64]
    tiny = TINY.get(dtype, 2.0**-126) * max(number, 4)
    with np.errstate(all="ignore"):
        return (relative + opened.inner) * size + out * np.abs(total) + opened.absolute + tiny


def difference(stored: np.ndarray, total: np.ndarray, size: np.ndarray, dtype: Any) -> np.ndarray:
    """Return stored − Σ terms of each number, 0 where one that isn't finite is as it must be.

    NaN is what a NaN term leaves. Where |terms| add up to more than the type holds, adding them in
    it passes ±∞ on the way, so what is stored may be ±∞, or NaN where both were met.

    Args:
        stored: the numbers.
        total: Σ terms of each.
        size: Σ|terms| of each.
        dtype: the type they are stored in.
    """
    with np.errstate(all="ignore"):
        apart = stored - total
        overflows = ~(size <= _LARGEST.get(dtype, math.inf))
    agree = (stored == total) | (~np.isfinite(stored) & (overflows | np.isnan(total)))
    return np.where(agree, 0.0, apart)


_LARGEST = {dtype: torch.finfo(dtype).max for dtype in UNIT}

Rule = Callable[[Call, Index], Opened]
