"""The form of rules for kernels that do many operations in one: their formula, recorded itself.

The formula is run in float64 on what the kernel was given. Its own operations are recorded and
have names, so a number of the kernel opens into the formula's last operation, and that further.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whence.why.recording.nested import Nested
from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call, Op, replace
from whence.why.rules import open as opener
from whence.why.rules.forms.positions import column_values
from whence.why.rules.opening import UNIT, Opened, Part, Rule

Name = Callable[[str, Tensor], Tensor]
# A kernel's arguments, and what names the formula's variables → its results.
Formula = Callable[[dict[str, Any], Name], list[Tensor]]

_NOTE = "recomputed: the kernel keeps none of the numbers on the way"
_SAFETY = 4  # how far above the error of the formula in the kernel's own type the bound lies


class _Run:
    """The formula of one call, run once.

    Attributes:
        results: record of each of the results, within the formula.
        errors: for each, how far the formula in the kernel's own type is from float64.
        names: the record of each variable of the formula.
    """

    def __init__(self, op: Op, formula: Formula):
        nested = Nested(op)
        self.names = nested.names
        values = op.call(0).values
        wide = replace(values, Ref, nested.given)
        with nested.recording():
            made = formula(wide, nested.name)
        with torch.no_grad():
            rough = formula(replace(values, Ref, lambda ref: ref.tensor()), lambda _, x: x)
        self.results = [nested.ref(tensor) for tensor in made]
        self.errors = [
            max(_largest(narrow.double() - one), UNIT.get(narrow.dtype, 0.0) * _largest(one))
            for narrow, one in zip(rough, made, strict=True)
        ]


def _run(op: Op, formula: Formula) -> _Run:
    return op.remember("formula", lambda: _Run(op, formula))


def inside(formula: Formula) -> Callable[[Op, str], dict[str, Ref]]:
    """Make what finds the variables of a kernel's formula by their names."""
    return lambda op, name: _run(op, formula).names


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().nan_to_num(0.0, 0.0, 0.0).max()) if tensor.numel() else 0.0


def recorded(words: str, formula: Formula) -> Rule:
    """Make the rule of a kernel from its formula.

    Args:
        words: the formula in symbols.
        formula: computes all of the kernel's results.
    """

    def opened(call: Call, at: Index) -> Opened:
        run = _run(call.op, formula)
        ref, slack = run.results[call.slot], _SAFETY * run.errors[call.slot]
        if len(at) == 1:
            single, _ = opener.open_element(ref, int(at[0]))
            if single is not None:
                single.absolute, single.recomputed, single.exact = slack, True, False
                single.notes = [*single.notes, _NOTE]
                return single
        value = ref.gather(np.asarray(at))
        return Opened(
            words,
            [Part(words, value=column_values(value))],
            absolute=slack,
            recomputed=True,
            notes=[_NOTE],
        )

    return opened
