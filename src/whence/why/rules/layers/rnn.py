"""The fused LSTM layer: run again as its formula, in float64, from what was recorded.

    a = W·x[t] + b + U·h[t−1] + b′,   i, f, g, o = σ(a₁), σ(a₂), tanh(a₃), σ(a₄)
    c[t] = f·c[t−1] + i·g,   h[t] = o·tanh(c[t])

h[t−1] is the recorded output; the gates and c, which the kernel keeps to itself, are recomputed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whence.why.recording.nested import Nested, narrow
from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call, Op
from whence.why.rules import open as opener
from whence.why.rules.forms.given import constant
from whence.why.rules.forms.positions import column_values, coordinates
from whence.why.rules.opening import UNIT, Opened, Part, Rule

_NOTE = "gates and cells are recomputed: the fused kernel keeps neither"
_SAFETY = 16  # how far above the error of the formula in the kernel's own type the bound lies


Name = Callable[[str, Tensor], Tensor]


@dataclass(slots=True)
class Layer:
    """What the formula is given: lists have one entry for each step, in the order of reading.

    Attributes:
        x: inputs, each [B, I].
        before: hidden states before each step, each [B, H].
        c: the cell before the first step [B, H].
        weights: W [4H, I], U [4H, H], b and b′ [4H] (or no biases).
    """

    x: list[Tensor]
    before: list[Tensor]
    c: Tensor
    weights: list[Tensor]

    def to(self, dtype: torch.dtype) -> Layer:
        """Return the same in another type."""
        return Layer(
            [t.to(dtype) for t in self.x],
            [t.to(dtype) for t in self.before],
            self.c.to(dtype),
            [t.to(dtype) for t in self.weights],
        )


@dataclass(slots=True)
class Gates:
    """What the formula made at one step."""

    i: Tensor
    f: Tensor
    g: Tensor
    o: Tensor
    before: Tensor
    c: Tensor
    squashed: Tensor
    h: Tensor


def forward(layer: Layer, name: Name) -> list[Gates]:
    """Run the formula; `name` names what it makes."""
    w, u, *biases = layer.weights
    c, steps = layer.c, []
    for x, h in zip(layer.x, layer.before, strict=True):
        a = x @ w.T + h @ u.T
        if biases:
            a = a + biases[0] + biases[1]
        name("gates", a)
        i, f, g, o = a.chunk(4, 1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        new = f * c + i * g
        squashed = torch.tanh(new)
        h = o * squashed
        for word, tensor in (("i", i), ("f", f), ("g", g), ("o", o), ("cell", new),
                             ("squashed", squashed), ("h", h)):  # fmt: skip
            name(word, tensor)
        steps.append(Gates(i, f, g, o, c, new, squashed, h))
        c = new
    return steps


def backward(
    layer: Layer,
    steps: list[Gates],
    arriving: list[Tensor],
    dh: Tensor,
    dc: Tensor,
    name: Name,
) -> list[Tensor]:
    """Run the formula backwards: dx [T, B, I], dW, dU, db, db′, dh and dc before the first step."""
    w, u, *_ = layer.weights
    slopes: list[Tensor] = []
    for step, g in zip(reversed(steps), reversed(arriving), strict=True):
        dh = g + dh
        dc = dc + dh * step.o * (1 - step.squashed**2)
        da = torch.cat(
            [
                dc * step.g * (step.i * (1 - step.i)),
                dc * step.before * (step.f * (1 - step.f)),
                dc * step.i * (1 - step.g**2),
                dh * step.squashed * (step.o * (1 - step.o)),
            ],
            1,
        )
        slopes.append(name("gates.slope", da))  # `.grad` would ask for a gradient
        dh, dc = da @ u, dc * step.f
    slopes.reverse()
    da = name("gates.slope.stacked", torch.cat(slopes))  # [T·B, 4H]
    dx = torch.stack([slope @ w for slope in slopes])
    dw = da.T @ name("inputs.stacked", torch.cat(layer.x))
    du = da.T @ name("hidden.stacked", torch.cat(layer.before))
    db = da.sum(0)
    return [dx, dw, du, db, db, dh, dc]


class Run:
    """The formula of one fused layer, forward or backward, for one example or for all.

    Attributes:
        results: record of each of the fused operation's results, within the formula.
        errors: for each, how far the formula in the kernel's own type is from float64.
        reverse: the layer reads from the end.
        names: the record of each variable of the formula.
    """

    def __init__(self, op: Op, example: int | None, back: bool):
        values = op.call(0).values
        nested = Nested(op, "" if example is None else f"example{example}")
        self.names = nested.names
        self.reverse: bool = values["reverse"]
        x: Ref = values["input"]
        order = range(x.size[0])[:: -1 if self.reverse else 1]
        output: Ref = values["output"] if back else op.call(0).outputs[0]  # type: ignore[assignment]  # never left out

        def given(ref: Ref) -> Tensor:  # [.., B, ..] of the examples that are meant
            dim = len(ref.size) - 2
            return nested.given(ref if example is None else narrow(ref, dim, example))

        def at(ref: Ref, t: int) -> Tensor:
            return given(Ref(ref.version, ref.offset + t * ref.stride[0], ref.size[1:],
                             ref.stride[1:], ref.dtype))  # fmt: skip

        first = 1 if back else 0  # the backward pass counts its weights from 1
        several = 4 if values["has_biases"] else 2
        cell = "cx_tmp" if back else "cx_"
        layer = Layer(
            [at(x, t) for t in order],
            [given(values["hx_"]), *(at(output, t) for t in list(order)[:-1])],
            given(values[cell]),
            [nested.given(values[f"weight{first + i}"]) for i in range(several)],
        )
        arriving, ends = [], []
        if back:
            gradient: Ref | None = values["grad_output"]
            zero = torch.zeros_like(layer.c)
            arriving = [torch.zeros_like(zero) if gradient is None else at(gradient, t)
                        for t in order]  # fmt: skip
            ends = [zero if values[n] is None else given(values[n])
                    for n in ("grad_hy", "grad_cy")]  # fmt: skip
        with nested.recording():
            made = _formula(layer, back, arriving, ends, nested.name)
        kernel = x.dtype
        with torch.no_grad():
            rough = _formula(layer.to(kernel), back, [g.to(kernel) for g in arriving],
                             [e.to(kernel) for e in ends], lambda _, tensor: tensor)  # fmt: skip
        self.results = [nested.ref(tensor) for tensor in made]
        self.errors = [
            max(_largest(r.double() - m), UNIT[kernel] * _largest(m))
            for r, m in zip(rough, made, strict=True)
        ]
        self.steps = len(layer.x)


def _run(op: Op, example: int | None, back: bool) -> Run:
    return op.remember(f"layer {example}", lambda: Run(op, example, back))


def _inside(back: bool) -> Callable[[Op, str], dict[str, Ref]]:
    """Look into the run of the example that a name is of, or of the whole batch."""

    def named(op: Op, name: str) -> dict[str, Ref]:
        of_example = re.search(r"(?:^|\.)example(\d+)\.", name)
        example = None if of_example is None else int(of_example[1])
        there = example is None or example < op.call(0)["input"].size[1]
        return _run(op, example, back).names if there else {}

    return named


def _largest(tensor: Tensor) -> float:
    """The largest of the finite elements: how far one may be off says nothing of NaN."""
    return float(tensor.abs().nan_to_num(0.0, 0.0, 0.0).max())


def _formula(
    layer: Layer, back: bool, arriving: list[Tensor], ends: list[Tensor], name: Name
) -> list[Tensor]:
    """Return the results of the fused operation, as its formula makes them."""
    steps = forward(layer, name)
    if back:
        return backward(layer, steps, arriving, ends[0], ends[1], name)
    return [torch.stack([s.h for s in steps]), steps[-1].h, steps[-1].c]


def _layer(back: bool, by_example: tuple[int, ...], over_time: tuple[int, ...]) -> Rule:
    """Make the rule of the fused layer.

    Args:
        back: the backward pass.
        by_example: the results whose last dimension but one runs over examples.
        over_time: those whose first dimension runs over time.
    """

    def opened(call: Call, at: Index) -> Opened:
        slot, size = call.slot, call.output.size
        if slot > (6 if back else 2):
            return constant("what the kernel keeps for its backward pass")(call, at)
        where = coordinates(at, size)
        per_example = slot in by_example
        examples = where[-2] if per_example else np.zeros(len(at), dtype=np.int64) - 1
        value, slack, magnitude = np.empty(len(at)), np.empty(len(at)), np.empty(len(at))
        single: Opened | None = None
        for example in np.unique(examples):
            key = int(example) if per_example else None
            run = _run(call.op, key, back)
            some = examples == example
            here = [c[some] for c in where]
            if per_example:
                here[-2] = np.zeros_like(here[-2])
            if slot in over_time and run.reverse:
                here[0] = run.steps - 1 - here[0]
            ref = run.results[slot]
            inside = np.ravel_multi_index(here, ref.size)
            value[some] = ref.gather(inside)
            slack[some] = _SAFETY * run.errors[slot]
            magnitude[some] = _magnitude(ref, inside)
            if some.all():
                single = _together(ref, inside)
        if single is not None:
            single.absolute, single.recomputed, single.exact = slack, True, False
            single.notes = [*single.notes, _NOTE]
            return single
        part = Part("the layer's formula", value=column_values(value))
        return Opened(
            "the layer's formula",
            [part],
            absolute=slack,
            recomputed=True,
            magnitude=magnitude,
            notes=[_NOTE],
        )

    return opened


def _together(ref: Ref, at: Index) -> Opened | None:
    """Open elements of one of the formula's results, where one operation made all of them."""
    if len(at) == 1:
        return opener.open_element(ref, int(at[0]))[0]
    several = ref.writers(at)
    (op, slot, where, which), *others = several
    if op is None or others or op.name not in opener.RULES:
        return None
    return opener.open_call(op.call(slot), where[np.argsort(which)])


