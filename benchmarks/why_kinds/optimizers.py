"""Optimizers of torch.optim in all their forms, and some that people write themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.why_kinds.homemade import Lamb, Lion, Rotated, Shampoo, Sophia
from benchmarks.why_kinds.making import Kind, Step

O = torch.optim  # noqa: E741


def with_optimizer(
    make: Callable[[list[Tensor]], Any],
    before: Callable[[list[Tensor]], Any] | None = None,
    after: Callable[[nn.Module, Any], Any] | None = None,
) -> Kind:
    """Train a small network by an optimizer, after one step that fills its moments."""

    def kind() -> Step:
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh())
        optimizer = make(list(model.parameters()))
        x, y = torch.randn(6, 4), torch.randn(6, 4)

        def step() -> Tensor:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            if before is not None:
                before(list(model.parameters()))
            optimizer.step()
            if after is not None:
                after(model, optimizer)
            return loss.detach()

        step()
        return step

    return kind


def _forms(make: type, *forms: str, **options: Any) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    words = ", ".join(f"{k} {v}" for k, v in options.items())
    for form in forms:
        chosen = {"foreach": form == "foreach"} if form != "fused" else {"fused": True}
        name = ", ".join(w for w in (make.__name__, words, form) if w)
        kinds[name] = with_optimizer(lambda p, chosen=chosen: make(p, lr=0.01, **options, **chosen))
    return kinds


def _sign_momentum(params: list[Tensor]) -> None:
    for p in params:
        assert p.grad is not None
        p.grad = p.grad.sign() * p.grad.abs().mean()


def _averaged(model: nn.Module, optimizer: Any) -> None:
    if not hasattr(optimizer, "mean"):
        optimizer.mean = [p.detach().clone() for p in model.parameters()]
    for mean, p in zip(optimizer.mean, model.parameters(), strict=True):
        mean.lerp_(p.detach(), 0.1)


def _sharp(params: list[Tensor]) -> None:
    """The first half of sharpness-aware minimisation: up the gradient."""
    with torch.no_grad():
        size = torch.stack([p.grad.norm() for p in params if p.grad is not None]).norm()
        for p in params:
            p.add_(p.grad, alpha=float(0.05 / size))


def _limited(model: nn.Module, optimizer: Any) -> None:
    with torch.no_grad():
        for p in model.parameters():
            p.clamp_(-0.3, 0.3)


def _noisy(params: list[Tensor]) -> None:
    for p in params:
        assert p.grad is not None
        p.grad.add_(torch.randn_like(p.grad), alpha=0.01)


def _scheduled(model: nn.Module, optimizer: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * 0.9


def _lbfgs() -> Step:
    model, x, y = nn.Linear(3, 2), torch.randn(5, 3), torch.randn(5, 2)
    optimizer = O.LBFGS(model.parameters(), lr=0.1, max_iter=3)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        return loss

    return lambda: optimizer.step(closure)


def _swa() -> Step:
    model, x, y = nn.Linear(3, 2), torch.randn(5, 3), torch.randn(5, 2)
    optimizer = O.SGD(model.parameters(), lr=0.1)
    mean = O.swa_utils.AveragedModel(model)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        mean.update_parameters(model)
        return loss

    step()
    return step


_NORM, _VALUE = nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_
_LOOPS = ("single", "foreach")

KINDS: dict[str, Kind] = {
    **_forms(O.SGD, "single", "foreach", "fused"),
    **_forms(O.SGD, "single", "foreach", "fused", momentum=0.9, weight_decay=0.1),
    **_forms(O.SGD, "single", "foreach", "fused", momentum=0.9, nesterov=True),
    **_forms(O.SGD, "single", momentum=0.9, dampening=0.5, maximize=True),
    **_forms(O.Adam, "single", "foreach", "fused"),
    **_forms(O.Adam, "single", "foreach", "fused", amsgrad=True, weight_decay=0.1),
    **_forms(O.AdamW, "single", "foreach", "fused"),
    **_forms(O.AdamW, "single", "foreach", "fused", amsgrad=True, maximize=True),
    **_forms(O.Adagrad, "single", "foreach", "fused", lr_decay=0.1),
    **_forms(O.Adadelta, *_LOOPS),
    **_forms(O.Adamax, *_LOOPS, weight_decay=0.1),
    **_forms(O.NAdam, *_LOOPS),
    **_forms(O.NAdam, "single", decoupled_weight_decay=True, weight_decay=0.1),
    **_forms(O.RAdam, *_LOOPS, weight_decay=0.1),
    **_forms(O.RMSprop, *_LOOPS),
    **_forms(O.RMSprop, *_LOOPS, momentum=0.9, centered=True),
    **_forms(O.Rprop, *_LOOPS),
    **_forms(O.ASGD, *_LOOPS, weight_decay=0.1),
    **_forms(O.Adafactor, *_LOOPS, weight_decay=0.1),
    "Muon": with_optimizer(lambda p: O.Muon([w for w in p if w.ndim == 2], lr=0.01)),
    "LBFGS": _lbfgs,
    "averaged weights": _swa,
    "Lion": with_optimizer(Lion),
    "LAMB": with_optimizer(Lamb),
    "Shampoo": with_optimizer(Shampoo),
    "Sophia": with_optimizer(Sophia),
    "projected Adam": with_optimizer(Rotated),
    "clipping, norm": with_optimizer(O.SGD, lambda p: _NORM(p, 0.1)),
    "clipping, 1-norm": with_optimizer(O.SGD, lambda p: _NORM(p, 0.1, norm_type=1)),
    "clipping, largest": with_optimizer(O.SGD, lambda p: _NORM(p, 0.1, norm_type=torch.inf)),
    "clipping, one by one": with_optimizer(O.SGD, lambda p: _NORM(p, 0.1, foreach=False)),
    "clipping, value": with_optimizer(O.SGD, lambda p: _VALUE(p, 0.01)),
    "clipping, value, one by one": with_optimizer(O.SGD, lambda p: _VALUE(p, 0.01, foreach=False)),
    "signs of the gradient": with_optimizer(O.SGD, _sign_momentum),
    "noise on the gradient": with_optimizer(O.SGD, _noisy),
    "exponential average": with_optimizer(O.SGD, after=_averaged),
    "sharpness-aware": with_optimizer(O.SGD, _sharp),
    "weights kept small": with_optimizer(O.SGD, after=_limited),
    "scheduled": with_optimizer(O.SGD, after=_scheduled),
    "a tensor as learning rate": with_optimizer(lambda p: O.Adam(p, lr=torch.tensor(0.01))),
    "groups": with_optimizer(lambda p: O.AdamW([{"params": p[:2], "lr": 0.1}, {"params": p[2:]}])),
    "capturable": with_optimizer(lambda p: O.Adam(p, lr=0.01, foreach=False, differentiable=False)),
}
