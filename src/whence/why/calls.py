"""Calls of `backward()`, which cannot be seen from below autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from whence.why.tape import flatten

STARTS_BACKWARD = {Tensor.backward, torch.autograd.grad, torch.autograd.backward}


class BackwardCalls(TorchFunctionMode):
    """Tells when a backward pass begins, and from which tensors, and when it ends.

    Args:
        begin: is given the tensors that it starts from.
        end: is called behind it.
    """

    def __init__(self, begin: Callable[[list[Tensor]], None], end: Callable[[], None]):
        super().__init__()
        self.begin, self.end = begin, end

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run a function of torch."""
        kwargs = kwargs or {}
        if func not in STARTS_BACKWARD:
            return func(*args, **kwargs)
        self.begin(flatten(args[0] if args else next(iter(kwargs.values())), Tensor))
        try:
            return func(*args, **kwargs)
        finally:
            self.end()
