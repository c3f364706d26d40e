"""Every kind traced, balanced and counted: which open whole, what an error could hide behind."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from benchmarks.timing import table
from benchmarks.why_kinds import KINDS
from benchmarks.why_kinds.making import Step
from whence.why import balance, trace

# Where the kernel of torch 2.13 is wrong on this processor: NumPy says so too (tests/why/
# test_kernels.py). Its numbers don't add up, and that is the right answer.
WRONG_IN_TORCH = {
    "_fused_sgd bfloat16": "leaves whole vectors of parameters as they were",
    "linalg_matrix_exp bfloat16": "gives NaN and ∞ for small matrices",
}


@dataclass(slots=True)
class Found:
    """What was found of one kind.

    Attributes:
        operations: how many ran.
        numbers: how many were added up.
        closed: operations without a rule, and how often each ran.
        wrong: (operation, address) of numbers that don't add up.
        caught: the same where the kernel is wrong.
        refused: numbers that could not be opened, and why.
        error: what ended the trace or the balance, if anything did.
        limits: by operation and type, bound / |stored| of each number.
        used: by operation and type, the largest |stored − Σ terms| / bound.
    """

    operations: int = 0
    numbers: int = 0
    closed: dict[str, int] = field(default_factory=dict)
    wrong: list[tuple[str, str]] = field(default_factory=list)
    caught: list[tuple[str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    error: str = ""
    limits: dict[str, list[float]] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether it opens whole: all rules there, all numbers right."""
        return not (self.closed or self.wrong or self.refused or self.error)


def examine(make: Callable[[], Step], dtype: torch.dtype, numbers: int = 600) -> Found | None:
    """Trace one step of a kind and add some of its numbers up again.

    Returns:
        What was found; `None` where torch itself can't run the kind in numbers of this type.
    """
    torch.set_default_dtype(dtype)
    try:
        if dtype != torch.float32 and not runs(make):
            return None
        torch.manual_seed(0)
        return _examined(make(), numbers)
    finally:
        torch.set_default_dtype(torch.float32)


def runs(make: Callable[[], Step]) -> bool:
    """Whether torch has every kernel of a kind, in numbers of the default type."""
    try:
        make()()
    except Exception:  # whatever torch raises where a kernel is missing
        return False
    return True


def _examined(step: Step, numbers: int) -> Found:
    found = Found()
    try:
        t = trace(step, model=getattr(step, "model", None))
        result = balance(t, numbers=numbers, each=20)
    except Exception as error:  # a kind that ends in a traceback is counted, not the survey's end
        found.error = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return found
    found.operations, found.numbers, found.closed = len(t.ops), result.numbers, result.closed
    for row in result.rows:
        wrong = found.caught if row.operation in WRONG_IN_TORCH else found.wrong
        wrong += [(row.operation, address) for address in row.wrong]
        found.refused += [f"{row.operation}: {reason}" for reason in row.refused]
        found.limits[row.operation] = row.limits
        found.used[row.operation] = row.used
    return found


def survey(
    only: str = "",
    details: bool = False,
    dtype: torch.dtype = torch.float32,
    part: tuple[int, int] = (0, 1),
) -> dict[str, Found]:
    """Print a line for each family, what stays closed, and how large an error would be overlooked.

    Args:
        only: the names of families or kinds to look at begin with this.
        details: print a line for each kind that doesn't open whole.
        dtype: the type of the numbers where a kind doesn't choose one.
        part: (i, n): only each n-th kind, from the i-th, to share the work among processes.
    """
    rows, every = [], {}
    for family, kinds in KINDS.items():
        some = {n: k for n, k in kinds.items() if family.startswith(only) or n.startswith(only)}
        results = {}
        for name, make in [*some.items()][part[0] :: part[1]]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = examine(make, dtype)
            if found is not None:
                results[name] = found
        every.update({f"{family}: {name}": found for name, found in results.items()})
        if results:
            rows.append(_row(family, list(results.values())))
    rows.append(_row("all", list(every.values())))
    table(rows)
    if details:
        for name, found in every.items():
            if not found.whole:
                print(f"{name}\n    " + "\n    ".join(_faults(found)))
    closed: Counter[str] = Counter()
    for found in every.values():
        closed.update(found.closed)
    if closed:
        print("\nwithout a rule: " + ", ".join(f"{n} ×{c}" for n, c in closed.most_common()))
    print()
    table(overlooked(list(every.values())))
    return every


def _row(family: str, results: list[Found]) -> dict:
    operations = sum(f.operations for f in results)
    closed = sum(sum(f.closed.values()) for f in results)
    return {
        "family": family,
        "kinds": len(results),
        "open whole": sum(f.whole for f in results),
        "closed boxes": sum(bool(f.closed) for f in results),
        "don't add up": sum(bool(f.wrong) for f in results),
        "refused": sum(bool(f.refused) for f in results),
        "traceback": sum(bool(f.error) for f in results),
        "operations": operations,
        "with a rule": f"{100 * (1 - closed / max(operations, 1)):.1f} %",
        "numbers": sum(f.numbers for f in results),
        "wrong": sum(len(f.wrong) for f in results),
        "torch's": sum(len(f.caught) for f in results),
    }


def _faults(found: Found) -> list[str]:
    faults = [found.error] if found.error else []
    if found.closed:
        faults.append("closed: " + ", ".join(f"{n} ×{c}" for n, c in found.closed.items()))
    wrong = Counter(operation for operation, _ in found.wrong)
    first = dict(reversed(found.wrong))
    faults += [f"{n} ×{c}: {first[n]}" for n, c in wrong.items()]
    return faults + found.refused


def overlooked(results: list[Found], rows: int = 40) -> list[dict]:
    """List the operations behind whose bound the largest errors could hide."""
    limits: dict[str, list[float]] = defaultdict(list)
    for found in results:
        for operation, some in found.limits.items():
            limits[operation] += some
    some = {name: np.array(each) for name, each in limits.items() if each}
    order = sorted(some, key=lambda name: -float(np.median(some[name])))
    return [
        {
            "operation": name,
            "numbers": len(some[name]),
            "limit / |value|, median": f"{np.median(some[name]):.1e}",
            "worst": f"{some[name].max():.1e}",
            "over 1 %": f"{100 * np.mean(some[name] > 0.01):.1f} %",
            "of the bound used": f"{max(f.used.get(name, 0.0) for f in results):.2f}",
        }
        for name in order[:rows]
    ]
