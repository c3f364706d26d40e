"""The finite-difference button: a gradient compared with what nudging the number really does.

In float32 a nudge says little: the loss is rounded to 2⁻²⁴ of itself. So the step's forward pass is
run again in float64, everything in it, with the same parameters and the same random numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from whence.errors import WhenceError
from whence.why.address import Address
from whence.why.recording.calls import STARTS_BACKWARD
from whence.why.recording.tape import flatten, replace

if TYPE_CHECKING:
    from whence.why.number import Number
    from whence.why.trace import Trace

_NARROW = {torch.float32, torch.bfloat16, torch.float16}
_CASTS = {Tensor.float, Tensor.bfloat16, Tensor.half}
_DROPOUT = {F.dropout, torch.dropout}


@dataclass(frozen=True, slots=True)
class Check:
    """A gradient three times over.

    Attributes:
        address: the gradient's address.
        stored: as the step stored it.
        exact: by the same backward pass in float64.
        difference: (loss(x + h) − loss(x − h)) / 2h in float64.
        step: h.

    Example:
        >>> check = Check("weight[0,0].grad", stored=4.0, exact=4.000001, difference=4.0, step=1e-6)
        >>> check.stored_error, check.error < 1e-6
        (0.0, True)
    """

    address: str
    stored: float
    exact: float
    difference: float
    step: float

    @property
    def stored_error(self) -> float:
        """|stored − finite difference| / the larger of the two."""
        size = max(abs(self.stored), abs(self.difference))
        return abs(self.stored - self.difference) / size if size else 0.0

    @property
    def error(self) -> float:
        """|float64 − finite difference| / the larger of the two."""
        size = max(abs(self.exact), abs(self.difference))
        return abs(self.exact - self.difference) / size if size else 0.0

    def __str__(self) -> str:
        return (
            f"{self.address}\n"
            f"    stored             {self.stored:<18.9g}  off by {self.stored_error:.1e}\n"
            f"    in float64         {self.exact:<18.12g}  off by {self.error:.1e}\n"
            f"    finite difference  {self.difference:.12g}   (nudged by ±{self.step:.1e})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers and strings, ready for JSON."""
        return {
            "schema": 1, "address": self.address, "stored": self.stored, "float64": self.exact,
            "finite_difference": self.difference, "step": self.step, "relative_error": self.error,
            "stored_relative_error": self.stored_error,
        }  # fmt: skip


def check(number: Number, step: float = 1e-5) -> Check:
    """Check a gradient by nudging, in a float64 run of the same step.

    Args:
        number: a number of a parameter, or of what a module returned, or its gradient.
        step: h, relative to the number where that is larger than 1.

    Raises:
        WhenceError: the number is neither.

    Example:
        >>> import torch
        >>> from whence.why import trace
        >>> table, tokens = torch.nn.Embedding(5, 2), torch.tensor([[1, 3, 1]])
        >>> def step():
        ...     table(tokens).sum().backward()
        >>> t = trace(step)
        >>> round(t.number("weight[1,0].grad").check().difference, 6)
        2.0
    """
    trace = number.trace
    address = Address.parse(number.address)
    if not isinstance(address.index, tuple):
        address = Address(address.name, (), address.quantity)
    target = trace.number(str(Address(address.name, address.index)))
    index = tuple(int(i) for i in target.address_index)
    stored = target.grad.value
    h = step * max(1.0, abs(target.value))
    with _Rerun(trace) as rerun:
        nudge = rerun.parameter(address.name) or rerun.output(address.name)
        if nudge is None:
            raise WhenceError(
                f"{address.name} cannot be nudged: only parameters and what modules return can be."
            )
        exact = nudge(0.0, index, True)
        above, below = nudge(h, index, False), nudge(-h, index, False)
    name = str(Address(address.name, address.index or None, ("grad",)))
    return Check(name, stored, exact, (above - below) / (2 * h), h)


Nudge = Callable[[float, tuple[int, ...], bool], float]


