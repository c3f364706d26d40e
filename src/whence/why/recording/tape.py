"""Operations as they were recorded, and the same seen one tensor at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from whence.why.recording.storage import Ref


@dataclass(slots=True, eq=False)
class Op:
    """One recorded operation.

    Attributes:
        ordinal: its place in the step, from 0; what stands for a fused operation's inner workings
            lies in between.
        func: the operation itself, an `OpOverload` of torch.
        args: its arguments, with a `Ref` in place of each tensor.
        kwargs: the same for those given by name.
        outputs: the tensors it made, then those it wrote; `None` for one it left out.
        alias: whether its output is its input's memory seen in another shape.
        module: path of the module that ran, "" outside of any.
        phase: "forward", "backward" or "update".
        sequence: number of its node in the autograd graph, −1 without one.
        node: in the backward pass, the number of the node that ran.
        carries: it works on a gradient that came back from the loss.
        forward: in the backward pass, the operation whose gradient is worked out.
        fixed: it works on parameters alone, as a cast or a merge of weights does.
        run: 1 for the first of its kind in its module, 2 for the next; in the backward pass, that
            of the operation whose gradient is worked out.
    """

    ordinal: float
    func: Any
    args: tuple
    kwargs: dict[str, Any]
    outputs: list[Ref | None] = field(default_factory=list)
    alias: bool = False
    module: str = ""
    phase: str = "forward"
    sequence: int = -1
    node: int = -1
    carries: bool = False
    forward: Op | None = None
    fixed: bool = False
    run: int = 1
    _memory: dict[str, Any] = field(default_factory=dict)

    def remember(self, key: str, make: Callable[[], Any]) -> Any:
        """Return what was worked out for this operation before, or work it out now."""
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]

    @property
    def name(self) -> str:
        """The operation's name without namespace, overload or trailing underscore (`add`)."""
        return plain_name(self.func)

    def call(self, slot: int) -> Call:
        """See the operation as the one that made the output at `slot`."""
        return Call.of(self, slot)

    @property
    def grouped(self) -> bool:
        """Whether it does to each tensor of its lists what another operation does to one."""
        several = bool(self.args) and isinstance(self.args[0], list | tuple)
        return several and self.name.startswith(("_foreach_", "_fused_", "_amp_foreach_"))

    def calls(self) -> list[Call]:
        """See the operation as what it did to single tensors: one call, or one for each."""
        if not self.outputs:
            return []
        if not self.grouped:
            return [self.call(0)]
        count = len(self.args[0])
        apart = self.outputs[count : count + 1] if self.name.startswith("_amp") else []
        return [self.call(slot) for slot in range(count + len(apart))]


@functools.cache
def plain_name(func: Any) -> str:
    """`aten::_foreach_add_.List` → `_foreach_add`."""
    name = func._schema.name.rpartition("::")[2]
    return name if name.startswith("__") else name.rstrip("_")


