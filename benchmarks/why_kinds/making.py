"""A training step around a module, a function or a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Step = Callable[[], object]
Kind = Callable[[], Step]


def draw(*shape: int, low: float | None = None, high: float = 1.0) -> Tensor:
    """Random numbers, normal or between two limits, that want a gradient."""
    x = torch.randn(shape) if low is None else torch.rand(shape) * (high - low) + low
    return x.requires_grad_()


def summed(out: Any) -> Tensor:
    """One loss of whatever a module returns: squares of every floating number, each weighed."""
    if isinstance(out, Tensor):
        if out.is_complex():
            out = torch.view_as_real(out.resolve_conj())
        if not out.is_floating_point():
            return torch.zeros(())
        weights = torch.linspace(0.5, 1.5, out.numel()).to(out.dtype).view(out.shape)
        return ((out * out * 0.5 + out) * weights).mean()
    several = out.values() if isinstance(out, dict) else out
    return torch.stack([summed(one) for one in several]).sum()


def layer(module: nn.Module, *inputs: Any, rate: float = 0.01) -> Step:
    """Train a module by plain SGD on given inputs; those that are tensors get gradients too."""
    parameters = list(module.parameters())
    optimizer = torch.optim.SGD(parameters, lr=rate) if parameters else None

    def step() -> Tensor:
        if optimizer is not None:
            optimizer.zero_grad()
        loss = summed(module(*inputs))
        if loss.requires_grad:
            loss.backward()
        if optimizer is not None:
            optimizer.step()
        return loss

    return step


def function(formula: Callable[..., Any], *inputs: Any) -> Step:
    """Differentiate a function of tensors."""

    def step() -> Tensor:
        loss = summed(formula(*inputs))
        if loss.requires_grad:
            loss.backward()
        return loss

    return step


def trained(
    module: nn.Module, loss_of: Callable[[], Tensor], optimizer: Any = None, **after: Any
) -> Step:
    """Train a module on a loss, by Adam unless another optimizer is given."""
    moving = optimizer or torch.optim.Adam(module.parameters(), lr=1e-3)

    def step() -> Tensor:
        moving.zero_grad()
        loss = loss_of()
        loss.backward()
        if after.get("clip"):
            nn.utils.clip_grad_norm_(module.parameters(), after["clip"])
        moving.step()
        return loss

    step.model = module  # pyright: ignore
    return step


def classify(model: nn.Module, *shape: int, classes: int = 3, **after: Any) -> Step:
    """Train a module to tell classes apart, on random numbers of one shape."""
    x, y = torch.randn(shape), torch.randint(0, classes, shape[:1])
    return trained(model, lambda: F.cross_entropy(model(x), y), **after)


def of(make: Callable[..., nn.Module], *shape: int, **options: Any) -> Kind:
    """A kind: a module on random numbers of one shape."""
    return lambda: layer(make(**options), draw(*shape))


def applied(formula: Callable[..., Any], *shapes: tuple[int, ...], **limits: Any) -> Kind:
    """A kind: a function of random tensors of some shapes."""
    return lambda: function(formula, *(draw(*shape, **limits) for shape in shapes))
