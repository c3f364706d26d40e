"""What taught a model a prediction: training windows, by first-order accounting along the steps.

With f = ln P(next | prompt) and the parameters θ_t before step t,

    f(θ_end) − f(θ_begin) = Σ_t ⟨slope_t, θ_{t+1} − θ_t⟩ + residual,
    slope_t = (∇f(θ_t) + ∇f(θ_{t+1})) / 2

An update is linear in the gradients that entered it (`whence.why.history.update_vjp`), and the
gradient is the mean of the windows' own. Momentum spreads a window over the later steps, so the
steps are swept backward: what falls on the optimizer's state after step t is collected from all
later ones, and one pass of forward-mode differentiation gives its product with the gradient of
every window of the step. It is TracIn's sum (Pruthi et al. 2020), along every step, through the
optimizer, with its residual.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from whence.data import Part
from whence.data.labels import LabelledPart
from whence.errors import WhenceError
from whence.receipt.figures import finite
from whence.runs.questions.places import places
from whence.runs.replay import Moment, nearest_checkpoint, start_from
from whence.runs.run import Run
from whence.scale.limits import memory_left
from whence.why.history.moments import in_lines, shown
from whence.why.history.slopes import Question, token_slopes
from whence.why.history.update_vjp import UpdateVJP, clipped, update_vjps
from whence.why.receipts.layout.labels import around


class Window(NamedTuple):
    """One window of one step's batch, and what it accounts for.

    Attributes:
        step: the step that trained on it.
        example: its place in that step's batch.
        start: where it begins in the training tokens (pairs: which pair).
        value: its part of the change of ln P, in nats.
        position: the token of it whose prediction accounts for most of that.

    Example:
        >>> Window(step=31, example=2, start=512, value=0.125, position=7).value
        0.125
    """

    step: int
    example: int
    start: int
    value: float
    position: int


@dataclass(frozen=True, slots=True)
class Influence:
    """A change of ln P(next | prompt), by the windows that were trained on.

    after − before = Σ windows + decay + past + bent + rounded

    Attributes:
        prompt: what is read.
        next: what comes after it.
        begin: the first step; the model before it gives `before`.
        end: the step whose model, before it, gives `after`.
        curve: ln P before each step, and after the last one, in nats.
        windows: every window of these steps, in their order.
        decay: what weight decay accounts for.
        past: what the optimizer remembered before `begin` accounts for (in a fork).
        bent: what the first order leaves: (after − before) − Σ ⟨slope, update⟩.
        rounded: Σ ⟨slope, update⟩ − (Σ windows + decay + past): rounding, bfloat16's above all.
        notes: what a reader must know.

    Example:
        >>> found = Influence("we love", " deep", 0, 1, (-3.0, -2.5), (), 0.0, 0.0, 0.5, 0.0)
        >>> found.curve[-1] - found.curve[0] == found.accounted + found.bent
        True
    """

    prompt: str
    next: str
    begin: int
    end: int
    curve: tuple[float, ...]
    windows: tuple[Window, ...]
    decay: float
    past: float
    bent: float
    rounded: float
    notes: tuple[str, ...] = ()

    @property
    def accounted(self) -> float:
        """Σ windows."""
        return math.fsum(window.value for window in self.windows)

    def largest(self, count: int) -> list[Window]:
        """Return the windows that raised ln P most, the largest first."""
        return sorted((w for w in self.windows if w.value > 0), key=lambda w: -w.value)[:count]

    def smallest(self, count: int) -> list[Window]:
        """Return the windows that lowered ln P most, the lowest first."""
        return sorted((w for w in self.windows if w.value < 0), key=lambda w: w.value)[:count]

    def to_dict(self, count: int = 10) -> dict[str, Any]:
        """Return it as plain numbers and lists, ready for JSON, with so many windows a side."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "windows"}
        sides = {"largest": self.largest(count), "smallest": self.smallest(count)}
        several = {side: [window._asdict() for window in found] for side, found in sides.items()}
        counts = {"windows": len(self.windows), "accounted": self.accounted}
        return finite({"schema": 1, **plain, **counts, **several})


