"""Dead units: a relu that is shut for every sample gets no gradient and never moves again."""

from collections.abc import Sequence
from typing import NamedTuple

from whence.receipt import Receipt, Term, added_up
from whence.scalar.matrix import Matrix

Rows = list[list[float]]


class Snapshot(NamedTuple):
    """What a network was at one moment, as plain numbers.

    Attributes:
        layers: weights and biases of each layer.
        inputs: what each layer read, `[samples, inputs]`.
        z: each layer's pre-activations, `[samples, units]`.
    """

    layers: list[tuple[Rows, Rows]]
    inputs: list[Rows]
    z: list[Rows]


def snapshot(
    layers: Sequence[tuple[Matrix, Matrix]], x: Matrix, pairs: Sequence[tuple[Matrix, Matrix]]
) -> Snapshot:
    """Keep a network's numbers: its layers, the samples and their (z, h) for each layer."""
    activations = [x, *(h for _, h in pairs[:-1])]
    return Snapshot(
        [(W.numbers(), b.numbers()) for W, b in layers],
        [h.numbers() for h in activations],
        [z.numbers() for z, _ in pairs],
    )


def dead_units(now: Snapshot) -> set[tuple[int, int]]:
    """Return (layer, unit) of every hidden unit whose pre-activation is ≤ 0 for every sample."""
    return {
        (k, j)
        for k, z in enumerate(now.z[:-1])
        for j in range(len(z[0]))
        if all(row[j] <= 0.0 for row in z)
    }


def cause(before: Snapshot, after: Snapshot, layer: int, unit: int) -> Receipt:
    """Return what shut a unit: the pre-activation of the sample that came closest to opening it.

    Its terms are the pre-activation before the update and what the update of each weight and of the
    bias added; the largest negative one is to blame.

    Args:
        before: the network just before the update.
        after: the network just after it.
        layer: which layer, from 0.
        unit: which unit of it, from 0.
    """
    shut = [row[unit] for row in after.z[layer]]
    k = max(range(len(shut)), key=shut.__getitem__)
    (W0, b0), (W1, b1) = before.layers[layer], after.layers[layer]
    h0, h1 = before.inputs[layer][k], after.inputs[layer][k]
    start = before.z[layer][k][unit]
    names = [
        f"{'x' if layer == 0 else f'h{layer}'}{f'[{i + 1}]' if len(h0) > 1 else ''}"
        for i in range(len(h0))
    ]
    units = len(b0[0])
    terms = [Term(f"pre-activation of sample {k + 1} before", start)]
    for i, name in enumerate(names):
        index = [str(n + 1) for n, size in ((i, len(h0)), (unit, units)) if size > 1]
        weight = f"w{layer + 1}" + (f"[{','.join(index)}]" if index else "")
        terms.append(
            Term(
                f"what the update of {weight} did: {weight} · {name}",
                W1[i][unit] * h1[i] - W0[i][unit] * h0[i],
                f"{W1[i][unit]:.6g} · {h1[i]:.6g} − {W0[i][unit]:.6g} · {h0[i]:.6g}",
                weight,
            )
        )
    bias = f"b{layer + 1}" + (f"[{unit + 1}]" if units > 1 else "")
    terms.append(
        Term(
            f"what the update of {bias} did",
            b1[0][unit] - b0[0][unit],
            f"{b1[0][unit]:.6g} − {b0[0][unit]:.6g}",
            bias,
        )
    )
    return added_up(
        f"z{layer + 1}" + (f"[{unit + 1}]" if units > 1 else ""),
        f"pre-activation at sample {k + 1} after the update",
        "what it was + what each update did",
        "",
        shut[k],
        terms,
    )


def culprit(receipt: Receipt) -> Term:
    """Return the term that pushed the pre-activation down most."""
    return min(receipt.terms[1:], key=lambda term: term.value)
