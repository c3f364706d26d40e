"""Which line, token or example most of a weight's gradient or update comes from, in a few words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from whence.errors import WhenceError
from whence.receipt.figures import percent
from whence.why.attribution.groups import attribution
from whence.why.receipts.update import Update

if TYPE_CHECKING:
    from whence.why.number import Number

_MOSTLY, _LARGEST = 0.5, 0.02


def source(number: Number) -> str:
    """Say where most of a weight's gradient or update comes from; "" where it isn't known."""
    name = number.address.partition("[")[0]
    own = name.removesuffix(".grad") in number.trace.parameters and number.address.endswith(".grad")
    if not (own or isinstance(number.ref, Update)):
        return ""
    labels = number.trace.labels
    examples = sum(part.layouts.examples for part in labels.parts)
    way = "where" if labels.where else "token" if labels.decode else "example"
    if way == "example" and examples < 2:
        return ""
    try:
        found = attribution(number, way)
    except WhenceError:  # nothing tells what is an example
        return ""
    real = [s for s in found.shares if not s.label.endswith(("(before this step)", "(old value)"))]
    whole = sum(abs(share.value) for share in real)
    if not real or not whole or not math.isfinite(whole) or real[0].label.startswith("("):
        return ""
    share = abs(real[0].value) / whole
    if share < _LARGEST:
        return ""
    name = real[0].label.partition(": ")[0] if way == "where" else real[0].label
    # Of an update the past comes from no line: what is shared out is this step's part of it.
    of = "this step's part" if isinstance(number.ref, Update) else "it"
    if share >= _MOSTLY:
        return f"most of {of} from {name}"
    return f"{percent(share)} of {of} from {name}"
