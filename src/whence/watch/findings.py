"""The first number of a step that isn't finite, and who made it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from whence.why.receipt import Receipt
from whence.why.recorder import UNWRITTEN
from whence.why.storage import Ref
from whence.why.tape import Op, flatten
from whence.why.trace import Trace

_SHOWN = 5


@dataclass(frozen=True)
class NotFinite:
    """Where a step's first NaN or infinity came from.

    Attributes:
        name: the tensor that it stands in.
        address: the number's address in the trace.
        operation: what made it; "" where it was there before the step, or arrived from outside.
        module: the path of the module that ran the operation, "" outside of any.
        phase: forward, backward or update.
        receipt: the number with its operands; `None` where it was given.
        places: the tokens or examples of some of the tensor's numbers that aren't finite.
        count: how many of the tensor's numbers aren't.
    """

    name: str
    address: str
    operation: str
    module: str
    phase: str
    receipt: Receipt | None
    places: tuple[str, ...]
    count: int

    @property
    def arrived(self) -> bool:
        """Whether it is a gradient that came from outside the models."""
        return not self.operation and self.name.endswith(".grad")

    def __str__(self) -> str:
        if self.arrived:
            made = f"{self.address} arrived from outside the models and wasn't finite"
        elif not self.operation:
            made = f"{self.address} wasn't finite before any operation of the step"
        else:
            where = f" in {self.module}" if self.module else " outside the modules"
            made = f"{self.operation}{where} ({self.phase}) made {self.address}"
        more = f"; {self.count:,} numbers of {self.name} aren't finite" if self.count > 1 else ""
        at = f", at {'; '.join(self.places)}" if self.places else ""
        return f"{made}{more}{at}"


def first_not_finite(trace: Trace) -> NotFinite | None:
    """Find the first operation of a step whose output isn't finite though its inputs were.

    What was meant is passed over: −∞ that is given, or that an operation was told to fill in, as
    masks of attention are, until it makes a NaN.

    Args:
        trace: the step.

    Returns:
        `None` where all numbers are finite.

    Example:
        >>> from whence.why import trace
        >>> x = torch.tensor([4.0, -1.0], requires_grad=True)
        >>> def step():
        ...     root = x.sqrt()
        ...     root.sum().backward()
        >>> first_not_finite(trace(step)).address
        'root[1]'
    """
    meant: set[int] = set()  # ids of references that hold infinities as they should
    for op in trace.ops:
        if op.name in UNWRITTEN or op.alias:
            continue
        inputs = [r for r in flatten([op.args, op.kwargs], Ref) if _bad(r).numel()]
        for ref in inputs:
            if ref.version.writer is None and not _only_negative(ref):
                return _told(trace, ref, None)
        for output in op.outputs:
            if output is None or not (bad := _bad(output)).numel():
                continue
            nan = bool(bad.isnan().any())
            filled = any(math.isinf(x) for x in flatten([op.args, op.kwargs], float))
            if not nan and (filled or inputs):
                meant.add(id(output))
                continue
            return _told(trace, output, op)
    return None


def _values(ref: Ref) -> Tensor:
    tensor = ref.tensor().detach()
    return tensor.reshape(-1) if tensor.is_floating_point() else torch.zeros(0)


def _bad(ref: Ref) -> Tensor:
    values = _values(ref)
    return values[~values.isfinite()]


def _only_negative(ref: Ref) -> bool:
    return bool((_bad(ref) == -math.inf).all())


def _told(trace: Trace, ref: Ref, op: Op | None) -> NotFinite:
    values = _values(ref)
    bad = (~values.isfinite()).nonzero()[:, 0]
    nan = values[bad].isnan()
    first = int(bad[nan][0] if bool(nan.any()) else bad[0])
    number = trace.number_at(ref, first)
    words = (trace.labels.describe(ref, int(i)) for i in bad[:64])
    return NotFinite(
        name=trace.name_of(ref),
        address=number.address,
        operation=op.name if op else "",
        module=op.module if op else "",
        phase=op.phase if op else "",
        receipt=number.why() if op else None,
        places=tuple(dict.fromkeys(w for w in words if w))[:_SHOWN],
        count=len(bad),
    )
