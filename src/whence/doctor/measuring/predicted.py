"""The logits of a step and, from the gradient that came back to them, its targets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whence.doctor.measuring.measured import Predicted

FITS = 0.2  # how far g may be from s·(p − y), relative: label smoothing moves y a little
SURE = 1e-3  # 1 − P(target) below which rounding is all that is left of the gradient
OF_LOSS = 1e-4  # of a row's gradient that cross-entropy has, where the row has a target: ours


@dataclass(slots=True)
class Caught:
    """One call of a model: what went in, its logits, and the gradient that came back to them.

    Attributes:
        args: as it was called, by position.
        kwargs: by name.
        logits: what it gave.
    """

    args: tuple
    kwargs: dict[str, Any]
    logits: Tensor | None

    @property
    def tokens(self) -> Tensor | None:
        """The ids [B, T] that went in."""
        for value in (*self.args, *self.kwargs.values()):
            ids = isinstance(value, Tensor) and value.dtype in (torch.int64, torch.int32)
            if ids and value.ndim == 2:
                return value
        return None


def logits_of(output: Any) -> Tensor | None:
    """Return the logits in what a model returned: what is called so, else the first table."""
    named = getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    if isinstance(output, dict):
        output = tuple(output.values())
    if isinstance(output, tuple | list):
        tables = [t for t in output if isinstance(t, Tensor) and t.ndim >= 2]
        return next((t for t in tables if t.is_floating_point()), None)
    if isinstance(output, Tensor) and output.ndim >= 2 and output.is_floating_point():
        return output
    return None


def predicted(calls: list[Caught]) -> Predicted | None:
    """Put together what the calls of a step predicted.

    Args:
        calls: those whose logits kept their gradient (`retain_grad`).
    """
    calls = [c for c in calls if c.logits is not None]
    if not calls:
        return None
    tables = [c.logits for c in calls if c.logits is not None]
    classes = tables[0].shape[-1]
    flat = [t.detach().float().reshape(-1, classes) for t in tables if t.shape[-1] == classes]
    every = torch.cat(flat)
    found = Predicted(
        tuple(tables[0].shape), classes, float(every.abs().max()),
        float(every.logsumexp(-1).mean()), False, np.zeros(0, np.int64), None,
        np.zeros(0), np.zeros(0), len(calls),
    )  # fmt: skip
    grads = [t.grad for t in tables]
    if classes < 2 or any(g is None for g in grads) or not bool(every.isfinite().all()):
        return found
    told = [_targets(x, g) for x, g in zip(flat, grads, strict=True) if g is not None]
    if any(one is None for one in told):
        return found
    rows = [one for one in told if one is not None]
    found.known = True
    found.away = _away(flat, [g for g in grads if g is not None])
    found.targets = np.concatenate([t for t, _, _ in rows])
    found.losses = np.concatenate([x for _, x, _ in rows])
    found.weights = np.concatenate([w for _, _, w in rows])
    found.call_weights = tuple(float(np.nansum(w)) for _, _, w in rows)
    sure = [w[np.isfinite(w)] for _, _, w in rows]
    means = [float(np.median(w)) if len(w) else math.nan for w in sure]
    if np.isfinite(means).all() and len(means) > 1 and max(means) > 0:
        found.call_spread = max(means) / max(min(means), 1e-30) - 1
    counted = found.targets[found.targets >= 0]
    if len(counted):
        shares = np.bincount(counted) / len(counted)
        shares = shares[shares > 0]
        found.entropy = float(-(shares * np.log(shares)).sum())
    ids = [c.tokens for c in calls]
    each = [i is not None and i.numel() == len(x) for i, x in zip(ids, flat, strict=True)]
    if all(each) and ids[0] is not None and ids[0].shape[1] > 1:
        found.length = ids[0].shape[1]
        found.tokens = np.concatenate(
            [i.reshape(-1).numpy(force=True) for i in ids if i is not None]
        )
        _boundary(found, tables)
    _by_example(found, tables, [g for g in grads if g is not None])
    return found


def _boundary(found: Predicted, tables: list[Tensor]) -> None:
    """What the first token of each example costs, read as going on from the example before."""
    assert found.tokens is not None
    tokens = torch.from_numpy(found.tokens.reshape(-1, found.length))
    last = torch.cat(
        [t.detach().float().reshape(-1, found.length, t.shape[-1])[:, -1] for t in tables]
    )
    if len(tokens) > 2 and len(last) == len(tokens):
        log_p = last[:-1].log_softmax(-1).cpu()
        found.boundary = float(-log_p.gather(1, tokens[1:, :1]).mean())


def _by_example(found: Predicted, tables: list[Tensor], grads: list[Tensor]) -> None:
    pushes, empty, start = [], [], 0
    for table, grad in zip(tables, grads, strict=True):
        g = grad.detach().float().reshape(len(table), -1)
        pushes.append(g.square().sum(1).double().numpy(force=True))
        rows = table.numel() // table.shape[-1]
        mine = found.targets[start : start + rows].reshape(len(table), -1)
        empty.append((mine < 0).all(1))
        start += rows
    push = np.concatenate(pushes)
    total = push.sum()
    found.row_share = push / total if total > 0 else push
    found.empty_rows = float(np.concatenate(empty).mean())


def _away(flat: list[Tensor], grads: list[Tensor]) -> float:
    """The share of the gradient at the logits that drives ln Z away from 0.

    Cross-entropy's rows add up to 0, since it doesn't change with a number added to all logits of a
    row. What they add up to comes of another term, such as c·ln²Z: 2c·ln Z, which is of the sign of
    ln Z and so drives it towards 0.
    """
    off = whole = 0.0
    for x, grad in zip(flat, grads, strict=True):
        g = grad.detach().float().reshape(x.shape)
        off -= float((g.sum(-1) * x.logsumexp(-1).sign()).sum())
        whole += float(g.abs().sum())
    return off / whole if whole > 0 else 0.0


def _targets(logits: Tensor, grad: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Read targets, losses and weights off g = s·(p − y); None where it isn't of that form.

    A term of ln Z adds a multiple of p, whose sum is the row's; it is taken out before.
    """
    g = grad.detach().float().reshape(logits.shape)
    whole = g.abs().sum(-1)
    if not bool(whole.isfinite().all()):
        return None
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    of_log_z = g.sum(-1)
    if float(of_log_z.abs().sum()) < 0.5 * float(whole.sum()):
        g = g - of_log_z[:, None] * p
    size = g.abs().sum(-1)
    counted = size > OF_LOSS * whole
    at = g.argmin(-1)
    p_at = p.gather(1, at[:, None])[:, 0]
    s = size / (2 * (1 - p_at)).clamp(min=1e-12)
    y = torch.zeros_like(p).scatter_(1, at[:, None], 1.0)
    off = (g - s[:, None] * (p - y)).abs().sum(-1)
    sure = counted & (1 - p_at > SURE)  # else all that is left is rounding
    certain = ~counted & (p.max(-1).values > 1 - SURE)  # a gradient of 0 as p is y
    if not bool(counted.any()):
        return None
    if bool(sure.any()) and float(off[sure].sum() / size[sure].sum()) > FITS:
        return None
    at = torch.where(certain, p.argmax(-1), at)
    targets = torch.where(counted | certain, at, -1).numpy(force=True)
    losses = torch.where(counted | certain, -log_p.gather(1, at[:, None])[:, 0], torch.nan)
    weights = torch.where(sure, s, torch.nan)
    return targets, losses.double().numpy(force=True), weights.double().numpy(force=True)
