"""One training loop in plain PyTorch, watched, with the faults that a loop can have."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.faults.models import Setting, build
from whence.watch import Recorder, watch


@dataclass
class Trained:
    """A training that is over.

    Attributes:
        recorder: what was watched.
        accuracy: of each step's batch, which AUTOTRAINER judges by.
        largest_input: max |x| of inputs that are numbers; NaN for tokens.
    """

    recorder: Recorder
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
    schedule = None
    if "schedule" in faults:
        share = {"zero": lambda k: 0.0, "unused": lambda k: 1 / (1 + k)}[faults["schedule"]]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    model.train(faults.get("mode") != "eval")
    recorder = watch(
        model, optimizer, out, steps=1000, memory=2 * 10**9, snapshot_every=10,
        tell=lambda sentence: None,
    )  # fmt: skip
    done = Trained(recorder, largest_input=data.largest)
    with contextlib.closing(recorder):
        for step in range(s.steps):
            if faults.get("zero_grad") != "never":
                optimizer.zero_grad()
            total = 0.0
            parts = data.parts(step)
            for x, y, visible in parts:
                logits, loss = _forward(s, faults, model, x, y, visible, step)
                if len(parts) > 1 and faults.get("accumulate") != "sum":
                    loss = loss / len(parts)
                if "jump" in faults and step >= s.steps // 2:
                    loss = loss * faults["jump"]
                loss.backward()
                total += float(loss.detach())
            done.accuracy.append(_accuracy(s, faults, logits, y))
            if faults.get("clip"):
                nn.utils.clip_grad_norm_(model.parameters(), faults["clip"])
            if "rate at" in faults and step == s.steps // 2:
                for group in optimizer.param_groups:
                    group["lr"] *= faults["rate at"]
            if faults.get("zero_grad") == "early":
                optimizer.zero_grad()
            optimizer.step()
            recorder.log(loss=total)
            if schedule is not None and faults["schedule"] == "zero":
                schedule.step()
            if not math.isfinite(total):
                break
    return done


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
        labels = y if faults.get("shifted twice") else _for_hf(x, y, faults)
        out = model(input_ids=x, labels=labels)
        loss = out.loss * (labels.numel() if reduction == "sum" else 1)
        return out.logits, loss
    if s.family == "encoder":
        logits = model(x) if faults.get("mask forgotten") else model(x, visible)
    else:
        logits = model(x)
    if faults.get("infinite at") and step == s.steps // 2:
        logits = (logits - logits.max()).clamp(max=0).mul(0).log() + logits
    flat = logits.reshape(-1, logits.shape[-1]).float()
    return logits, F.cross_entropy(flat, y.reshape(-1), reduction=reduction)


def _for_hf(x: Tensor, y: Tensor, faults: dict[str, Any]) -> Tensor:
    """Hugging Face's models shift the labels themselves."""
    if faults.get("targets") == "random":
        return y
    return torch.where(y == -100, y, x) if faults.get("shift") is None else y


def _accuracy(s: Setting, faults: dict[str, Any], logits: Tensor, y: Tensor) -> float:
    said = logits.detach().argmax(-1)
    if s.family == "hf":
        said, y = said[:, :-1], y[:, 1:] if faults.get("shifted twice") else y[:, :-1]
    kept = y != -100
    return float((said.reshape(-1) == y.reshape(-1))[kept.reshape(-1)].float().mean())


