"""The table of rules: one row for each operation, grouped by family."""

from __future__ import annotations

from whence.why.rules.elements import (
    complexes,
    curves,
    elementwise,
    functions,
    scaling,
    spectra,
)
from whence.why.rules.layers import (
    attention,
    attention_backward,
    bags,
    convolution,
    encoder,
    gates,
    norm,
    resizing,
    rnn,
    sampling,
    sets,
    undecomposed,
)
from whence.why.rules.open import INSIDES, RULES, SCHEMAS
from whence.why.rules.tensors import (
    indexing,
    matmul,
    matrices,
    reductions,
    scans,
    scattering,
    shape,
    sorting,
    sparse,
)
from whence.why.rules.training import (
    loss,
    margins,
    optim,
)

RULES |= {
    **attention.RULES,
    **attention_backward.RULES,
    **bags.RULES,
    **convolution.RULES,
    **curves.RULES,
    **encoder.RULES,
    **elementwise.RULES,
    **functions.RULES,
    **complexes.RULES,
    **gates.RULES,
    **indexing.RULES,
    **loss.RULES,
    **margins.RULES,
    **matmul.RULES,
    **matrices.RULES,
    **norm.RULES,
    **optim.RULES,
    **reductions.RULES,
    **resizing.RULES,
    **rnn.RULES,
    **sampling.RULES,
    **scaling.RULES,
    **scans.RULES,
    **scattering.RULES,
    **sets.RULES,
    **shape.RULES,
    **sorting.RULES,
    **sparse.RULES,
    **spectra.RULES,
    **undecomposed.RULES,
}

INSIDES |= {**encoder.INSIDES, **rnn.INSIDES}

# What the arguments of a fused operation were when its rule was written.
SCHEMAS |= {
    **attention.SCHEMAS,
    **attention_backward.SCHEMAS,
    **encoder.SCHEMAS,
    **norm.SCHEMAS,
    **optim.SCHEMAS,
    **rnn.SCHEMAS,
}
