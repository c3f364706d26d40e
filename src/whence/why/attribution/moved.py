"""The inverse question: what a line of the text, a row or an example moved in a step.

A gradient is a sum over the places of the batch, and an update is linear in the gradient once the
optimizer's denominators are held. So the part of a weight's change that some places account for is
the same chain of sums with all other places left out, for every weight at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.errors import WhenceError
from whence.receipt.figures import finite, percent, short
from whence.receipt.text import bar
from whence.why.attribution.groups import attribution
from whence.why.attribution.linear import Chosen, Linear

if TYPE_CHECKING:
    from whence.why.trace import Trace

_NUMBERED = re.compile(r"^(?:line|row|pair|text) ([\d,]+)\b")


@dataclass(frozen=True, slots=True)
class MovedTensor:
    """A parameter, and how much of its change some places account for.

    Attributes:
        name: the parameter's.
        size: ‖the part of its update‖.
        of: ‖its whole update‖.

    Example:
        >>> half = MovedTensor("embed.weight", size=0.5, of=1.0)
        >>> half.size / half.of
        0.5
    """

    name: str
    size: float
    of: float


@dataclass(frozen=True, slots=True)
class MovedWeight:
    """One weight, and the part of its change that some places account for.

    Attributes:
        address: of its update.
        value: the part.
        change: the whole of it.

    Example:
        >>> weight = MovedWeight("embed.weight[1,0].update", value=-0.5, change=-1.0)
        >>> weight.value / weight.change
        0.5
    """

    address: str
    value: float
    change: float


@dataclass(frozen=True, slots=True)
class Moved:
    """What some places of a batch moved.

    Attributes:
        what: the places, such as `line 301 of my.txt`.
        count: how many tokens (or examples) of the batch are there.
        weights: the weights that it moved most, the furthest first.
        tensors: all parameters, the one that it moved furthest first.

    Example:
        >>> import torch
        >>> from whence.why import trace
        >>> table, ids = torch.nn.Embedding(5, 2), torch.tensor([[1, 3], [4, 1]])
        >>> optimizer = torch.optim.SGD(table.parameters(), lr=0.5)
        >>> def step():
        ...     table(ids).sum().backward()
        ...     optimizer.step()
        >>> found = moved(trace(step, tokens=ids), example=1)
        >>> found.count, found.tensors[0].name
        (2, 'weight')
    """

    what: str
    count: int
    weights: tuple[MovedWeight, ...]
    tensors: tuple[MovedTensor, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers, strings and lists, ready for JSON."""
        return finite({"schema": 1, **asdict(self)})

    def lines(self, digits: int = 4) -> list[str]:
        """Return it line by line."""
        s = "" if self.count == 1 else "s"
        lines = [f"{self.what}: {self.count:,} place{s} of the batch, and what they moved most"]
        width = max((len(short(w.value, digits)) for w in self.weights), default=0)
        largest = max((abs(w.value) for w in self.weights), default=0.0)
        for weight in self.weights:
            whole = short(weight.change, digits)
            drawn = bar(abs(weight.value) / largest if largest else 0.0, 1.0)
            part = short(weight.value, digits)
            lines.append(f"  {part:>{width}}  {drawn}  of {whole:<10}  {weight.address}")
        lines.append("by tensor, the size of this part beside that of the whole change")
        wide = max((len(tensor.name) for tensor in self.tensors[:8]), default=0)
        for tensor in self.tensors[:8]:
            share = percent(tensor.size / tensor.of) if tensor.of else "0 %"
            sizes = f"{short(tensor.size, digits)} of {short(tensor.of, digits)}"
            lines.append(f"  {tensor.name:<{wide}}  {share:>6}  {sizes}")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())


