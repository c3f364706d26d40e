"""The optimizer backwards: from a slope by the weights to one by this step's gradient.

An update is linear in what the optimizer remembers and in this step's gradient, once what its
terms factor is held: Adam's denominator, the matrix that makes Muon's momentum orthogonal, the
factor of clipping. So ⟨slope, update⟩ can be carried back to each gradient that entered it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from whence.errors import WhenceError
from whence.train.optimizer import Optimizer
from whence.train.optimizers import (
    JORDAN,
    POLAR_EXPRESS,
    AdamWConfig,
    MuonConfig,
    OptimizerConfig,
    SGDConfig,
    rule_of,
)


@dataclass(frozen=True, slots=True)
class UpdateVJP:
    """One parameter's update of one step, as a linear map.

    ⟨slope, update⟩ = to_state·⟨vjp, memory after⟩ + direct·⟨vjp, g⟩ − decay

    Attributes:
        vjp: the slope carried back through rate, denominator or orthogonalising matrix.
        to_state: how much of it falls on the remembered mean.
        direct: how much on this step's clipped gradient itself.
        keep: memory after = keep · memory before + enter · g.
        enter: see `keep`.
        memory: the name of the remembered mean, "" where there is none.
        decay: what weight decay took from ⟨slope, ·⟩, where it isn't part of the gradient.
        inside: λ, where weight decay is part of the gradient instead.
    """

    vjp: Tensor
    to_state: float
    direct: float
    keep: float
    enter: float
    memory: str
    decay: float
    inside: float


def clipped(optimizer: Optimizer) -> float:
    """Return the factor by which the last step's gradient was scaled down."""
    limit = optimizer.config.max_grad_norm
    norm = optimizer.grad_norm
    return limit / norm if limit and norm > limit else 1.0


def update_vjps(
    optimizer: Optimizer, slopes: dict[str, Tensor], before: dict[str, Tensor]
) -> dict[str, UpdateVJP]:
    """Write the update that the optimizer has just made as a linear map of its gradients.

    Args:
        optimizer: after the step; the parameters' gradients are still there.
        slopes: derivative of what is asked about, by each parameter.
        before: the parameters as they were before the step.

    Example:
        >>> update_vjps(moment.optimizer, slopes, before)["embed.weight"].direct  # doctest: +SKIP
        0.0
    """
    factor = optimizer.schedule.factor(optimizer.index - 1, optimizer.steps)
    found: dict[str, UpdateVJP] = {}
    for rule, names in optimizer.rules.items():
        if not rule_of(rule):
            raise WhenceError(
                f"{type(rule).__name__} is an optimizer of your own, and what each window adds to "
                "its updates isn't known: 'whence what-if' replays without a text instead."
            )
        for name in names:
            if optimizer.named[name].grad is not None:
                rate = optimizer.peaks[name] * factor
                found[name] = _update_vjp(optimizer, rule, name, rate, slopes[name], before[name])
    return found


def _update_vjp(
    optimizer: Optimizer, rule: OptimizerConfig, name: str, rate: float, slope: Tensor, old: Tensor
) -> UpdateVJP:
    if isinstance(rule, SGDConfig):
        ahead = rule.momentum if rule.nesterov else 1.0
        direct = 1.0 if rule.nesterov or not rule.momentum else 0.0
        memory = f"{name}.momentum" if rule.momentum else ""
        to_state = ahead if memory else 0.0
        inside = rule.weight_decay
        return UpdateVJP(-rate * slope, to_state, direct, rule.momentum, 1.0, memory, 0.0, inside)
    decays = isinstance(rule, MuonConfig) or old.ndim >= 2
    decay = rate * rule.weight_decay * _dot(slope, old) if decays and rule.weight_decay else 0.0
    if isinstance(rule, AdamWConfig):
        t, (beta1, beta2) = optimizer.index, rule.betas
        root = optimizer.state[f"{name}.v"].sqrt() / math.sqrt(1 - beta2**t) + rule.eps
        vjp = slope / root * (-rate / (1 - beta1**t))
        return UpdateVJP(vjp, 1.0, 0.0, beta1, 1 - beta1, f"{name}.m", decay, 0.0)
    momentum = optimizer.state[f"{name}.momentum"]
    grad = optimizer.named[name].grad
    assert grad is not None
    scale = rate * math.sqrt(max(1.0, old.shape[0] / old.shape[1]))
    vjp = -scale * _turned(torch.lerp(grad, momentum, rule.momentum), slope, rule)
    mu = rule.momentum
    return UpdateVJP(vjp, mu, 1 - mu, mu, 1 - mu, f"{name}.momentum", decay, 0.0)


def _turned(ahead: Tensor, slope: Tensor, rule: MuonConfig) -> Tensor:
    """P·slope, where P·ahead is what the Newton–Schulz steps make of `ahead`; P is symmetric."""
    wide = ahead.shape[0] <= ahead.shape[1]
    x, slope = (ahead, slope) if wide else (ahead.mT, slope.mT)
    norm = torch.linalg.vector_norm(x).clamp(min=1e-7)
    x, P = x / norm, torch.eye(len(x), dtype=x.dtype, device=x.device) / norm
    triples = {"jordan": JORDAN, "polar-express": POLAR_EXPRESS}[rule.coefficients]
    for a, b, c in triples[: rule.orthogonalize_steps]:
        gram = x @ x.mT
        step = a * torch.eye(len(x), dtype=x.dtype, device=x.device) + b * gram + c * gram @ gram
        x, P = step @ x, step @ P
    turned = P @ slope
    return turned if wide else turned.mT


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a.double() * b.double()).sum())