class Data:
    """What is read, a pure function of setting and step, with the faults that data can have."""

    def __init__(self, s: Setting, faults: dict[str, Any]):
        self.s, self.faults = s, faults
        self.generator = torch.Generator().manual_seed(1000 + s.seed)
        self.largest = math.nan
        g = self.generator
        self.moves = torch.randint(1, max(2, s.vocabulary - 1), (2,), generator=g)
        self.table = torch.randint(s.vocabulary, (s.vocabulary, 3), generator=g)
        self.centres = 2.0 * torch.randn(5, 16, generator=g)
        self.pool: list[Any] = []
        self.stream = self._text(1, 40_000) if faults.get("order") == "stream" else None
        if s.family == "mlp":
            self.largest = float(self._points(64)[0].abs().max())

    def parts(self, step: int) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """The parts of a step's batch: inputs, targets, and which inputs are to be read."""
        f, s = self.faults, self.s
        if f.get("batches") == "same":
            if not self.pool:
                self.pool = [self._batch(step)]
            return [self.pool[0]]
        if f.get("batches") == "few rows":
            if not self.pool:
                self.pool = [self._batch(k) for k in range(2)]
            rows = torch.randint(2 * s.batch, (s.batch,), generator=self.generator)
            x, y, v = (
                None if a is None else torch.cat([a, b])[rows]
                for a, b in zip(*self.pool, strict=True)
            )
            return [(x, y, v)]  # type: ignore[list-item]
        if "accumulate" in f:
            parts = [self._batch(step) for _ in range(3)]
            if f["accumulate"] == "uneven":
                for i, (_, y, _) in enumerate(parts):
                    y[:, : 5 * i] = -100
            return parts
        return [self._batch(step)]

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor | None]:
        f, s, g = self.faults, self.s, self.generator
        if s.family == "mlp":
            x, y = self._points(s.batch)
            if f.get("order") == "sorted":
                y[:] = step * 5 // s.steps % 5
                x = self.centres[y] + torch.randn(len(y), 16, generator=g)
            if f.get("targets") == "random":
                y = torch.randint(5, y.shape, generator=g)
            x = x * f.get("inputs", 1.0)
            if f.get("bad batch") and step == s.steps // 2:
                x[0] = math.nan
            return x.to(torch.bfloat16) if f.get("dtype") else x, y, None
        if s.family == "encoder":
            return self._labelled(step)
        rows = self._rows(step)
        shift = f.get("shift", 1)
        T = s.window
        x, y = rows[:, :T].clone(), rows[:, shift : shift + T].clone()
        if s.family == "hf" and f.get("shifted twice"):
            y = rows[:, 1 : T + 1].clone()
        if f.get("targets") == "random":
            y = torch.randint(s.vocabulary, y.shape, generator=g)
        if f.get("targets") == "other rows":
            y = y.roll(1, 0)
        if "empty rows" in f:
            y[: int(f["empty rows"] * len(y))] = -100
        if f.get("bad row"):
            x[0] = torch.randint(s.vocabulary, (T,), generator=g)
            y[0] = torch.cat([x[0, 1:], x[0, :1]])
        if f.get("bad batch") and step == s.steps // 2:
            x[:] = torch.randint(s.vocabulary, x.shape, generator=g)
            y[:] = x.roll(-1, 1)
        if f.get("padding"):
            ends = torch.randint(T // 3, T, (len(x), 1), generator=g)
            pad = torch.arange(T) >= ends
            x[pad] = 0
            y[pad] = 0 if f["padding"] == "counted" else -100
        return x, y, None

    def _rows(self, step: int) -> Tensor:
        s = self.s
        if self.stream is not None:
            T = s.window
            starts = (step * s.batch + torch.arange(s.batch)) * T % (39_000 - T)
            return self.stream[0][starts[:, None] + torch.arange(T + 4)]
        return self._text(s.batch, s.window + 4)

    def _text(self, rows: int, length: int) -> Tensor:
        """Tokens of which the next mostly follows from the last."""
        s, g = self.s, self.generator
        x = [torch.randint(s.vocabulary, (rows,), generator=g)]
        for t in range(length - 1):
            pick = torch.rand(rows, generator=g)
            if s.text == "markov":
                move = torch.where(pick < 0.7, self.moves[0], self.moves[1])
                x.append((x[-1] + move) % s.vocabulary)
            elif s.text == "words":
                which = (pick * 3).long().clamp(max=2)
                x.append(self.table[x[-1], which])
            else:  # every third token copies the one three places back
                back = x[-3] if len(x) >= 3 and t % 3 == 0 else x[-1]
                x.append((back + torch.where(pick < 0.8, 1, 4)) % s.vocabulary)
        return torch.stack(x, 1)

    def _points(self, n: int) -> tuple[Tensor, Tensor]:
        y = torch.randint(5, (n,), generator=self.generator)
        return self.centres[y] + torch.randn(n, 16, generator=self.generator), y

    def _labelled(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Texts of three kinds, told apart by how their tokens move."""
        f, s, g = self.faults, self.s, self.generator
        y = torch.randint(3, (s.batch,), generator=g)
        if f.get("order") == "sorted":
            y[:] = step * 3 // s.steps % 3
        x = torch.randint(1, s.vocabulary, (s.batch, s.window), generator=g)
        marks = torch.rand(s.batch, s.window, generator=g) < 0.35
        x = torch.where(marks, (1 + 3 * y[:, None] + x % 3) % s.vocabulary, x)
        ends = torch.randint(s.window // 2, s.window + 1, (s.batch, 1), generator=g)
        visible = torch.arange(s.window) < ends
        x = torch.where(visible, x, 0)
        if f.get("targets") == "random":
            y = torch.randint(3, y.shape, generator=g)
        return x, y, visible
