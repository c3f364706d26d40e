"""The balance check: numbers drawn at random, each added up again from its recorded inputs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.errors import WhenceError
from whence.receipt.figures import finite
from whence.why.recording.storage import Index
from whence.why.recording.tape import Call
from whence.why.rules.open import open_call, reads_opaque
from whence.why.rules.opening import bound, difference
from whence.why.rules.table import RULES

if TYPE_CHECKING:
    from whence.why.trace import Trace

_TERMS_AT_ONCE = 1 << 21


@dataclass(slots=True)
class Row:
    """What the check found for one operation.

    Attributes:
        operation: its name and the type of its numbers.
        numbers: how many were drawn.
        residual: largest |stored − Σ terms| / Σ|terms|.
        used: largest |stored − Σ terms| / bound.
        wrong: addresses of numbers whose residual is larger than rounding allows.
        refused: why numbers of this operation could not be opened, each reason once.
        limits: bound / |stored| of each number that isn't 0: an error of that share would be
            overlooked.

    Example:
        >>> row = Row("aten::mm float32", numbers=50, residual=2e-8, used=0.1, limits=[1e-7, 3e-7])
        >>> row.wrong, row.overlooked
        ([], 2e-07)
    """

    operation: str
    numbers: int = 0
    residual: float = 0.0
    used: float = 0.0
    wrong: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    limits: list[float] = field(default_factory=list, repr=False)

    @property
    def overlooked(self) -> float:
        """The error, as a share of the number, that half of the numbers would not show."""
        return float(np.median(self.limits)) if self.limits else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers and strings, ready for JSON."""
        plain = {k: v for k, v in asdict(self).items() if k != "limits"}
        worst = max(self.limits, default=0.0)
        return {**plain, "overlooked": {"median": self.overlooked, "worst": worst}}