def _magnitude(ref: Ref, at: Index) -> np.ndarray:
    """Σ|terms| of elements of the formula's results."""
    size = np.empty(len(at))
    for op, slot, where, which in ref.writers(at):
        opened = None if op is None else opener.open_call(op.call(slot), where)
        size[which] = (
            np.abs(ref.gather(at[which])) if opened is None else opened.total(len(where))[1]
        )
    return size


RULES: dict[str, Rule] = {
    "mkldnn_rnn_layer": _layer(back=False, by_example=(0, 1, 2), over_time=(0,)),
    "mkldnn_rnn_layer_backward": _layer(back=True, by_example=(0, 5, 6), over_time=(0,)),
}
INSIDES = {
    "mkldnn_rnn_layer": _inside(back=False),
    "mkldnn_rnn_layer_backward": _inside(back=True),
}

SCHEMAS = {
    "mkldnn_rnn_layer": (
        "(Tensor input, Tensor weight0, Tensor weight1, Tensor weight2, Tensor weight3, "
        "Tensor hx_, Tensor cx_, bool reverse, int[] batch_sizes, int mode, int hidden_size, "
        "int num_layers, bool has_biases, bool bidirectional, bool batch_first, bool train) -> "
        "(Tensor, Tensor, Tensor, Tensor)"
    ),
    "mkldnn_rnn_layer_backward": (
        "(Tensor input, Tensor weight1, Tensor weight2, Tensor weight3, Tensor weight4, "
        "Tensor hx_, Tensor cx_tmp, Tensor output, Tensor hy_, Tensor cy_, Tensor? grad_output, "
        "Tensor? grad_hy, Tensor? grad_cy, bool reverse, int mode, int hidden_size, "
        "int num_layers, bool has_biases, bool train, bool bidirectional, int[] batch_sizes, "
        "bool batch_first, Tensor workspace) -> "
        "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
    ),
}