def moved(
    trace: Trace, *, line: int | str | None = None, example: int | None = None, top: int = 8
) -> Moved:
    """Ask what a line of the text, a row or an example moved in this step.

    Args:
        trace: the step, with its update.
        line: the number of a line, row or pair of the text; "worst": the one with the most loss
            above the batch's mean.
        example: a number of an example of the batch, from 0.
        top: how many weights are listed.

    Returns:
        The weights it moved most, with the part of each change that it accounts for. The parts of
        all lines, of the optimizer's memory and of weight decay add up to the change.

    Raises:
        WhenceError: the batch has no such line or example, or the step no update.

    Example:
        >>> import torch
        >>> from whence.why import trace
        >>> table, ids = torch.nn.Embedding(5, 2), torch.tensor([[1, 3], [4, 1]])
        >>> optimizer = torch.optim.SGD(table.parameters(), lr=0.5)
        >>> def step():
        ...     table(ids).sum().backward()
        ...     optimizer.step()
        >>> found = moved(trace(step, tokens=ids), example=1)
        >>> [(w.address, w.value) for w in found.weights[:2]]
        [('weight[1,0].update', -0.5), ('weight[1,1].update', -0.5)]
    """
    names = [n for n in trace.parameters if trace.after_of(n) not in (None, trace[n].ref)]
    if not names:
        raise WhenceError("This step moved no weight: ask about a step with its update.")
    what, chosen = _chosen(trace, line, example)
    linear = Linear(trace, chosen)
    tensors: list[MovedTensor] = []
    best: list[tuple[float, MovedWeight]] = []
    for name in names:
        after, before = trace.after_of(name), trace[name].ref
        assert after is not None
        part = linear.of(after)
        every = np.arange(before.numel)
        change = after.gather(every) - before.gather(every)
        tensors.append(
            MovedTensor(name, float(np.linalg.norm(part)), float(np.linalg.norm(change)))
        )
        for i in np.argsort(-np.abs(part), kind="stable")[:top]:
            address = trace[name].update.at(int(i)).address
            weight = MovedWeight(address, float(part[i]), float(change[i]))
            best.append((-abs(weight.value), weight))
    if shape := trace.labels.undecided():  # known once the tensors have been looked at
        raise WhenceError(
            f"It isn't known which dimension of ids of shape {list(shape)} runs over examples: "
            "give trace() tokens=…, laid out [examples, positions]."
        )
    best.sort(key=lambda each: each[0])
    tensors.sort(key=lambda tensor: -tensor.size)
    weights = tuple(weight for _, weight in best[:top])
    return Moved(what, chosen.count(), weights, tuple(tensors))


def _chosen(trace: Trace, line: int | str | None, example: int | None) -> tuple[str, Chosen]:
    """The chosen places, and their names."""
    labels = trace.labels
    if example is not None:
        count = sum(part.layouts.examples for part in labels.parts)
        if not 0 <= example < count:
            raise WhenceError(f"example is {example}: the batch has 0 to {count - 1}.")
        return f"example {example}", Chosen(trace, lambda e, p: e == example)
    if labels.where is None:
        raise WhenceError(
            "It isn't known where in the training text the windows begin: give trace() where=…, or "
            "ask for an example."
        )
    if line == "worst":
        line = _worst_line(trace)
    where = labels.where
    wanted = _matching(str(line))
    chosen = Chosen(trace, lambda e, p: wanted(where(e, p)))
    names = sorted({where(e, p) for e, p in chosen.places()})
    if not names:
        known = sorted({where(e, p) for e, p in chosen.all()}, key=_number)
        some = ", ".join(known[:4])
        raise WhenceError(
            f"{line!r} is not a line of this step's batch, which has {len(known):,}, such as "
            f"{some}: 'whence why RUN loss --by where' lists them."
        )
    return ", ".join(names), chosen


def _matching(line: str) -> Callable[[str], bool]:
    digits = line.replace(",", "")
    if digits.isdigit():
        return lambda label: _number(label) == int(digits)
    return lambda label: label == line


def _number(label: str) -> int:
    found = _NUMBERED.match(label)
    return int(found[1].replace(",", "")) if found else -1


def _worst_line(trace: Trace) -> str:
    """Return the line with the most loss above what as many tokens have on average.

    Raises:
        WhenceError: the loss isn't a sum over places of the text.
    """
    found = attribution(trace.loss, "where")
    terms = sum(share.terms for share in found.shares)
    mean = sum(share.value for share in found.shares) / max(terms, 1)
    named = [share for share in found.shares if _number(share.label) >= 0]
    if not named:
        raise WhenceError("The loss of this step is not a sum over lines of a text.")
    excess = max(named, key=lambda share: share.value - share.terms * mean)
    return excess.label.partition(": ")[0]
