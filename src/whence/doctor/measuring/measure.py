"""Doing a step again under observation: what its weights, units, attentions and logits were."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from whence.doctor.measuring.measured import Measured, Weight
from whence.doctor.measuring.predicted import Caught, logits_of, predicted
from whence.doctor.measuring.watching import Watching
from whence.errors import WhenceError


@dataclass(slots=True)
class Visit:
    """A step that can be done once, on a copy: how, and on what.

    Attributes:
        step: its number.
        model: what is trained.
        parameters: all of them by name, tied ones once.
        do: does the step, and returns its loss where it is known.
        decays: name → weight decay, of the parameters that an optimizer has.
        reads: forward passes over other data of the run.
        began: the gradients that the step began with, by name.
        last: the gradients that the update before saw, by name.
        seen: the gradients that this update saw, by name; empty: those that are there after.
    """

    step: int
    model: nn.Module
    parameters: dict[str, Tensor]
    do: Callable[[], float | None]
    decays: dict[str, float | None]
    reads: list[Callable[[], Any]] = field(default_factory=list)
    began: dict[str, Tensor] = field(default_factory=dict)
    last: dict[str, Tensor] = field(default_factory=dict)
    seen: dict[str, Tensor] = field(default_factory=dict)


def measure(visit: Visit) -> tuple[Measured, list[Caught]]:
    """Do a step and note what the rules need.

    Returns:
        What was measured, and the calls of the model, which can be asked again.
    """
    model, found = visit.model, Measured(visit.step)
    before = {name: p.detach().clone() for name, p in visit.parameters.items()}
    calls: list[Caught] = []
    watching = Watching(model)
    drops = [m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0]
    modes: list[bool] = []
    quiet: set[int] = set()  # ids of weights whose part is in evaluation mode

    def caught(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        logits = logits_of(output)
        if logits is not None and logits.requires_grad:
            logits.retain_grad()
        if torch.is_grad_enabled():
            calls.append(Caught(args, kwargs, logits))
            modes.extend(m.training for m in drops)
            quiet.update(_quiet(module))

    roots = [*model.children()] if isinstance(model, nn.ModuleDict) else [model]
    handles = [m.register_forward_hook(caught, with_kwargs=True) for m in roots]
    try:
        with watching.on():
            loss = visit.do()
        found.loss = float("nan") if loss is None else loss
    except (WhenceError, ArithmeticError, RuntimeError, ValueError) as error:
        found.refused = str(error)
    finally:
        for handle in handles:
            handle.remove()
    found.readings, found.flows = watching.readings, list(watching.flows.values())
    found.bad_outputs = tuple(dict.fromkeys(watching.bad))
    found.predicted = predicted(calls)
    found.dropout = max((m.p for m in drops), default=0.0)
    found.idle_dropout = bool(modes) and not any(modes)
    found.quiet_parts = tuple(n for n, p in visit.parameters.items() if id(p) in quiet)
    _weights(visit, found, before, calls)
    _read_more(watching, visit)
    found.units = watching.all_units()
    return found, calls


def _read_more(watching: Watching, visit: Visit) -> None:
    """Count units over more data: a unit is dead if nothing activates it."""
    if not watching.units:
        return
    watching.quiet += 1
    with watching.on(), torch.no_grad():
        for read in visit.reads:
            read()
    watching.quiet -= 1


def _weights(visit: Visit, found: Measured, before: dict[str, Tensor], calls: list[Caught]) -> None:
    tables = {id(m.weight): m for m in visit.model.modules() if isinstance(m, nn.Embedding)}
    read = _ids(calls)
    squares = began = 0.0
    same = bool(visit.began)
    fresh = 0.0
    for name, p in visit.parameters.items():
        g = visit.seen.get(name, p.grad)
        was, now = before[name], p.detach()
        moved = now.float() - was.float()
        n = max(1, was.numel())
        grad = None if g is None else (g.to_dense() if g.is_sparse else g).detach().float()
        weight = Weight(
            name, tuple(p.shape), _rms(was), math.nan, 0.0, float(moved.norm()) / math.sqrt(n),
            0.0, p.requires_grad, name in visit.decays, visit.decays.get(name),
            _alike(was), _role(visit.model, name, p, tables), str(p.dtype).removeprefix("torch."),
            zero=not bool(was.count_nonzero()),
        )  # fmt: skip
        if grad is not None:
            weight.grad_norm = float(grad.norm())
            weight.grad_mean = float(grad.abs().mean()) if grad.numel() else 0.0
            has = grad != 0
            if bool(has.any()):
                weight.stuck = float(((now == was) & has).sum() / has.sum())
            squares += weight.grad_norm**2 if name in visit.decays else 0.0
            if name in visit.began and name in visit.decays:
                start = visit.began[name].float()
                began += float(start.norm()) ** 2
                fresh += float((grad - start).norm()) ** 2
                last = visit.last.get(name)
                same = same and last is not None and torch.equal(last.float(), start)
        if id(p) in tables and len(read):
            rows = read[read < len(was)]
            still = (now[rows] == was[rows]).all(-1)
            weight.still_rows = float(still.float().mean()) if len(rows) else 0.0
            weight.unread_rows = 1 - len(rows) / len(was)
        found.weights[name] = weight
    found.seen = math.sqrt(squares)
    if began and found.seen:
        found.stale = math.sqrt(began) / found.seen
        found.fresh = math.sqrt(fresh)
        found.stale_is_last = same


def _quiet(model: nn.Module) -> set[int]:
    """The weights of parts that are in evaluation mode while the whole is in training mode."""
    if not model.training:
        return set()
    owners = [m for m in model.modules() if not m.training]
    return {id(p) for m in owners for p in m.parameters(recurse=False)}


def _ids(calls: list[Caught]) -> Tensor:
    several = [c.tokens for c in calls if c.tokens is not None]
    if not several:
        return torch.zeros(0, dtype=torch.int64)
    return torch.cat([ids.reshape(-1) for ids in several]).unique()


def _rms(x: Tensor) -> float:
    return float(x.detach().float().norm()) / math.sqrt(max(1, x.numel()))


def _alike(w: Tensor) -> bool:
    """Whether a matrix's rows are all the same, so that training keeps them the same."""
    if w.ndim != 2 or len(w) < 2 or not bool(w[0].count_nonzero()):
        return False
    return bool((w == w[:1]).all())


def _role(model: nn.Module, name: str, p: Tensor, tables: dict[int, nn.Embedding]) -> str:
    if id(p) in tables:
        return "embedding"
    if p.ndim >= 2:
        return "matrix"
    owner = name.rpartition(".")[0]
    try:
        kind = type(model.get_submodule(owner)).__name__.lower()
    except AttributeError:
        kind = ""
    return "norm" if "norm" in kind else "other"
