"""The numerical slope of a number: its operation run again with each input nudged.

It needs no rule, so a closed box too can be asked how much it depends on what it reads.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from whence.errors import WhenceError
from whence.receipt.figures import figure, finite
from whence.why.recording.plain import Opaque
from whence.why.recording.storage import Ref
from whence.why.recording.tape import Op, flatten, fresh, replace, written
from whence.why.rules.opening import UNIT

if TYPE_CHECKING:
    from whence.why.number import Number

_MOST = 2_000  # inputs that are nudged, two runs of the operation each


@dataclass(frozen=True, slots=True)
class Slope:
    """How a number depends on what its operation read.

    Attributes:
        address: the number's.
        operation: what made it.
        value: the number as stored.
        inputs: (address, value, slope) of each input that counts, those first whose slope · value
            is largest.
        dtype: the type that the operation was run again in.
        tried: how many inputs were nudged.
        left_out: how many weren't, being the smallest of too many.
    """

    address: str
    operation: str
    value: float
    inputs: tuple[tuple[str, float, float], ...]
    dtype: str
    tried: int
    left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers, strings and lists, ready for JSON."""
        return finite({"schema": 1, **asdict(self)})

    def lines(self, top: int = 8) -> list[str]:
        """Return it line by line, at most `top` inputs."""
        shown = self.inputs[:top]
        width = max((len(figure(s)) for _, _, s in shown), default=0)
        lines = [f"{self.address} = {figure(self.value)}   ({self.operation}, numerical slopes)"]
        lines += [f"    {figure(s):>{width}}  by {a} = {figure(v)}" for a, v, s in shown]
        if rest := len(self.inputs) - len(shown):
            lines.append(f"    {rest:,} more")
        lines.append(
            f"  {self.tried:,} inputs nudged in {self.dtype}, {len(self.inputs):,} of them count"
            + (f"; the {self.left_out:,} smallest were left out" if self.left_out else "")
        )
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())


def slope(number: Number, step: float = 1e-6) -> Slope:
    """Measure how a number depends on each input of the operation that made it.

    (y(x + h) − y(x − h)) / 2h, in float64 where the operation can be run in it.

    Args:
        number: any number that an operation of the step made.
        step: h, relative to the input where that is larger than 1.

    Raises:
        WhenceError: nothing in the step made it, or its operation can't be run again.

    Example:
        >>> import torch
        >>> from whence.why import trace
        >>> x = torch.tensor([1.0, 2.0])
        >>> def step():
        ...     y = x.cumprod(0)
        ...     return y
        >>> [(a, round(s, 6)) for a, _, s in trace(step).number("y[1]").slope().inputs]
        [('x[0]', 2.0), ('x[1]', 1.0)]
    """
    if not isinstance(number.ref, Ref):
        raise WhenceError(
            f"{number.address} was computed by Whence, not by an operation of the step: open it."
        )
    ((op, slot, where, _),) = number.ref.writers(np.array([number.at]))
    if op is None:
        raise WhenceError(f"{number.address} has no slope: nothing in this step made it.")
    if opaque := flatten([*op.args, *op.kwargs.values()], Opaque):
        raise WhenceError(
            f"{number.address} has no numerical slope: {op.name} reads a tensor whose memory can't "
            f"be read ({opaque[0].kind})."
        )
    again = _Again(op, slot, int(where[0]))
    reach = 1e3 * UNIT.get(again.dtype, 2.0**-24) * max(1.0, abs(number.value))
    if abs(again.base - number.value) > max(reach, 0.02 * abs(number.value)):
        raise WhenceError(
            f"{number.address} has no numerical slope: when run again, {op.name} gives "
            f"{figure(again.base)} instead of {figure(number.value)}, so it is random or reads "
            "something that isn't recorded."
        )
    narrow = again.dtype != torch.float64
    places = again.places()
    found = []
    for i, at in places[:_MOST]:
        value = again.input(i, at)
        h = (1e-2 if narrow else step) * max(1.0, abs(value))
        measured = again.slope(i, at, h)
        if measured != 0:
            address = number.trace.address(again.refs[i], at)
            found.append((address, value, measured))
    found.sort(key=lambda one: -abs(np.nan_to_num(one[1] * one[2], nan=np.inf)))
    return Slope(
        number.address, op.name, number.value, tuple(found),
        str(again.dtype).removeprefix("torch."), min(len(places), _MOST),
        max(len(places) - _MOST, 0),
    )  # fmt: skip


class _Again:
    """A recorded operation that can be run on other inputs.

    Attributes:
        refs: the tensors that it read and that have slopes.
        dtype: the type it runs in.
        base: the number, run again on what was recorded.
    """

    def __init__(self, op: Op, slot: int, at: int):
        self.op, self.slot, self.at = op, slot, at
        every = flatten([*op.args, *op.kwargs.values()], Ref)
        self.refs: list[Ref] = [r for r in dict.fromkeys(every) if r.dtype.is_floating_point]
        self.dtype = torch.float64
        try:
            self.base = self._run({})
        except Exception:  # a kernel of one's own may take one type alone, and says so in its way
            self.dtype = self.refs[0].dtype if self.refs else torch.float32
            self.base = self._run({})

    def places(self) -> list[tuple[int, int]]:
        """List the inputs' elements: (tensor, place), the largest first."""
        sizes = [r.tensor().double().abs().reshape(-1).nan_to_num().numpy() for r in self.refs]
        every = [(i, at) for i, size in enumerate(sizes) for at in range(len(size))]
        return sorted(every, key=lambda p: -sizes[p[0]][p[1]]) if len(every) > _MOST else every

    def input(self, i: int, at: int) -> float:
        """Return an element as it was."""
        return float(self.refs[i].gather(np.array([at]))[0])

    def slope(self, i: int, at: int, h: float) -> float:
        """Return the central difference by one element."""
        high, low = self._run({(i, at): h}), self._run({(i, at): -h})
        return (high - low) / (2 * h)

    def _run(self, nudges: dict[tuple[int, int], float]) -> float:
        tensors: dict[Ref, Tensor] = {}
        for i, ref in enumerate(self.refs):
            tensor = ref.tensor().to(self.dtype, copy=True)
            for (which, at), h in nudges.items():
                if which == i:
                    tensor.view(-1)[at] += h
            tensors[ref] = tensor

        def given(ref: Ref) -> Tensor:
            return tensors[ref] if ref in tensors else ref.tensor().clone()

        args, kwargs = (replace(x, Ref, given) for x in (self.op.args, self.op.kwargs))
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            result = self.op.func(*args, **kwargs)
        results = result if isinstance(result, tuple) else (result,)
        made: list[Any] = []
        for is_fresh, one in zip(fresh(self.op.func), results, strict=False):
            made += flatten(one, (Tensor, type(None))) if is_fresh else []
        for i, name in written(self.op.func):
            made += flatten(args[i] if i < len(args) else kwargs.get(name), Tensor)
        return float(made[self.slot].reshape(-1)[self.at])
