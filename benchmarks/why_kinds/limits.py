"""The page of how large an error each rule would overlook, from the survey of kinds."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.why_kinds.survey import WRONG_IN_TORCH, Found

TYPES = ("float32", "bfloat16")

_HEAD = """# How large an error would be overlooked?

`balance` adds each number up again in float64 and compares it with what is stored, within a limit
that rounding alone can reach. An error smaller than the limit would not be seen. For each
operation this page gives limit ÷ |value|, half of the numbers being below the median: 1e-6 means
that an error of a millionth of the number shows, 1e-2 that one per cent doesn't.

Two things make it large. A sum whose terms cancel is small beside its terms, and rounding goes by
those: the worst column is made of such numbers. And bfloat16 has 8 bits: a single rounding is up
to 0.4 % of the number. Where a kernel rounds to it only at the end, an error of 1 % shows; where it
rounds on the way too, behind two or three roundings it may not, and where it adds up in bfloat16
several per cent may hide.

Made by `{command}`: {kinds} kinds of training code, {numbers:,} numbers.

{summary}

{caught}

Exact, an error of any size shows: {exact}.

| operation | {columns} |
|---|{rules}|
"""


def page(results: dict[str, list[Found]], command: str) -> str:
    """Write the page.

    Args:
        results: by type of number, what the survey found.
        command: what makes it.
    """
    tables = {dtype: _limits(found, dtype) for dtype, found in results.items()}
    names = sorted({name for limits in tables.values() for name in limits})
    exact = [n for n in names if all(not t[n].any() for t in tables.values() if n in t)]
    columns = [f"{dtype}: {word}" for dtype in tables for word in ("numbers", "median", "worst")]
    rows = []
    for name in names:
        if name not in exact:
            cells = [cell for t in tables.values() for cell in _cells(t.get(name))]
            rows.append(f"| `{name}` | " + " | ".join(cells) + " |")
    every = [found for several in results.values() for found in several]
    head = _HEAD.format(
        command=command,
        kinds=max(len(found) for found in results.values()),
        numbers=sum(found.numbers for found in every),
        summary="\n".join(_summary(dtype, t) for dtype, t in tables.items()),
        caught=_caught(every),
        exact=", ".join(f"`{name}`" for name in exact),
        columns=" | ".join(columns),
        rules="|".join("---:" for _ in columns),
    )
    return head + "\n".join(rows) + "\n"


def _limits(found: list[Found], dtype: str) -> dict[str, np.ndarray]:
    """Limit ÷ |value| of every number of this type, by operation."""
    limits: dict[str, list[float]] = defaultdict(list)
    for one in found:
        for operation, some in one.limits.items():
            name, _, kind = operation.rpartition(" ")
            if kind == dtype:
                limits[name] += some
    return {name: np.array(some) for name, some in limits.items() if some}


def _cells(limits: np.ndarray | None) -> list[str]:
    if limits is None:
        return ["", "", ""]
    return [f"{len(limits):,}", f"{np.median(limits):.1e}", f"{limits.max():.1e}"]


def _summary(dtype: str, limits: dict[str, np.ndarray]) -> str:
    medians = np.array([np.median(some) for some in limits.values()])
    every = np.concatenate([np.zeros(0), *limits.values()])
    return (
        f"- {dtype}: {len(limits)} operations, {100 * np.mean(medians < 1e-2):.0f} % of them with "
        f"a median below 1 %, {100 * np.mean(medians < 1e-4):.0f} % below 0.01 %; of all numbers, "
        f"an error of 1 % shows in {100 * np.mean(every < 1e-2):.1f} %."
    )


def _caught(found: list[Found]) -> str:
    caught = {operation for one in found for operation, _ in one.caught}
    if not caught:
        return ""
    lines = [f"- `{name}` {WRONG_IN_TORCH[name]};" for name in sorted(caught)]
    return (
        "\n".join(["Found wrong, and wrong they are in this version of torch:", "", *lines])[:-1]
        + "."
    )


def write(path: Path, results: dict[str, list[Found]], command: str) -> None:
    """Write the page to a file."""
    path.write_text(page(results, command), encoding="utf-8")
