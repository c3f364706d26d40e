"""One training loop in plain PyTorch, watched, with the faults that a loop can have."""

from __future__ import annotations

import contextlib
import copy
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.faults import midway
from benchmarks.faults.broken.start import head_of
from benchmarks.faults.models import Setting, build
from benchmarks.faults.reading import Data, begin
from whence.watch import Recorder, watch

# faults that change the targets themselves, not only which tokens have one
OF_TARGETS = ("wrong batch", "empty batch", "left padding")


@dataclass
class Trained:
    """A training that is over.

    Attributes:
        recorder: what was watched.
        loss: of each step.
        accuracy: of each step's batch, which AUTOTRAINER judges by.
        largest_input: max |x| of inputs that are numbers; NaN for tokens.
    """

    recorder: Recorder
    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    largest_input: float = math.nan


def train(s: Setting, faults: dict[str, Any], out: Path) -> Trained:
    """Train, and give what was watched."""
    torch.manual_seed(s.seed)
    data = Data(s, faults)
    model = build(s, faults)
    if faults.get("dtype"):
        model.bfloat16()
    parameters = [p for n, p in model.named_parameters() if not _has(n, faults.get("left out", ()))]
    for name, p in model.named_parameters():
        if _has(name, faults.get("frozen", ())):
            p.requires_grad_(False)
    optimizer = _optimizer(s, faults, parameters)
    if faults.get("head replaced"):
        _replace_head(model)
    schedule = _schedule(s, faults, optimizer)
    model.train(faults.get("mode") != "eval")
    for name, part in model.named_modules():
        if name == faults.get("in evaluation"):
            part.eval()
    recorder = watch(
        model, optimizer, out, steps=1000, memory=2 * 10**9, snapshot_every=10,
        tell=lambda sentence: None,
    )  # fmt: skip
    done = Trained(recorder, largest_input=data.largest)
    with contextlib.closing(recorder):
        for step in range(s.steps):
            midway.change(model, s, faults, step)
            if _clears(s, faults, step):
                optimizer.zero_grad(set_to_none="freeze" not in faults)
            total = 0.0
            parts = data.parts(step)
            for x, y, visible in parts:
                logits, loss = _forward(s, faults, model, x, y, visible, step)
                if len(parts) > 1 and faults.get("accumulate") != "sum":
                    loss = loss / len(parts)
                if "z-loss" in faults:
                    loss = loss + faults["z-loss"] * logits.logsumexp(-1).square().mean()
                if "jump" in faults and step >= begin(s, faults):
                    loss = loss * faults["jump"]
                loss.backward()
                total += float(loss.detach())
            done.accuracy.append(_accuracy(s, faults, logits, y))
            if faults.get("clip"):
                nn.utils.clip_grad_norm_(model.parameters(), faults["clip"])
            if "rate at" in faults and step == begin(s, faults):
                for group in optimizer.param_groups:
                    group["lr"] *= faults["rate at"]
            if faults.get("zero_grad") == "early":
                optimizer.zero_grad()
            optimizer.step()
            recorder.log(loss=total)
            done.loss.append(total)
            if schedule is not None and faults["schedule"] != "unused":
                schedule.step()
            if not math.isfinite(total):
                break
    return done


def _clears(s: Setting, faults: dict[str, Any], step: int) -> bool:
    """Whether the loop clears the gradients before this step."""
    kind = faults.get("zero_grad")
    if kind == "until":
        return step < begin(s, faults)
    return step % 4 == 0 if kind == "every fourth" else kind != "never"


def _replace_head(model: Any) -> None:
    """Another head of the same form, as for new classes, after the optimizer took the old one."""
    new = copy.deepcopy(head_of(model))
    if isinstance(model, nn.Sequential):
        model[-1] = new
    else:
        setattr(model, "lm_head" if hasattr(model, "lm_head") else "head", new)


def _schedule(s: Setting, faults: dict[str, Any], optimizer: Any) -> Any:
    if "schedule" not in faults:
        return None
    share = {
        "zero": lambda k: 0.0,
        "unused": lambda k: 1 / (1 + k),
        "ends": lambda k: float(k < begin(s, faults)),
        "long warm-up": lambda k: (k + 1) / (50 * s.steps),
    }[faults["schedule"]]
    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def _has(name: str, parts: Any) -> bool:
    return any(part in name for part in ((parts,) if isinstance(parts, str) else parts))


def _optimizer(s: Setting, faults: dict[str, Any], parameters: list[Any]) -> Any:
    rate = s.rate * faults.get("rate", 1.0)
    kind = faults.get("optimizer", s.optimizer)
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=faults.get("decay", 0.0))
    if kind == "adam":
        return torch.optim.Adam(parameters, lr=rate)
    momentum = 0.9 if kind == "momentum" else 0.0
    return torch.optim.SGD(parameters, lr=rate * 30, momentum=momentum)


def _forward(
    s: Setting, faults: dict[str, Any], model: Any, x: Tensor, y: Tensor,
    visible: Tensor | None, step: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    reduction = faults.get("reduction", "mean")
    if s.family == "hf":
        if faults.get("by hand"):  # the shift that the model makes by itself is forgotten
            logits = model(input_ids=x).logits
            return logits, F.cross_entropy(logits.flatten(0, 1), x.flatten())
        labels = y if faults.get("shifted twice") else _for_hf(x, y, faults)
        out = model(input_ids=x, labels=labels)
        loss = out.loss * (labels.numel() if reduction == "sum" else 1)
        return out.logits, loss
    if s.family == "encoder":
        logits = model(x) if faults.get("mask forgotten") else model(x, visible)
    else:
        logits = model(x)
    if faults.get("infinite at") and step == begin(s, faults):
        logits = (logits - logits.max()).clamp(max=0).mul(0).log() + logits
    flat = logits.reshape(-1, logits.shape[-1]).float()
    return logits, F.cross_entropy(flat, y.reshape(-1), reduction=reduction)


def _for_hf(x: Tensor, y: Tensor, faults: dict[str, Any]) -> Tensor:
    """Hugging Face's models shift the labels themselves."""
    if any(k in faults for k in OF_TARGETS) or faults.get("targets") in ("slip", "batch before"):
        return torch.cat((torch.full_like(y[:, :1], -100), y[:, :-1]), 1)
    if faults.get("targets") == "random":
        return y
    return torch.where(y == -100, y, x) if faults.get("shift") is None else y


def _accuracy(s: Setting, faults: dict[str, Any], logits: Tensor, y: Tensor) -> float:
    said = logits.detach().argmax(-1)
    if s.family == "hf":
        said, y = said[:, :-1], y[:, 1:] if faults.get("shifted twice") else y[:, :-1]
    kept = y != -100
    return float((said.reshape(-1) == y.reshape(-1))[kept.reshape(-1)].float().mean())
