"""Opening elements of a recorded tensor by the rule of the operation that wrote them."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from whence.errors import WhenceError
from whence.why.recording.plain import Opaque
from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call, Op, flatten
from whence.why.rules.opening import Cells, Derived, Factor, Opened, Part, Rule
from whence.why.rules.reinterpreted import reinterpreted

# Filled by `whence.why.rules.table`, which imports every family. It stands above this file, since
# some families open the numbers of formulas of their own.
RULES: dict[str, Rule] = {}
SCHEMAS: dict[str, str] = {}
# What the formula of a fused operation names on the way; the name that is looked for is given.
INSIDES: dict[str, Callable[[Op, str], dict[str, Ref]]] = {}


def open_call(call: Call, at: Index) -> Opened | None:
    """Open some elements of a call's output; `None` where the operation has no rule.

    Args:
        call: the operation.
        at: [m] logical positions in its output.

    Raises:
        WhenceError: the operation's arguments are not those that its rule was written for.
    """
    rule = RULES.get(call.name)
    if rule is None or reads_opaque(call):
        return None
    written_for = SCHEMAS.get(call.name)
    if written_for is not None:
        schema = str(call.op.func._schema)
        now = schema[schema.index("(") :]
        if now != written_for:
            raise WhenceError(
                f"The rule of {call.name} was written for arguments {written_for}, but this "
                f"version of torch has {now}: its numbers cannot be opened."
            )
    with np.errstate(all="ignore"):  # NaN and infinities are numbers like others
        return rule(call, np.asarray(at, dtype=np.int64))


def reads_opaque(call: Call) -> list[Opaque]:
    """List the tensors among a call's arguments that can't be read."""
    return flatten(list(call.values.values()), Opaque)


def open_element(cells: Cells, at: int) -> tuple[Opened | None, Call | None]:
    """Open one element of a tensor, wherever in the step its storage was written.

    Returns:
        The opened element and the call that made it; without a call, it was given to it.
    """
    if not isinstance(cells, Ref):
        derived = cast(Derived, cells)
        return derived.open(np.array([at])), derived.call
    other = reinterpreted(cells, np.array([at]))
    if other is not None:
        return other, None
    ((op, slot, where, _),) = cells.writers(np.array([at]))
    original = cells.version.stands_for
    if op is None and original is not None:
        return open_element(original, int(where[0]))
    if op is None:
        factor = Factor(cells, np.array([[at]]))
        part = Part("x", value=factor.values)
        return Opened("given: nothing in this step made it", [part], exact=True), None
    call = op.call(slot)
    return open_call(call, where), call
