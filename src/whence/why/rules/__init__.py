"""The table of rules: one row for each operation, grouped by family."""

from __future__ import annotations

from whence.why.opening import Rule
from whence.why.rules import (
    elementwise,
    functions,
    indexing,
    loss,
    matmul,
    norm,
    reductions,
    shape,
)

RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **functions.RULES,
    **indexing.RULES,
    **loss.RULES,
    **matmul.RULES,
    **norm.RULES,
    **reductions.RULES,
    **shape.RULES,
}

# What the arguments of a fused operation were when its rule was written.
SCHEMAS: dict[str, str] = {**norm.SCHEMAS}
