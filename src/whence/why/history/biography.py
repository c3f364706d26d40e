"""The life of one weight: its first value, every step's change, and what made the largest ones."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from whence.errors import WhenceError
from whence.receipt import Receipt
from whence.receipt.figures import finite
from whence.runs.replay import Moment, go_to, nearest_checkpoint, start_from
from whence.runs.run import Run
from whence.runs.store.checkpoints import load_weights
from whence.why.address import Address, unknown
from whence.why.attribution.groups import Attribution
from whence.why.history.moments import trace_moment

_TRACED = 6  # plain steps that tracing and opening one takes, memory told beforehand included


@dataclass(frozen=True, slots=True)
class Turn:
    """One step that changed a weight much.

    Attributes:
        step: which.
        change: what it added.
        share: |change| / Σ|changes|.
        receipt: the update's terms.
        tokens: the update by token.
        places: the update by line of the training text.

    Example:
        >>> from whence import Run
        >>> turn: Turn = biography(Run.open("runs/mine"), "embed.weight[3,7]", largest=1).turns[0]
        >>> turn.change == turn.receipt.value
        True
    """

    step: int
    change: float
    share: float
    receipt: Receipt
    tokens: Attribution
    places: Attribution


@dataclass(frozen=True, slots=True)
class Biography:
    """A weight from its first value to its last: final = first + Σ changes + residual.

    Attributes:
        address: the weight's.
        begin: the first step that is told: 0, or where the run was forked.
        values: as stored before each step, and after the last one.
        final: as the last checkpoint holds it, where that is of the last step; else as replayed.
        residual: final − (first + Σ changes), added without rounding.
        turns: the steps with the largest changes, opened, the largest first.
        notes: what a reader must know.

    Example:
        >>> life = Biography("w[0]", 0, (0.0, 0.5, 0.25), final=0.25, residual=0.0, turns=())
        >>> life.changes
        (0.5, -0.25)
    """

    address: str
    begin: int
    values: tuple[float, ...]
    final: float
    residual: float
    turns: tuple[Turn, ...]
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[float, ...]:
        """What each step added; exact in float64."""
        return tuple(b - a for a, b in zip(self.values, self.values[1:], strict=False))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers, strings and lists, ready for JSON."""
        plain = asdict(self)
        plain["changes"] = self.changes
        plain["turns"] = [
            {
                "step": turn.step,
                "change": turn.change,
                "share": turn.share,
                "receipt": turn.receipt.to_dict(),
                "tokens": turn.tokens.to_dict(),
                "places": turn.places.to_dict(),
            }
            for turn in self.turns
        ]
        return finite({"schema": 1, **plain})