def influence(
    run: Run,
    prompt: str,
    next: str,
    *,
    step: int | None = None,
    approximate: bool = False,
    budget: int | None = None,
    tell: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> Influence:
    """Ask which training windows moved the prediction of what comes after a prompt.

    The windows *account for* the change along the path that the run took. Without one of them,
    the later steps would have been others: `what_if` replays that.

    Args:
        run: the run.
        prompt: what the model reads.
        next: what comes after it: one token, or several (the sum of their ln P).
        step: account for the steps before this one; none: for all.
        approximate: go on where a replayed loss differs from the record.
        budget: bytes for the parameters of the steps between two sweeps.
        tell: is called with (what is being done, how many steps of it are done, of how many).

    Returns:
        The `Influence`.

    Raises:
        WhenceError: a text is empty, too long, or has an unknown character; there is no such step.

    Example:
        >>> from whence import Run
        >>> found = influence(Run.open("runs/mine"), "we love", " ", step=1)
        >>> len(found.windows)  # those of the first step's batch
        4
    """
    run.refuse_counted()
    begin = run.origin.step if run.origin else 0
    end = len(run.steps) if step is None else step
    nearest_checkpoint(run, end)
    if end <= begin:
        raise WhenceError(f"no step of {run.path} comes before step {end}: give a later --step.")
    sweep = _Sweep(run, prompt, next, begin, end, approximate, tell)
    for checkpoint, first, last in reversed(_chunks(run, begin, end, budget)):
        sweep.back_over(checkpoint, first, last)
    return sweep.done()


def influence_cost(run: Run, step: int | None = None) -> tuple[int, float]:
    """Estimate what it takes: how many steps, and about how many seconds.

    Example:
        >>> from whence import Run
        >>> steps, seconds = influence_cost(Run.open("runs/mine"))
        >>> steps
        6

    Args:
        run: the run.
        step: up to which step; None: all of them.
    """
    begin = run.origin.step if run.origin else 0
    end = len(run.steps) if step is None else step
    return end - begin, 3 * run.steps.seconds(begin, end)


class _Kept(NamedTuple):
    """What a step leaves for the sweep back."""

    step: int
    before: dict[str, Tensor]
    vjps: dict[str, UpdateVJP]
    clip: float
    batch: list[tuple[float, Part]]


@dataclass
class _Sweep:
    """Goes back over the steps, the last chunk of them first."""

    run: Run
    prompt: str
    next: str
    begin: int
    end: int
    approximate: bool
    tell: Callable[[str, int, int], None]
    carry: dict[str, Tensor] = field(default_factory=dict)
    curve: dict[int, float] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    decay: float = 0.0
    past: float = 0.0
    first_order: float = 0.0
    notes: list[str] = field(default_factory=list)

    def back_over(self, checkpoint: int, first: int, last: int) -> None:
        """Replay the steps from `first` up to `last`, then sweep back over them."""
        moment = start_from(self.run, checkpoint, self.approximate)
        with moment.session.hardware.in_force():
            self._back_over(moment, first, last)
        if moment.differences:
            self.notes.append(moment.how_far_off())

    def _back_over(self, moment: Moment, first: int, last: int) -> None:
        for _ in moment.advance_to(first):
            pass
        memory = {name: tensor.clone() for name, tensor in moment.optimizer.state.items()}
        kept = list(self._forward(moment, last))
        for one in reversed(kept):
            self.windows += self._back(moment, one)
            self.tell("sweeping back", self.end - one.step, self.end - self.begin)
        if first == self.begin:
            self.past = sum(
                _dot(dual, memory[name]) for name, dual in self.carry.items() if name in memory
            )

    def _forward(self, moment: Moment, last: int) -> Iterator[_Kept]:
        question = Question(moment, self.prompt, self.next)
        self.curve[moment.step], slope = question.ask()
        while moment.step < last:
            named = moment.optimizer.named
            before = {name: weight.detach().clone() for name, weight in named.items()}
            step, batch, old = moment.step, moment.batch, slope
            moment.advance()
            self.curve[step + 1], slope = question.ask()
            middle = {name: (old[name] + slope[name]) / 2 for name in named}
            self.first_order += sum(
                _dot(middle[name], weight.detach().double() - before[name].double())
                for name, weight in named.items()
            )
            linear = update_vjps(moment.optimizer, middle, before)
            yield _Kept(step, before, linear, clipped(moment.optimizer), batch)
            self.tell("replaying", self.end - last + step + 1 - self.begin, self.end - self.begin)

    def _back(self, moment: Moment, kept: _Kept) -> list[Window]:
        toward: dict[str, Tensor] = {}
        for name, p in kept.vjps.items():
            on_memory = p.to_state * p.vjp
            if p.memory:
                if p.memory in self.carry:
                    on_memory = on_memory + self.carry[p.memory]
                self.carry[p.memory] = p.keep * on_memory
            on_gradient = p.enter * on_memory + p.direct * p.vjp
            self.decay -= p.decay
            if p.inside:
                self.decay += p.inside * _dot(on_gradient, kept.before[name])
            toward[name] = kept.clip * on_gradient
        found, example = [], 0
        for weight, part in kept.batch:
            slopes = token_slopes(moment, part, kept.before, toward)  # [B, T]
            slopes = weight * slopes.double().numpy(force=True)
            values = slopes.sum(axis=1)
            signs = np.where(values < 0, -1.0, 1.0)[:, None]
            positions = (signs * slopes).argmax(axis=1)
            for i, start in enumerate(part.starts.tolist()):
                one = Window(kept.step, example + i, start, float(values[i]), int(positions[i]))
                found.append(one)
            example += len(part.starts)
        return found

    def done(self) -> Influence:
        """Put the answer together."""
        curve = tuple(self.curve[step] for step in range(self.begin, self.end + 1))
        windows = tuple(sorted(self.windows, key=lambda w: (w.step, w.example)))
        accounted = math.fsum(window.value for window in windows)
        return Influence(
            prompt=self.prompt,
            next=self.next,
            begin=self.begin,
            end=self.end,
            curve=curve,
            windows=windows,
            decay=self.decay,
            past=self.past,
            bent=(curve[-1] - curve[0]) - self.first_order,
            rounded=self.first_order - (accounted + self.decay + self.past),
            notes=tuple(self.notes),
        )


def describe(run: Run, windows: list[Window]) -> list[str]:
    """Show where windows are in the training text, and the token that accounts for most of each.

    Args:
        run: the run.
        windows: such as `Influence.windows`.

    Example:
        >>> from whence import Run
        >>> first = Window(step=0, example=0, start=0, value=0.1, position=7)
        >>> describe(Run.open("runs/mine"), [first])[0].startswith("line ")
        True
    """
    moment = Moment(run, run.session(), 0)
    whole, told = in_lines(moment), []
    for window in windows:
        parts = [part for _, part in moment.batches[window.step]]
        where = places(moment.dataset, parts, whole)(window.example, window.position)
        if isinstance(parts[0], LabelledPart):
            rows = [ids[seen] for p in parts for ids, seen in zip(p.inputs, p.visible, strict=True)]
            told.append(f"{where}: {moment.tokenizer.decode(rows[window.example].tolist())}")
            continue
        row = torch.cat([torch.cat((p.inputs, p.targets[:, -1:]), 1) for p in parts])
        ids = row[window.example].numpy(force=True)
        ids = ids if ids[-1] >= 0 else ids[:-1]
        told.append(f"{where}: {around(ids, window.position + 1, lambda i: shown(moment, i))}")
    return told


def _chunks(run: Run, begin: int, end: int, budget: int | None) -> list[tuple[int, int, int]]:
    """Cut the steps into (checkpoint, first, last), each as long as memory allows."""
    session = run.session()
    nbytes = sum(p.nbytes for p in session.model.parameters())
    free = memory_left() // 4 if budget is None else budget
    length = max(1, free // (2 * nbytes))  # a step keeps the parameters and their vjps
    saved = [begin, *(s for s in run.checkpoints if begin < s < end), end]
    return [
        (checkpoint, first, min(first + length, following))
        for checkpoint, following in pairwise(saved)
        for first in range(checkpoint, following, length)
    ]


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a.double() * b.double()).sum())