@dataclass(slots=True)
class Call:
    """An operation on single tensors: what a rule is written for.

    A `_foreach` operation is one call for each tensor of its lists, so `_foreach_add` needs no
    rule beside that of `add`.

    Attributes:
        op: the recorded operation.
        name: what the rule is looked up by.
        slot: which of the call's outputs is meant.
        values: its arguments by name, defaults filled in.
        outputs: the call's outputs.
    """

    op: Op
    name: str
    slot: int
    values: dict[str, Any]
    outputs: list[Ref | None]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument, or `default` where the overload has none of that name."""
        return self.values.get(name, default)

    @property
    def output(self) -> Ref:
        """The output that is meant."""
        output = self.outputs[self.slot]
        assert output is not None
        return output

    @classmethod
    def of(cls, op: Op, slot: int) -> Call:
        """See `op` as the call that made its output at `slot`."""
        values = arguments(op)
        if not op.grouped:
            return cls(op, op.name, slot, values, op.outputs)
        lists = {k: v for k, v in values.items() if isinstance(v, list | tuple) and v}
        count = len(values["self"])
        if op.name.startswith("_amp_foreach_"):  # beside the gradients, one flag for all of them
            if slot < count:
                return cls(
                    op, op.name, 0, {**values, "self": values["self"][slot]}, [op.outputs[slot]]
                )
            return cls(op, op.name, 0, values, op.outputs[count:])
        place = slot % count
        one = {k: v[place] if k in lists and len(v) == count else v for k, v in values.items()}
        outputs = op.outputs[place::count]
        name = op.name.removeprefix("_foreach_")
        for theirs, ours in _SPELLINGS.get(name, _OTHER).items():
            if theirs in one:
                one[ours] = one.pop(theirs)
        return cls(
            op, "linalg_vector_norm" if name == "norm" else name, slot // count, one, outputs
        )


# How `_foreach` operations spell the arguments of the operation on one tensor.
_OTHER = {"scalar": "other", "scalars": "other"}
_SPELLINGS = {
    "addcmul": {"scalars": "value"},
    "addcdiv": {"scalars": "value"},
    "lerp": {"tensors1": "end", "weights": "weight", "scalars": "weight"},
    "norm": {},
    "clamp_max": {"scalar": "max", "scalars": "max", "other": "max"},
    "clamp_min": {"scalar": "min", "scalars": "min", "other": "min"},
    "pow": {"scalar": "exponent"},
}


def arguments(op: Op) -> dict[str, Any]:
    """Name an operation's arguments by its schema, with the defaults filled in."""
    values: dict[str, Any] = {}
    for i, argument in enumerate(op.func._schema.arguments):
        if i < len(op.args):
            values[argument.name] = op.args[i]
        elif argument.name in op.kwargs:
            values[argument.name] = op.kwargs[argument.name]
        elif argument.has_default_value():
            values[argument.name] = argument.default_value
        else:
            values[argument.name] = None
    return values


# In-place operations that write no number: they only change how the memory is seen.
_RESHAPES = {
    "transpose",
    "t",
    "squeeze",
    "unsqueeze",
    "as_strided",
    "detach",
    "swapdims",
    "swapaxes",
}


# What an operation writes although its schema doesn't say so.
_UNSAID = {"native_batch_norm": ("running_mean", "running_var")}


@functools.cache
def written(func: Any, scaled: bool = False) -> tuple[tuple[int, str], ...]:
    """Tell which arguments an operation writes: (position, name) of each.

    Args:
        func: the operation.
        scaled: a fused optimizer was given the scale of its gradients.
    """
    schema = func._schema
    # The fused optimizers say that they write the gradients, but do so only to unscale them.
    spared = {"grads"} if plain_name(func).startswith("_fused_") and not scaled else set()
    if plain_name(func) in _RESHAPES:
        return ()
    unsaid = _UNSAID.get(plain_name(func), ())
    return tuple(
        (i, a.name)
        for i, a in enumerate(schema.arguments)
        if a.name in unsaid
        or (a.alias_info is not None and a.alias_info.is_write and a.name not in spared)
    )


@functools.cache
def fresh(func: Any) -> tuple[bool, ...]:
    """Tell for each result whether it is new, rather than an argument that was written."""
    return tuple(r.alias_info is None or not r.alias_info.is_write for r in func._schema.returns)


def replace(value: Any, kind: type[Any], make: Callable[[Any], Any]) -> Any:
    """Replace everything of one type in nested tuples, lists and dicts."""
    if isinstance(value, kind):
        return make(value)
    if isinstance(value, list | tuple):
        return type(value)([replace(v, kind, make) for v in value])
    if isinstance(value, dict):
        return {k: replace(v, kind, make) for k, v in value.items()}
    return value


def flatten(value: Any, kind: type | tuple[type, ...]) -> list[Any]:
    """List everything of one type in nested tuples and lists, in order."""
    if isinstance(value, kind):
        return [value]
    if isinstance(value, list | tuple):
        return [found for v in value for found in flatten(v, kind)]
    return []
