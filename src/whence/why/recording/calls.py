"""Calls that cannot be seen from below autograd: `backward()`, `cond()`, what frees memory.

Functions of torch are replaced while a step is recorded. A mode for functions would see the
calls too, but under one torch takes other kernels (`nn.TransformerEncoderLayer` leaves its fast
path).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from whence.why.recording.tape import flatten

STARTS_BACKWARD = {Tensor.backward, torch.autograd.grad, torch.autograd.backward}


@contextmanager
def backward_calls(
    begin: Callable[[list[Tensor]], None],
    end: Callable[[list[tuple[Tensor, Tensor]]], None],
    here: Callable[[], AbstractContextManager[None]],
) -> Iterator[None]:
    """Tell when a backward pass begins, and from which tensors, and when it ends.

    Args:
        begin: is given the tensors that it starts from.
        end: is called after it, with the inputs that `torch.autograd.grad` was asked about and
            what it returned for each.
        here: records what runs in it also in another thread than the recorder's.
    """
    run = torch.autograd._engine_run_backward  # pyright: ignore

    def told(outputs: Any, *args: Any, **kwargs: Any) -> Any:
        with here():
            return seen(outputs, *args, **kwargs)

    def seen(outputs: Any, *args: Any, **kwargs: Any) -> Any:
        begin(flatten(outputs, Tensor))
        found: list[tuple[Tensor, Tensor]] = []
        try:
            result = run(outputs, *args, **kwargs)
            if not kwargs.get("accumulate_grad", True):  # gradients are returned
                inputs = flatten(args[3], Tensor)
                pairs = zip(inputs, result, strict=False)
                found = [(x, gradient) for x, gradient in pairs if gradient is not None]
            return result
        finally:
            end(found)

    with _in_place_of(torch.autograd, "_engine_run_backward", told):
        yield


@contextmanager
def branches() -> Iterator[None]:
    """Let `torch.cond` run the branch that is taken: else it would have to compile them both."""

    def cond(pred: Any, true_fn: Callable, false_fn: Callable, operands: tuple | list = ()) -> Any:
        return (true_fn if pred else false_fn)(*operands)

    with _in_place_of(torch, "cond", cond):
        yield


@contextmanager
def flexible_attention() -> Iterator[None]:
    """Let `flex_attention` run its formula itself: else it compiles it, to run it as it is."""
    module = sys.modules.get("torch.nn.attention.flex_attention")
    if module is None:
        yield
        return
    with _in_place_of(module, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True):
        yield


@contextmanager
def freed_memory(before: Callable[[torch.UntypedStorage], None]) -> Iterator[None]:
    """Tell when a storage is about to be given another size, as sharded parameters are."""
    resize = torch.UntypedStorage.resize_

    def told(storage: torch.UntypedStorage, size: int) -> Any:
        if size != storage.nbytes():
            before(storage)
        return resize(storage, size)

    with _in_place_of(torch.UntypedStorage, "resize_", told):
        yield


@contextmanager
def _in_place_of(owner: Any, name: str, function: Any) -> Iterator[None]:
    own = vars(owner).get(name)
    setattr(owner, name, function)
    try:
        yield
    finally:
        if own is None:  # it was inherited
            delattr(owner, name)
        else:
            setattr(owner, name, own)
