"""One scalar of a trace, and the tensors that contain it."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from whence.errors import WhenceError
from whence.receipt import Receipt
from whence.why.attribution.groups import Attribution, attribution
from whence.why.attribution.source import source
from whence.why.receipts.check import Check, check
from whence.why.receipts.explain import explain
from whence.why.receipts.slope import Slope, slope
from whence.why.receipts.update import Update
from whence.why.rules.forms.positions import position
from whence.why.rules.open import open_element
from whence.why.rules.opening import Cells, Factor

if TYPE_CHECKING:
    from whence.why.trace import Trace


class Numbers:
    """A tensor of a trace; indexing it gives one `Number`.

    Attributes:
        trace: the step it belongs to.
        ref: its record.
        name: its name.

    Example:
        >>> import torch
        >>> from whence.why import trace
        >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> def step():
        ...     (w * w).sum().backward()
        >>> t = trace(step)
        >>> t["w"].shape, t["w"].grad.value.tolist()
        ((2,), [2.0, 4.0])
    """

    def __init__(self, trace: Trace, ref: Cells, name: str):
        self.trace, self.ref, self.name = trace, ref, name

    def __repr__(self) -> str:
        return f"Numbers({self.name!r}, {list(self.shape)}, {self.ref.dtype})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.ref.size

    @property
    def value(self) -> Tensor:
        """Its values, in memory of their own."""
        return self.ref.tensor().clone()

    @property
    def grad(self) -> Numbers:
        """The gradient of the loss by it."""
        found = self.trace.gradient_of(self.ref)
        if found is None:
            raise self.trace.no_gradient(self.name, self.ref)
        return Numbers(self.trace, found, f"{self.name}.grad")

    @property
    def after(self) -> Numbers:
        """The same parameter or moment after the step.

        Raises:
            WhenceError: where it is neither a parameter nor one of the optimizer's tensors.
        """
        found = self.trace.after_of(self.name)
        if found is None:
            raise WhenceError(
                f"{self.name} has no value after the step: only parameters and the optimizer's "
                "tensors have one."
            )
        return Numbers(self.trace, found, f"{self.name}.after")

    @property
    def update(self) -> Numbers:
        """What this step added: after − before.

        Raises:
            WhenceError: where the step was refused before its update.
        """
        after = self.after.ref
        if self.trace.refused and after is self.ref:
            raise WhenceError(f"{self.name} has no update: the step was refused before it.")
        return Numbers(
            self.trace, Update(self.trace, self.ref, after, self.name), f"{self.name}.update"
        )

    def at(self, place: int) -> Number:
        """Return one number by its place, counted row by row."""
        return Number(self.trace, self.ref, place, self.name)

    def largest(self) -> Number:
        """Return the number of this tensor that is furthest from 0, or the first that isn't finite.

        Raises:
            WhenceError: it is empty.
        """
        if not self.ref.numel:
            raise WhenceError(f"{self.name} is empty: it has no largest number.")
        values = self.ref.tensor().reshape(-1).abs().double()
        return self.at(int(values.nan_to_num(nan=float("inf")).argmax()))

    def __getitem__(self, index: Any) -> Number:
        """Return one number.

        Args:
            index: an integer for each dimension; along the last one, a token's text will do.

        Raises:
            WhenceError: the index doesn't fit the shape.
        """
        parts = index if isinstance(index, tuple) else (index,)
        if len(parts) != len(self.shape):
            many = "ex" if len(self.shape) == 1 else "ices"
            some = self.ref.numel and self.shape
            near = f", such as {self.largest().address}, the largest" if some else ""
            raise WhenceError(
                f"{self.name} has shape {list(self.shape)}: give {len(self.shape)} ind{many}, not "
                f"{len(parts)}{near}."
            )
        where = [
            self._along(dim, part, size)
            for dim, (part, size) in enumerate(zip(parts, self.shape, strict=True))
        ]
        return Number(self.trace, self.ref, int(position(where, self.shape)), self.name)

    def _along(self, dim: int, part: int | str, size: int) -> int:
        if isinstance(part, str):
            part = self.trace.labels.token(part, size)
        if not -size <= part < size:
            raise WhenceError(
                f"{self.name} has shape {list(self.shape)}: index {part} of dimension {dim} is "
                f"outside 0 to {size - 1}."
            )
        return part % size


class Number:
    """One scalar of a training step.

    Args:
        trace: the step it belongs to.
        ref: the tensor that contains it.
        at: its place in that tensor, counted row by row.
        name: the tensor's name; None: as the trace calls it.

    Attributes:
        trace: the step it belongs to.
        ref: the tensor that contains it.
        at: its place in that tensor, counted row by row.

    Example:
        >>> import torch
        >>> from whence.why import trace
        >>> w = torch.ones(2, requires_grad=True)
        >>> t = trace(lambda: (w * torch.tensor([3.0, 4.0])).sum().backward())
        >>> float(t.number("loss"))
        7.0
    """

    def __init__(self, trace: Trace, ref: Cells, at: int, name: str | None = None):
        self.trace, self.ref, self.at, self._name = trace, ref, at, name

    def __repr__(self) -> str:
        return f"Number({self.address} = {self.value!r})"

    def __float__(self) -> float:
        return self.value

    @property
    def address(self) -> str:
        """Its address, which `Trace.number` takes."""
        return self.trace.address(self.ref, self.at, self._name)

    @property
    def address_index(self) -> tuple[int, ...]:
        """Its index in the tensor that contains it."""
        return tuple(int(i) for i in np.unravel_index(self.at, self.ref.size or (1,)))[
            : len(self.ref.size)
        ]

    @property
    def value(self) -> float:
        """The number as it is stored.

        Raises:
            WhenceError: it is a complex one.
        """
        self.check_real()
        return float(self.ref.gather(np.array([self.at]))[0])

    def check_real(self) -> None:
        """Refuse a complex number, of which no single figure can be told.

        Raises:
            WhenceError: it is one.
        """
        if self.ref.dtype.is_complex:
            raise WhenceError(
                f"{self.address} is a complex number, and a receipt is of a real one: ask for its "
                "torch.view_as_real, or check it with balance."
            )

    @property
    def numbers(self) -> Numbers:
        """The tensor that contains it."""
        return Numbers(self.trace, self.ref, self._base)

    @property
    def _base(self) -> str:
        return self._name or self.address.partition("[")[0]

    @property
    def grad(self) -> Number:
        """The gradient of the loss by it."""
        ref, at = self.trace.gradient_at(self.ref, self.at)
        return Number(self.trace, ref, at)

    @property
    def after(self) -> Number:
        """The same number after the step."""
        return Number(self.trace, self.numbers.after.ref, self.at)

    @property
    def update(self) -> Number:
        """What this step added to it: after − before."""
        return Number(self.trace, self.numbers.update.ref, self.at, f"{self._base}.update")

    @property
    def formula(self) -> str:
        """How it was made, in symbols."""
        opened, call = open_element(self.ref, self.at)
        if opened is None:
            assert call is not None
            return f"{call.name}: a closed box, without a rule"
        return opened.formula

    @property
    def inputs(self) -> list[tuple[Number, float]]:
        """The numbers it was made of, each with its local slope (not a number where unknown)."""
        opened, _ = open_element(self.ref, self.at)
        return (
            []
            if opened is None
            else [(Number(self.trace, ref, at), slope) for ref, at, slope in _inputs(opened.parts)]
        )

    @property
    def used_by(self) -> list[tuple[str, str]]:
        """Which operations read it, and the name of what each made."""
        return self.trace.users(self.ref, self.at)

    def why(
        self, *, top: int = 8, depth: int = 1, raw: bool = False, context: bool = False
    ) -> Receipt:
        """Explain the number: the terms that add up to it, and what rounding left over.

        Args:
            top: how many terms are listed; the rest is summed up.
            depth: how many levels are opened: 2 also opens the terms' first factors.
            raw: open one operation at a time, also one that only hands a number on.
            context: also say what it is to be compared with (shape, percentile, |g|/|w|), and
                which line, token or example most of a gradient or an update comes from.

        Returns:
            The receipt.

        Example:
            >>> import torch
            >>> from whence.why import trace
            >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
            >>> def step():
            ...     y = (w * torch.tensor([3.0, 4.0])).sum()
            ...     y.backward()
            >>> [term.value for term in trace(step).number("y").why().terms]
            [8.0, 3.0]
        """
        return explain(self, top, depth, raw, context, source(self) if context else "")

    def attribution(self, by: str = "token", *, seconds: float | None = None) -> Attribution:
        """Group what it is made of by token, position, example, where, head or module.

        Args:
            by: what to group by.
            seconds: give up after so long; None: never.
        """
        return attribution(self, by, seconds)

    def blame(self, by: str = "token", *, seconds: float | None = None) -> Attribution:
        """Group it under the old name of `attribution`, which goes with 0.3.0.

        Args:
            by: as of `attribution`.
            seconds: as of `attribution`.
        """
        said = "Number.blame is now called attribution; the old name goes with 0.3.0."
        warnings.warn(said, DeprecationWarning, stacklevel=2)
        return self.attribution(by, seconds=seconds)

    def check(self, step: float = 1e-5) -> Check:
        """Check its gradient by nudging, in a float64 run of the same step."""
        return check(self, step)

    def slope(self, step: float = 1e-6) -> Slope:
        """Measure how it depends on each input of its operation, also where that has no rule."""
        return slope(self, step)


def _inputs(parts: Any) -> list[tuple[Cells, int, float]]:
    found: list[tuple[Cells, int, float]] = []
    for part in parts:
        width = part.terms().shape[1]
        valid = (
            np.ones(width, bool)
            if part.valid is None
            else np.broadcast_to(part.valid, (1, width))[0]
        )
        factors: tuple[Factor, ...] = part.factors
        for i, factor in enumerate(factors):
            slope = np.asarray(part.coefficient, dtype=np.float64)
            for other in factors[:i] + factors[i + 1 :]:
                slope = slope * other.values
            found += _listed(factor, slope, width, valid)
        for factor in part.shared:
            slope = part.slope() if part.slope is not None else np.full((1, 1), math.nan)
            found += _listed(factor, slope, np.asarray(factor.at).shape[-1], None)
    return found


def _listed(
    factor: Factor, slope: np.ndarray, width: int, valid: np.ndarray | None
) -> list[tuple[Cells, int, float]]:
    cells = factor.cells
    at = np.broadcast_to(factor.at, (1, width))[0]
    slopes = np.broadcast_to(slope, (1, width))[0]
    keep = range(width) if valid is None else np.flatnonzero(valid)
    return [(cells, int(at[k]), float(slopes[k])) for k in keep]
