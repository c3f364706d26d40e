"""What is read at each step, with the faults that data can have."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from benchmarks.faults.models import Setting


def begin(s: Setting, faults: dict[str, Any]) -> int:
    """The step at which a fault that isn't there from the start begins."""
    return int(faults.get("from", 0.5) * s.steps)


class Data:
    """What is read, a pure function of setting and step, with the faults that data can have."""

    def __init__(self, s: Setting, faults: dict[str, Any]):
        self.s, self.faults = s, faults
        self.generator = torch.Generator().manual_seed(1000 + s.seed)
        self.largest = math.nan
        g = self.generator
        self.moves = torch.randint(1, max(2, s.vocabulary - 1), (2,), generator=g)
        if self.moves[0] == self.moves[1]:  # else the text is a few examples again and again
            self.moves[1] = 1 + self.moves[1] % max(1, s.vocabulary - 2)
        self.table = torch.randint(s.vocabulary, (s.vocabulary, 3), generator=g)
        self.centres = 2.0 * torch.randn(5, 16, generator=g)
        self.begin = begin(s, faults)
        self.pool: list[Any] = []
        self.before: Tensor | None = None
        self.stream = self._text(1, 40_000) if faults.get("order") == "stream" else None
        if s.family == "mlp":
            self.largest = float(self._points(64)[0].abs().max())

    def parts(self, step: int) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """The parts of a step's batch: inputs, targets, and which inputs are to be read."""
        f, s = self.faults, self.s
        if f.get("batches") == "stuck" and step > self.begin:
            return [self.pool[0]]
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
        x, y, visible = self._batch(step)
        if f.get("batches") == "each twice":
            half = (len(x) + 1) // 2
            x, y, visible = (None if a is None else a[:half].repeat(2, *[1] * (a.dim() - 1))
                             for a in (x, y, visible))  # fmt: skip
        self.pool = [(x, self._targets(y, step), visible)]
        return self.pool

    def _targets(self, y: Tensor, step: int) -> Tensor:
        """The targets y, with the faults that targets of any kind can have."""
        f = self.faults
        if f.get("targets") == "batch before":
            self.before, y = y, y.roll(1, 0) if self.before is None else self.before
        if f.get("targets") == "slip" and step >= self.begin:
            return y.roll(1, 0)
        if f.get("wrong batch") and step == self.begin:
            classes = {"mlp": 5, "encoder": 3}.get(self.s.family, self.s.vocabulary)
            return (y + classes // 2) % classes
        if f.get("empty batch") and step == self.begin:
            return torch.full_like(y, -100)
        return y

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
            if f.get("bad batch") and step == self.begin:
                x[0] = math.nan
            if f.get("huge row") and step == self.begin:
                x[0] *= 1000
            return x.to(torch.bfloat16) if f.get("dtype") else x, y, None
        if s.family == "encoder":
            return self._labelled(step)
        rows = self._rows(step)
        shift = f.get("shift", 1)
        T = s.window
        first = max(0, -shift)
        x, y = (
            rows[:, first : first + T].clone(),
            rows[:, first + shift : first + shift + T].clone(),
        )
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
        if f.get("bad batch") and step == self.begin:
            x[:] = torch.randint(s.vocabulary, x.shape, generator=g)
            y[:] = x.roll(-1, 1)
        if f.get("padding"):
            ends = torch.randint(T // 3, T, (len(x), 1), generator=g)
            pad = torch.arange(T) >= ends
            x[pad] = 0
            y[pad] = 0 if f["padding"] == "counted" else -100
        if f.get("left padding"):
            starts = torch.randint(1, T // 2, (len(x), 1), generator=g)
            pad = torch.arange(T) < starts
            x = torch.where(pad, 0, x.clamp(min=1))  # 0 is padding and nothing else
            y = torch.where(pad, -100, y.clamp(min=1))
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