def biography(
    run: Run,
    address: str,
    *,
    largest: int = 3,
    approximate: bool = False,
    tell: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> Biography:
    """Tell the life of one weight of a run.

    The run is replayed once from its first weights, and the weight is read at each step; the steps
    with the largest changes are then traced and their updates opened.

    w_end = w_0 + Σ_t (w_{t+1} − w_t)

    Args:
        run: the run.
        address: an element of a parameter, such as `blocks.0.mlp.up.weight[3,7]`.
        largest: how many of the largest changes are opened.
        approximate: go on where a replayed loss differs from the record.
        tell: is called with ("replaying" or "tracing", how many are done, of how many).

    Returns:
        The `Biography`.

    Raises:
        WhenceError: the address isn't an element of a parameter, or the run has done no step.

    Example:
        >>> from whence import Run
        >>> biography(Run.open("runs/mine"), "embed.weight[3,7]", largest=0).residual
        0.0
    """
    begin, end = _span(run)
    moment = start_from(run, begin, approximate)
    name, index = _find_weight(moment, address)
    weight = moment.model.get_parameter(name).detach()
    values = [float(weight[index])]
    for step, _ in moment.advance_to(end):
        values.append(float(weight[index]))
        tell("replaying", step + 1 - begin, end - begin)
    final, notes = _final(run, name, index, values[-1], end)
    changes = [b - a for a, b in itertools.pairwise(values)]
    residual = math.fsum([final, -values[0], *(-change for change in changes)])
    if moment.differences:
        notes.append(moment.how_far_off())
    full = f"{name}[{','.join(map(str, index))}]"
    turns = _turns(run, full, begin, changes, largest, approximate, tell)
    return Biography(full, begin, tuple(values), final, residual, turns, tuple(notes))


def biography_cost(run: Run, largest: int = 3) -> tuple[int, float]:
    """Estimate what a biography takes.

    Returns:
        How many steps are replayed at first, and about how many seconds it takes in all.

    Example:
        >>> from whence import Run
        >>> steps, seconds = biography_cost(Run.open("runs/mine"))
        >>> steps
        6

    Args:
        run: the run.
        largest: how many steps would be opened.
    """
    begin, end = _span(run)
    each = statistics.median(run.steps.column("seconds")[begin:end])
    saved = [begin, *(s for s in run.checkpoints if begin < s < end), end]
    gap = max(b - a for a, b in itertools.pairwise(saved))
    count = min(largest, end - begin)
    seconds = run.steps.seconds(begin, end)
    return end - begin, seconds + count * each * (gap / 2 + _TRACED)


def _span(run: Run) -> tuple[int, int]:
    run.refuse_counted()
    begin, end = run.origin.step if run.origin else 0, len(run.steps)
    if end <= begin:
        raise WhenceError(f"{run.path} has no steps yet: train it first.")
    return begin, end


def _find_weight(moment: Moment, address: str) -> tuple[str, tuple[int, ...]]:
    """Find the parameter and the index that an address means.

    Raises:
        WhenceError: it isn't an element of a parameter.
    """
    parsed = Address.parse(address)
    named = dict(moment.model.named_parameters())
    if parsed.name not in named:
        raise unknown(parsed.name, named, "The model has no weight")
    if parsed.quantity or parsed.step is not None:
        raise WhenceError(f"{address!r} is more than a weight: give only its name and index.")
    shape = tuple(named[parsed.name].shape)
    index = tuple(i for i in parsed.index or () if isinstance(i, int))
    if parsed.index is None or len(parsed.index) != len(shape) or len(index) != len(shape):
        raise WhenceError(
            f"{parsed.name} has shape {list(shape)}: give {len(shape)} "
            f"ind{'ex' if len(shape) == 1 else 'ices'}, as in "
            f"{parsed.name}[{','.join('0' * len(shape))}]."
        )
    for dim, (i, size) in enumerate(zip(index, shape, strict=True)):
        if not -size <= i < size:
            raise WhenceError(
                f"{parsed.name} has shape {list(shape)}: index {i} of dimension {dim} is outside "
                f"0 to {size - 1}."
            )
    return parsed.name, tuple(i % size for i, size in zip(index, shape, strict=True))


def _final(
    run: Run, name: str, index: tuple[int, ...], replayed: float, end: int
) -> tuple[float, list[str]]:
    if end not in run.checkpoints:
        return replayed, [f"no checkpoint of step {end:,} is there, so the last value is replayed"]
    stored: torch.Tensor = load_weights(run.checkpoint_folder, end)[name]
    return float(stored[index]), []


def _turns(
    run: Run,
    address: str,
    begin: int,
    changes: list[float],
    largest: int,
    approximate: bool,
    tell: Callable[[str, int, int], None],
) -> tuple[Turn, ...]:
    order = sorted(range(len(changes)), key=lambda i: -abs(changes[i]))[:largest]
    chosen = sorted(begin + i for i in order if changes[i])
    size = math.fsum(map(abs, changes)) or 1.0
    turns: list[Turn] = []
    moment: Moment | None = None
    for step in chosen:
        if moment is None or moment.step < nearest_checkpoint(run, step):
            moment = go_to(run, step, approximate)
        for _ in moment.advance_to(step):
            pass
        number = trace_moment(moment).number(address).update
        change = changes[step - begin]
        receipt, tokens, places = (
            number.why(),
            number.attribution("token"),
            number.attribution("where"),
        )
        turns.append(Turn(step, change, abs(change) / size, receipt, tokens, places))
        tell("tracing", len(turns), len(chosen))
    return tuple(sorted(turns, key=lambda turn: -abs(turn.change)))
