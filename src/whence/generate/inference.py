"""Training changes weights, inference does not: on tensors, too, that is enforced."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from whence.errors import WhenceError

_BACKWARD = (Tensor.backward, torch.autograd.backward, torch.autograd.grad)
_SET_DATA = vars(torch._C.TensorBase)["data"].__set__  # what `tensor.data = other` calls


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """Switch dropout off, and put each part back in its mode afterwards.

    Example:
        >>> model = nn.Linear(2, 2).train()
        >>> with evaluating(model):
        ...     model.training
        False
        >>> model.training
        True
    """
    if not isinstance(model, nn.Module):
        yield
        return
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Keep a model's weights fixed inside the block, with dropout off.

    Args:
        model: its parameters and buffers.

    Raises:
        WhenceError: inside the block, where a weight is changed by anybody, an optimizer is
            stepped, or a gradient is asked for.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> with inference(model):
        ...     model.weight.data.zero_()
        Traceback (most recent call last):
        ...
        whence.errors.WhenceError: weight cannot change: this is inference. Train outside of it.
    """
    named = [*model.named_parameters(), *model.named_buffers()]
    fixed = {x.untyped_storage().data_ptr(): name for name, x in named if x.numel()}
    with evaluating(model), torch.no_grad(), _NoGradients(fixed), _NoWrites(fixed):
        yield


class _NoGradients(TorchFunctionMode):
    """Refuses a backward pass, and putting another tensor in a weight's place."""

    def __init__(self, fixed: dict[int, str]) -> None:
        super().__init__()
        self.fixed = fixed

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _BACKWARD:
            raise WhenceError("There are no gradients here: this is inference. Train outside.")
        if func == _SET_DATA:
            _refuse(self.fixed, args[0])
        return func(*args, **(kwargs or {}))


class _NoWrites(TorchDispatchMode):
    """Refuses every operation that writes to a weight's memory, an optimizer's step included."""

    def __init__(self, fixed: dict[int, str]) -> None:
        super().__init__()
        self.fixed = fixed

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            for i, argument in enumerate(func._schema.arguments):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    given = args[i] if i < len(args) else kwargs.get(argument.name)
                    for x in tree_leaves(given):
                        _refuse(self.fixed, x)
        return func(*args, **kwargs)


def _refuse(fixed: dict[int, str], x: object) -> None:
    if isinstance(x, Tensor) and x.numel():
        name = fixed.get(x.untyped_storage().data_ptr())
        if name is not None:
            raise WhenceError(f"{name} cannot change: this is inference. Train outside of it.")