class _Rerun:
    """Runs the forward pass of a traced step again, in float64, leaving everything as it was."""

    def __init__(self, trace: Trace):
        self.trace = trace
        self.live = trace.live
        self.saved: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def __enter__(self) -> _Rerun:
        self.random = torch.get_rng_state()
        self.default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        seen: set[int] = set()
        for name, tensor in self.live.leaves.items():
            if id(tensor) not in seen and tensor.is_floating_point():
                seen.add(id(tensor))
                self.saved.append((tensor, tensor.data, tensor.grad))
                tensor.grad = None
                tensor.data = self.trace.parameters[name].tensor().double()
        return self

    def __exit__(self, *_: Any) -> None:
        for tensor, data, grad in self.saved:
            tensor.grad = None
            tensor.data = data
            tensor.grad = grad
        torch.set_rng_state(self.random)
        torch.set_default_dtype(self.default)

    def run(self, backward: bool) -> float:
        """Run to the step's last `backward()` and return the sum of its losses."""
        torch.set_rng_state(self.live.random)
        wide = _Wide(len(self.trace.losses), backward)
        try:
            with wide, torch.enable_grad():
                self.live.fn()
        except _Enough:
            pass
        return wide.loss

    def parameter(self, name: str) -> Nudge | None:
        """Return how to nudge a parameter, or read its gradient; `None` if there is none."""
        tensor = self.live.leaves.get(name)
        if tensor is None:
            return None

        def nudge(by: float, index: tuple[int, ...], backward: bool) -> float:
            with torch.no_grad():
                before = tensor.data[index].clone()
                tensor.data[index] += by
            loss = self.run(backward)
            with torch.no_grad():
                tensor.data[index] = before
            if not backward:
                return loss
            assert tensor.grad is not None
            return float(tensor.grad[index])

        return nudge

    def output(self, name: str) -> Nudge | None:
        """Return how to nudge what a module returns; `None` if there is no such module."""
        path, _, ordinal = name.partition("#")
        path = "" if path in ("output", "logits") and path not in self.live.modules else path
        module = self.live.modules.get(path)
        if module is None:
            return None

        def nudge(by: float, index: tuple[int, ...], backward: bool) -> float:
            with _hooked(module, int(ordinal or 1), by, index) as caught:
                loss = self.run(backward)
            if not backward:
                return loss
            gradient = caught[0].grad
            return 0.0 if gradient is None else float(gradient[index])

        return nudge


@contextmanager
def _hooked(module: nn.Module, ordinal: int, by: float, index: tuple[int, ...]):
    """Add to one element of what a module returns at one of its calls."""
    caught: list[Tensor] = []
    calls = [0]

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        calls[0] += 1
        if calls[0] != ordinal or not isinstance(output, Tensor):
            return None
        offset = torch.zeros_like(output)
        offset[index] = by
        moved = output + offset
        moved.retain_grad()
        caught.append(moved)
        return moved

    handle = module.register_forward_hook(hook)
    try:
        yield caught
    finally:
        handle.remove()


class _Enough(Exception):  # noqa: N818  # not an error: it ends a step early
    """All losses are known."""


class _Wide(TorchFunctionMode):
    """Runs every floating point function in float64."""

    def __init__(self, losses: int, backward: bool):
        super().__init__()
        self.left, self.backward, self.loss = losses, backward, 0.0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in STARTS_BACKWARD:
            return self._count(func, args, kwargs)
        if func in _CASTS:
            return _widen(args[0])
        if func in _DROPOUT:
            return self._drop(func, args, kwargs)
        if inspect.ismethoddescriptor(func) and func.__name__ == "__get__":
            return func(*args, **kwargs)  # an attribute, such as .grad
        wide = replace(replace(args, Tensor, _widen), torch.dtype, _wide_type)
        named = {
            k: replace(replace(v, Tensor, _widen), torch.dtype, _wide_type)
            for k, v in kwargs.items()
        }
        return func(*wide, **named)

    def _count(self, func: Any, args: tuple, kwargs: dict) -> Any:
        roots = flatten(args[0] if args else next(iter(kwargs.values())), Tensor)
        self.loss += sum(float(root.detach()) for root in roots)
        self.left -= 1
        result = func(*args, **kwargs) if self.backward else None
        if self.left <= 0:
            raise _Enough
        return result

    def _drop(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Draw the same mask as in the type that the step ran in."""
        x = _widen(args[0])
        mask = func(torch.ones_like(x, dtype=torch.float32), *args[1:], **kwargs)
        return x * mask.double()


def _widen(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.dtype in _NARROW else tensor


def _wide_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype in _NARROW else dtype
