"""Complex numbers: made of two real ones, and taken apart again."""

from __future__ import annotations

import numpy as np

from whence.why.recording.storage import Index
from whence.why.recording.tape import Call
from whence.why.rules.elements import functions
from whence.why.rules.forms.positions import broadcast, column
from whence.why.rules.forms.rerun import elementwise
from whence.why.rules.opening import Factor, Opened, Part, Rule


def made(call: Call, at: Index) -> Opened:
    """Open x + i·y."""
    x, y = (
        Factor(call[n], column(broadcast(at, call.output.size, call[n])), s)
        for n, s in (("real", "x"), ("imag", "y"))
    )
    return Opened("x + i·y", [Part("x", (x,)), Part("i·y", (y,), np.array(1j))], roundings=0)


def by_type(real: Rule, other: Rule) -> Rule:
    """Make the rule of an operation that rounds complex numbers, but not real ones."""

    def opened(call: Call, at: Index) -> Opened:
        return (other if call["self"].dtype.is_complex else real)(call, at)

    return opened


RULES: dict[str, Rule] = {
    "abs": by_type(functions.RULES["abs"], elementwise("|z|")),
    "sgn": by_type(functions.RULES["sgn"], elementwise("z/|z|")),
    "complex": made,
    "polar": elementwise("r·e^iφ", roundings=8),
    "angle": elementwise("arg z", roundings=8),
    "conj_physical": elementwise("z̄", exact=True),
    "_conj_physical": elementwise("z̄", exact=True),
}