@dataclass(slots=True)
class Balance:
    """The result of the check.

    Attributes:
        rows: one for each operation.
        closed: operations without a rule, and how often each ran.
        unseen: tensors that were made by operations which weren't recorded.

    Example:
        >>> import torch
        >>> from whence.why import balance, trace
        >>> found = balance(trace(lambda: torch.ones(3).sum()), numbers=10)
        >>> found.wrong, found.closed
        ([], {})
    """

    rows: list[Row]
    closed: dict[str, int]
    unseen: list[str] = field(default_factory=list)

    @property
    def numbers(self) -> int:
        """How many numbers were drawn."""
        return sum(row.numbers for row in self.rows)

    @property
    def wrong(self) -> list[str]:
        """Addresses of the numbers that don't add up."""
        return [address for row in self.rows for address in row.wrong]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers and strings, ready for JSON."""
        rows = [row.to_dict() for row in self.rows]
        return finite(
            {"schema": 1, "numbers": self.numbers, "rows": rows, "closed": dict(self.closed)}
        )

    def __str__(self) -> str:
        lines = [
            f"{'operation':<52}{'numbers':>8}{'residual':>10}{'of bound':>10}{'overlooked':>12}"
        ]
        lines += [
            f"{r.operation:<52}{r.numbers:>8,}{r.residual:>10.1e}{r.used:>10.3f}"
            f"{r.overlooked:>12.1e}"
            + (f"  {len(r.wrong)} WRONG: {r.wrong[0]}" if r.wrong else "")
            + (f"  not opened: {r.refused[0]}" if r.refused else "")
            for r in sorted(self.rows, key=lambda r: -r.used)
        ]
        lines.append(f"{self.numbers:,} numbers, {len(self.wrong)} wrong")
        if self.closed:
            lines.append(
                "without a rule: " + ", ".join(f"{n} ×{c}" for n, c in self.closed.items())
            )
        if self.unseen:
            lines.append("made by operations that weren't recorded: " + ", ".join(self.unseen))
        return "\n".join(lines)


def balance(trace: Trace, *, numbers: int = 10_000, each: int = 50, seed: int = 0) -> Balance:
    """Draw numbers over all recorded tensors and add each up again in float64.

    Args:
        trace: a recorded step.
        numbers: how many to draw in all, in proportion to how often each operation ran.
        each: the least to draw from one operation, as far as it has that many.
        seed: of the draw.

    Returns:
        For each operation the largest residual, absolute and as a share of the rule's bound.

    Example:
        >>> import torch
        >>> from whence.why import trace
        >>> layer, x = torch.nn.Linear(3, 2), torch.ones(4, 3)
        >>> def step():
        ...     layer(x).square().mean().backward()
        >>> balance(trace(step)).wrong
        []
    """
    random = np.random.default_rng(seed)
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in _calls(trace):
        calls[f"{call.name} {str(call.output.dtype).removeprefix('torch.')}"].append(call)
    there = {name: sum(c.output.numel for c in several) for name, several in calls.items()}
    draws = {name: min(each, there[name]) for name in calls}
    left = numbers - sum(draws.values())
    while left > 0 and (open_ := [n for n in calls if draws[n] < there[n]]):
        share = sum(len(calls[name]) for name in open_)
        for name in open_:
            more = min(-(-left * len(calls[name]) // share), there[name] - draws[name])
            draws[name] += more
        left = numbers - sum(draws.values())
    rows = [_check(trace, n, several, draws[n], random) for n, several in sorted(calls.items())]
    return Balance(rows, trace.closed(), trace.unseen())


def _calls(trace: Trace) -> list[Call]:
    """List every output that a rule stands for."""
    found = []
    for op in trace.ops:
        if op.alias:
            continue
        for slot, output in enumerate(op.outputs):
            if output is not None and output.numel:
                call = op.call(slot)
                if call.name in RULES and not reads_opaque(call):
                    found.append(call)
    return found


def _check(
    trace: Trace, operation: str, calls: list[Call], draw: int, random: np.random.Generator
) -> Row:
    row = Row(operation)
    # Each call is drawn from alike, whatever its size, as far as it has numbers enough.
    counts = np.zeros(len(calls), dtype=np.int64)
    sizes = np.array([call.output.numel for call in calls])
    while (short := draw - counts.sum()) > 0:
        room = np.flatnonzero(counts < sizes)
        some = random.permutation(room)[:short]
        counts[some] += np.minimum(max(short // len(room), 1), sizes[some] - counts[some])
    for call, count in zip(calls, counts, strict=True):
        if count:
            at = np.sort(random.choice(call.output.numel, size=int(count), replace=False))
            if (reason := _refused(trace, row, call, at)) and len(at) > 1:
                reasons = [_refused(trace, row, call, at[i : i + 1]) for i in range(len(at))]
            else:
                reasons = [reason]
            row.refused += [r for r in dict.fromkeys(reasons) if r and r not in row.refused]
    return row


def _refused(trace: Trace, row: Row, call: Call, at: Index) -> str:
    """Weigh some numbers; return why that could not be done, "" if it was.

    A rule that fails on one number must not keep the others from being checked, whatever it raises.
    """
    try:
        _weigh(trace, row, call, at)
    except WhenceError as error:
        return str(error)
    except Exception as error:
        return f"the rule of {call.name} failed: {type(error).__name__}: {error}"
    return ""


def _weigh(trace: Trace, row: Row, call: Call, at: Index) -> None:
    first = open_call(call, at[:1])
    assert first is not None
    terms = max(first.total(1)[2], 1)
    step = max(1, _TERMS_AT_ONCE // terms)
    parts = [at[start : start + step] for start in range(0, len(at), step)]
    for some, (stored, residual, size, limit) in [(part, _weighed(call, part)) for part in parts]:
        row.numbers += len(some)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(residual > 0, residual / size, 0.0)
            used = np.where(residual > 0, residual / limit, 0.0)
        row.residual = max(row.residual, float(np.nanmax(share)))
        row.used = max(row.used, float(np.nanmax(used)))
        there = np.isfinite(stored) & (stored != 0)
        row.limits += np.abs(limit[there] / stored[there]).tolist()
        for i in np.flatnonzero(~(residual <= limit)):
            row.wrong.append(
                f"{trace.address(call.output, int(some[i]))} = {stored[i]:.9g}, off by "
                f"{residual[i]:.3g} where rounding leaves {limit[i]:.3g}"
            )


def _weighed(call: Call, at: Index) -> tuple[np.ndarray, Any, np.ndarray, np.ndarray]:
    """Return the stored values, |stored − Σ terms|, Σ|terms| and the bound of some elements."""
    opened = open_call(call, at)
    assert opened is not None
    stored = call.output.gather(at)
    total, size, count = opened.total(len(at))
    with np.errstate(invalid="ignore"):
        residual = np.abs(difference(stored, total, size, call.output.dtype))
        limit = bound(opened, call.output.dtype, total, size, count)
    return stored, residual, size, np.where(np.isnan(limit) & (residual == 0), 0.0, limit)
