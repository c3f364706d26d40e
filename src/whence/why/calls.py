"""Calls that cannot be seen from below autograd: `backward()`, `cond()`, and what frees memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops.cond import cond_op
from torch.overrides import TorchFunctionMode

from whence.why.tape import flatten

STARTS_BACKWARD = {Tensor.backward, torch.autograd.grad, torch.autograd.backward}


class BackwardCalls(TorchFunctionMode):
    """Tells when a backward pass begins, and from which tensors, and when it ends.

    `backward()` is called by other names too (reentrant checkpointing calls `torch.autograd.backward`
    within a backward pass), so that function itself is stood in for.

    Args:
        begin: is given the tensors that it starts from.
        end: is called behind it, with the inputs that `torch.autograd.grad` was asked about and
            what it returned for each.
        elsewhere: is called when a backward pass begins in another thread, where nothing is seen.
    """

    def __init__(
        self,
        begin: Callable[[list[Tensor]], None],
        end: Callable[[list[tuple[Tensor, Tensor]]], None],
        elsewhere: Callable[[], None],
    ):
        super().__init__()
        self.begin, self.end, self.elsewhere = begin, end, elsewhere
        self._thread = 0
        self._own: Callable[..., Any] = torch.autograd.backward

    def __enter__(self) -> BackwardCalls:
        self._thread, self._own = threading.get_ident(), torch.autograd.backward
        torch.autograd.backward = self._backward
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.autograd.backward = self._own

    def _backward(self, tensors: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != self._thread:
            self.elsewhere()
            return self._own(tensors, *args, **kwargs)
        self.begin(flatten(tensors, Tensor))
        try:
            return self._own(tensors, *args, **kwargs)
        finally:
            self.end([])

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run a function of torch."""
        kwargs = kwargs or {}
        if func is cond_op:  # as it runs when compiled: the branch that is taken
            holds, if_true, if_false, operands = args
            TorchFunctionMode.__enter__(self)
            try:
                return (if_true if holds else if_false)(*operands)
            finally:
                TorchFunctionMode.__exit__(self, None, None, None)
        if func is not torch.autograd.grad:
            return func(*args, **kwargs)
        outputs, inputs = (
            flatten(args[i] if len(args) > i else kwargs.get(name), Tensor)
            for i, name in enumerate(("outputs", "inputs"))
        )
        self.begin(outputs)
        found: list[tuple[Tensor, Tensor]] = []
        try:
            result = func(*args, **kwargs)
            pairs = zip(inputs, result, strict=False)
            found = [(x, gradient) for x, gradient in pairs if gradient is not None]
            return result
        finally:
            self.end(found)


class FreedMemory:
    """Tells when a storage is about to be given another size, as sharded parameters are.

    Args:
        before: is given the storage.
    """

    def __init__(self, before: Callable[[torch.UntypedStorage], None]):
        self.before = before

    def __enter__(self) -> None:
        resize = torch.UntypedStorage.resize_

        def told(storage: torch.UntypedStorage, size: int) -> Any:
            if size != storage.nbytes():
                self.before(storage)
            return resize(storage, size)

        torch.UntypedStorage.resize_ = told

    def __exit__(self, *_: object) -> None:
        del torch.UntypedStorage.resize_  # what it inherits is there again
