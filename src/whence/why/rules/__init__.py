"""The table of rules: one row for each operation, grouped by family."""

from __future__ import annotations

from whence.why.opening import Rule
from whence.why.rules import (
    attention,
    attention_backward,
    elementwise,
    functions,
    indexing,
    loss,
    matmul,
    norm,
    optim,
    reductions,
    rnn,
    shape,
    sparse,
)

RULES: dict[str, Rule] = {
    **attention.RULES,
    **attention_backward.RULES,
    **elementwise.RULES,
    **functions.RULES,
    **indexing.RULES,
    **loss.RULES,
    **matmul.RULES,
    **norm.RULES,
    **optim.RULES,
    **reductions.RULES,
    **rnn.RULES,
    **shape.RULES,
    **sparse.RULES,
}

# What the arguments of a fused operation were when its rule was written.
SCHEMAS: dict[str, str] = {
    **attention.SCHEMAS,
    **attention_backward.SCHEMAS,
    **norm.SCHEMAS,
    **optim.SCHEMAS,
    **rnn.SCHEMAS,
}
