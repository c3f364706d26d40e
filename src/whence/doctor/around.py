"""Where a run's record points to its rate or batch, the loss around its weights is measured."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from whence.doctor import signs
from whence.doctor.evidence import Evidence
from whence.doctor.measuring.landscape import SWEEP, Landscape, noise_scale, rate_range, sharpness
from whence.errors import WhenceError
from whence.runs.replay import Moment, go_to
from whence.runs.run import Run
from whence.train.optimizers import AdamWConfig, SGDConfig

PRODUCTS, BATCHES = 16, 8
WORK = 4  # steps' worth of time that a product with the Hessian takes, about
UNEVEN = 0.1  # steps up and down, of all that the loss fell, that ask for the sharpness: ours
FLAT = 0.98  # of the loss in the middle, that ask for the noise: ours
BOUND = {SGDConfig: lambda c: 2 + 2 * c.momentum,
         AdamWConfig: lambda c: (2 + 2 * c.betas[0]) / (1 - c.betas[0])}  # fmt: skip


def look_around(run: Run, found: Evidence, last: Moment, until: float) -> None:
    """Measure sharpness, noise scale and the range of rates, each where the record asks for it.

    Args:
        run: the run.
        found: is filled in.
        last: a state of the run, after a step that was measured.
        until: when to stop, by `time.monotonic`.
    """
    n = len(run.steps)
    if n < 20 or found.crashed is not None or run.recipe.hardware.device != "cpu":
        return
    each = run.steps.seconds(0, n) / n
    at = max(0, last.step - 1)
    rate = float(found.rate[at]) if at < len(found.rate) else float("nan")
    values: dict[str, Any] = {"rate": rate}

    def time_for(steps: float) -> bool:
        return time.monotonic() + steps * each < until

    smooth = found.smoothed()
    if _uneven(found) and rate > 0 and time_for(PRODUCTS * WORK):
        values |= _sharpness(last, at)
    if smooth[-1] > FLAT * smooth[n // 2] and time_for(BATCHES):
        values |= _noise(last, at)
    if not found.learns() and time_for(SWEEP):
        values |= _range(go_to(run, run.origin.step if run.origin else 0, approximate=True))
    if len(values) > 1:
        found.landscape = Landscape(at, **values)
        found.looked.append(f"the loss around the weights of step {at:,}")


def _uneven(found: Evidence) -> bool:
    tail = found.loss[len(found.loss) // 2 :]
    fall = max(float(found.loss[0] - np.median(tail)), 0.05 * abs(float(found.loss[0])))
    bounces = float(np.median(np.abs(np.diff(tail)))) > UNEVEN * fall
    return bounces or not found.learns() or bool(signs.spikes(found.loss))


def _sharpness(last: Moment, at: int) -> dict[str, float]:
    optimizer = last.optimizer
    bound = BOUND.get(type(optimizer.config))
    if bound is None:
        return {}
    named = optimizer.named
    try:
        scales = [_scale(last, name, p) for name, p in named.items()]
        with last.session.stepping(), sdpa_kernel(SDPBackend.MATH):
            value = sharpness(lambda: _loss(last, at), list(named.values()), scales, PRODUCTS)
    except (RuntimeError, WhenceError):  # an operation that can't be differentiated twice
        return {}
    return {"sharpness": value, "bound": bound(optimizer.config)}


def _scale(last: Moment, name: str, p: Tensor) -> Tensor | float:
    """What the rule multiplies a gradient by, of the run's rate: 1, or Adam's 1/(√v̂ + ε)."""
    optimizer = last.optimizer
    c = optimizer.config
    share = optimizer.peaks[name] / c.learning_rate if c.learning_rate else 1.0
    if not isinstance(c, AdamWConfig):
        return share
    v = optimizer.state[f"{name}.v"] / (1 - c.betas[1] ** max(1, optimizer.index))
    return share / (v.sqrt() + c.eps)


def _loss(last: Moment, at: int) -> Tensor:
    parts = [weight * last.loss_fn(last.model, part) for weight, part in last.batches[at]]
    return torch.stack(parts).sum()


def _noise(last: Moment, at: int) -> dict[str, float]:
    named, gradients = last.optimizer.named, []
    with last.session.stepping():
        for step in range(max(0, at - BATCHES + 1), at + 1):
            grads = torch.autograd.grad(_loss(last, step), list(named.values()), allow_unused=True)
            gradients.append(torch.cat([g.flatten() for g in grads if g is not None]))
    batch = last.recipe.batch_size
    return {"noise": noise_scale(gradients, batch), "batch": batch}


def _range(moment: Moment) -> dict[str, float]:
    """The sweep trains a copy from the first weights on, by the run's own optimizer."""
    optimizer, peak = moment.optimizer, moment.optimizer.config.learning_rate
    if not peak > 0:
        return {}

    def step(rate: float) -> float:
        optimizer.zero_grad()
        loss = _loss(moment, optimizer.index)
        loss.backward()
        optimizer.update(rate / peak)
        optimizer.index += 1
        return float(loss.detach())

    with moment.session.stepping():
        steepest, highest = rate_range(step)
    return {"steepest": steepest, "highest": highest}
