"""What a step needs, found without doing it: peak memory, floating-point operations, trace.

The step is run on PyTorch's fake tensors, which have a shape, a type and a device and no numbers:
forward, backward and the optimizer's update go through the very operations that training goes
through, while each block of memory that would be taken and given back is counted.
"""

import weakref
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Footprint:
    """Bytes and operations of one training step.

    Attributes:
        weights: bytes of the parameters, and of tables that aren't learnt.
        moments: bytes of the optimizer's memory.
        gradients: bytes of all gradients, as they are when the update begins.
        activations: bytes of everything but weights and moments at the peak of the forward and the
            backward pass: what is kept for it, and the gradients that are there already.
        update: bytes that the optimizer's update needs in passing.
        flops: floating-point operations of matrix products, attention and recurrence in the
            forward and the backward pass; a multiplication and an addition count as two.
        recorded: bytes that a trace of the step keeps: every tensor that it makes.

    Example:
        >>> Footprint(4, 8, 4, 100, 20, 0, 0).memory
        136
    """

    weights: int
    moments: int
    gradients: int
    activations: int
    update: int
    flops: int
    recorded: int

    @property
    def memory(self) -> int:
        """Bytes in all, at the step's peak.

        What the update needs is of other sizes than what the backward pass has just freed, and
        seldom fits into the holes that it left: both are added (docs/decisions/500).
        """
        return self.weights + self.moments + self.activations + self.gradients + self.update


class Live(TorchDispatchMode):
    """Counts the bytes of the storages that are alive, and the most they ever were."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = self.made = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor):
                self.add(tensor)
        self.peak = max(self.peak, self.now)
        return out

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage, until it is gone."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._alive:
            self._alive.add(key)
            self.now += size
            self.made += size
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size


def footprint(
    build: Callable[[], nn.Module],
    parts: Iterable[tuple[float, Any]],
    loss: Callable[[nn.Module, Any], Tensor],
    optimizer: Callable[[nn.Module], Any],
    fake: bool = True,
) -> Footprint:
    """Find out what a training step needs.

    Args:
        build: makes the model.
        parts: of a batch: (weight, part), a part being a named tuple with some tensors in it.
        loss: of the model on a part, as training computes it.
        optimizer: makes an optimizer with `named` parameters, `memory` and `update()`.
        fake: compute with shapes alone. A model that looks at its numbers as it goes needs real
            ones.

    Example:
        >>> from collections import namedtuple
        >>> from whence.train.optimizer import Optimizer
        >>> from whence.train.optimizers import SGDConfig
        >>> from whence.train.schedules import Schedule
        >>> part = namedtuple("Part", "x")(torch.ones(5, 3))
        >>> found = footprint(
        ...     lambda: nn.Linear(3, 2), [(1.0, part)], lambda m, part: m(part.x).sum(),
        ...     lambda m: Optimizer(m, SGDConfig(), Schedule(), 1))
        >>> found.weights, found.moments, found.flops  # forward, and the gradient of the weight
        (32, 0, 120)
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True) if fake else None
    with mode or nullcontext(), torch.random.fork_rng(devices=[]):
        model = build()
        moved, live = optimizer(model), Live()
        for tensor in [*model.parameters(), *model.buffers()]:
            live.add(tensor)
        weights = live.now
        moments = activations = gradients = flops = 0
        for _ in range(2):  # in the first step the optimizer has no memory yet
            for tensor in moved.named.values():
                tensor.grad = None
            live.made, live.peak = 0, live.now
            moments = live.now - weights
            with FlopCounterMode(display=False, custom_mapping=RECURRENT) as counted, live:
                for weight, part in parts:
                    given = _faked(part, mode) if mode else part
                    total = weight * loss(model, given)
                    total.backward()
                    del given, total
                activations = live.peak - weights - moments
                flops, live.peak, gradients = counted.get_total_flops(), live.now, live.now
                moved.update()
    gradients -= weights + moments
    update = live.peak - weights - moments - gradients
    return Footprint(weights, moments, gradients, activations, update, flops, live.made)


def _lstm(x: Any, w: Any, u: Any, *_: Any, **__: Any) -> int:
    """All four gates of every token, W·x and U·h; the shapes are [.., .., I], [4D, I], [4D, D]."""
    return 2 * x[0] * x[1] * w[0] * (w[1] + u[1])


def _lstm_backward(x: Any, w: Any, u: Any, *_: Any, **__: Any) -> int:
    return 2 * _lstm(x, w, u)


# Fused recurrences that torch's counter doesn't know; the others come apart into products.
RECURRENT = {
    torch.ops.aten.mkldnn_rnn_layer: _lstm,
    torch.ops.aten.mkldnn_rnn_layer_backward: _lstm_backward,
}


def _faked(part: Any, mode: FakeTensorMode) -> Any:
    """The part with its tensors faked."""
    fields = {
        name: mode.from_tensor(value)
        for name, value in part._asdict().items()
        if isinstance(value, Tensor)
    }
    return part._replace(**fields)
