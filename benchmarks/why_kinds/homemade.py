"""Optimizers of papers, written as people write them: in torch's plain operations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Lion(torch.optim.Optimizer):
    """The sign of a momentum (Chen et al. 2023)."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.01):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore
        """Move the parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p.add_(m.lerp(p.grad, 0.1).sign_(), alpha=-group["lr"])
                m.lerp_(p.grad, 0.01)


class Lamb(torch.optim.Optimizer):
    """Adam with a trust ratio for each layer (You et al. 2019)."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.01):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore
        """Move the parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                m = state.setdefault("m", torch.zeros_like(p)).mul_(0.9).add_(p.grad, alpha=0.1)
                v = state.setdefault("v", torch.zeros_like(p)).mul_(0.99)
                v.addcmul_(p.grad, p.grad, value=0.01)
                move = m / (v.sqrt() + 1e-6) + 0.01 * p
                p.sub_(move * (group["lr"] * p.norm() / move.norm().clamp(min=1e-6)))


class Shampoo(torch.optim.Optimizer):
    """A preconditioner on each side of a matrix (Gupta et al. 2018)."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.01):
        super().__init__([p for p in params if p.ndim == 2], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore
        """Move the parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                g, state = p.grad, self.state[p]
                left = state.setdefault("left", torch.eye(p.shape[0])).add_(g @ g.T)
                right = state.setdefault("right", torch.eye(p.shape[1])).add_(g.T @ g)
                p.sub_(group["lr"] * _root(left) @ g @ _root(right))


def _root(a: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(a)
    return vectors @ torch.diag(values.clamp(min=1e-6) ** -0.25) @ vectors.T


class Sophia(torch.optim.Optimizer):
    """A clipped step over a diagonal curvature (Liu et al. 2023)."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.01):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore
        """Move the parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                m = state.setdefault("m", torch.zeros_like(p)).mul_(0.9).add_(p.grad, alpha=0.1)
                h = state.setdefault("h", torch.zeros_like(p)).lerp_(p.grad * p.grad, 0.05)
                p.add_((m / (0.05 * h + 1e-8)).clamp_(-1, 1), alpha=-group["lr"])


class Rotated(torch.optim.Optimizer):
    """Adam in the singular directions of the gradient (as in GaLore and SOAP)."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.01):
        super().__init__([p for p in params if p.ndim == 2], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore
        """Move the parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                basis = torch.linalg.qr(p.grad @ p.grad.T + torch.eye(p.shape[0])).Q[:, :2]
                low = basis.T @ p.grad
                v = self.state[p].setdefault("v", torch.zeros_like(low)).lerp_(low.square(), 0.01)
                p.sub_(group["lr"] * basis @ (low / (v.sqrt() + 1e-8)))
