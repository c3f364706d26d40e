"""An operation run again in float64: which inputs made an element, and how much each counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call, flatten, replace
from whence.why.rules.forms.positions import column
from whence.why.rules.opening import Factor

# A formula of a call's arguments, in place of the operation itself.
Formula = Callable[[dict[str, Any]], Tensor]

_WIDE = {
    torch.float32: torch.float64, torch.bfloat16: torch.float64, torch.float16: torch.float64,
    torch.complex64: torch.complex128, torch.complex32: torch.complex128,
}  # fmt: skip
# What to run where autograd doesn't know the operation itself.
_DIFFERENTIABLE = {"_embedding_bag_forward_only": "_embedding_bag"}
DIFFERENTIABLE = {torch.float64, torch.complex128}


def run(call: Call, given: dict[str, Any]) -> list[Tensor | None]:
    """Run a call's operation, in its form that writes into no argument, on other arguments."""
    func = call.op.func
    if func.namespace == "aten":
        packet = getattr(torch.ops.aten, _DIFFERENTIABLE.get(call.name, call.name))
        if call.op.name != call.name:  # one tensor of a `_foreach` operation
            return [packet(*given.values())]
        func = getattr(packet, func._overloadname, packet)
    args, kwargs = [], {}
    for argument in call.op.func._schema.arguments:
        if argument.is_out:
            continue
        if argument.kwarg_only:
            kwargs[argument.name] = given[argument.name]
        else:
            args.append(given[argument.name])
    result = func(*args, **kwargs)
    results = result if isinstance(result, tuple) else (result,)
    return [t for one in results for t in flatten(one, (Tensor, type(None)))]


def wide(value: Any) -> Any:
    """Replace recorded tensors by copies in float64, and types of numbers likewise."""
    value = replace(value, Ref, lambda ref: widened(ref.tensor()))
    return _WIDE.get(value, value) if isinstance(value, torch.dtype) else value


def widened(tensor: Tensor) -> Tensor:
    """Copy a tensor, in float64 or complex128 if it isn't of integers."""
    return tensor.detach().clone().to(_WIDE.get(tensor.dtype, tensor.dtype)).cpu()


class Again:
    """One run of a call in float64.

    Args:
        call: the operation.
        by: arguments that it is differentiated by; all that can be, if none is named.
        formula: computes the output in place of the operation.

    Attributes:
        output: the output that the call means, in float64.
        sources: the tensors that it is differentiated by.
        names: the argument that each of them is.
    """

    def __init__(self, call: Call, by: Sequence[str] = (), formula: Formula | None = None):
        self._given = {name: wide(value) for name, value in call.values.items()}
        self.sources: list[Ref] = []
        self.names: list[str] = []
        self._leaves: list[Tensor] = []
        for name, value in call.values.items():
            tensors = flatten(self._given[name], Tensor)
            for ref, tensor in zip(flatten(value, Ref), tensors, strict=True):
                if (not by or name in by) and tensor.dtype in DIFFERENTIABLE:
                    self.sources.append(ref)
                    self.names.append(name)
                    self._leaves.append(tensor.requires_grad_())
        self.output = self._run(call, formula)

    def _run(self, call: Call, formula: Formula | None) -> Tensor:
        """Run it, with as many inputs differentiated as torch knows how to."""
        while True:
            try:
                with torch.enable_grad(), torch.autocast("cpu", enabled=False):
                    output = (
                        run(call, self._given)[call.slot]
                        if formula is None
                        else formula(self._given)
                    )
                assert output is not None
                return output
            except RuntimeError:
                if not self._leaves:
                    raise
                self._leaves.pop().requires_grad_(False)
                self.sources.pop()
                self.names.pop()

    def values(self, at: Index) -> np.ndarray:
        """Return the output at some positions."""
        flat = self.output.detach().reshape(-1)[torch.from_numpy(np.asarray(at))]
        return (flat if flat.is_complex() else flat.double()).numpy()

    def rows(self, at: Index) -> list[list[tuple[Index, np.ndarray]]] | None:
        """Return, for each position and each source, the places that count and their slopes.

        `None` where torch can't differentiate the operation.
        """
        flat = self.output.reshape(-1)
        if not flat.requires_grad:
            return None
        try:
            return [[counting(s) for s in self._slopes(flat[int(place)])] for place in at]
        except (RuntimeError, NotImplementedError):  # torch has no derivative of it
            return None

    def _slopes(self, element: Tensor) -> list[Tensor | None]:
        one = self._pulled(element, 1.0)
        if not element.is_complex():
            return [s if s is None else s.conj() for s in one]
        # By a complex input torch gives the conjugate; by a real one, Re and Im apart.
        other = self._pulled(element, 1.0j)
        return [
            s if s is None else (s.conj() if s.is_complex() else torch.complex(s, t))
            for s, t in zip(one, other, strict=True)
        ]

    def _pulled(self, element: Tensor, by: complex) -> list[Any]:
        seed = torch.tensor(by, dtype=element.dtype)
        options: dict[str, bool] = {"retain_graph": True, "allow_unused": True}
        return list(torch.autograd.grad(element, self._leaves, seed, **options))


def counting(slope: Tensor | None) -> tuple[Index, np.ndarray]:
    """Return the places where a slope isn't 0, and what it is there."""
    if slope is None:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    flat = slope.detach().resolve_conj().reshape(-1).numpy()
    places = np.flatnonzero(flat)
    return places, flat[places]


def padded(rows: Sequence[tuple[Index, np.ndarray]]) -> tuple[Index, np.ndarray, np.ndarray]:
    """Join rows of different lengths: places [m, w], values [m, w], and which of them are there."""
    width = max([len(places) for places, _ in rows] + [1])
    at = np.zeros((len(rows), width), dtype=np.int64)
    valid = np.zeros((len(rows), width), dtype=bool)
    values = np.zeros((len(rows), width), dtype=np.result_type(*(v for _, v in rows)))
    for i, (places, some) in enumerate(rows):
        at[i, : len(places)], values[i, : len(places)] = places, some
        valid[i, : len(places)] = True
    return at, values, valid


def whole(call: Call, names: Sequence[str], at: Index) -> tuple[Factor, ...]:
    """Return inputs: the element at the same place where the shapes agree, all of it elsewhere."""
    refs = [r for name in names for r in flatten(call[name], Ref)]
    size = call.output.size
    return tuple(
        Factor(r, column(at) if r.size == size else np.arange(r.numel).reshape(1, -1))
        for r in refs
        if r.numel
    )
