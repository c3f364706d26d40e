"""A network worked by hand: every number of a step as a line that a reader can check."""

from collections.abc import Sequence

from whence.scalar.explain import uses
from whence.scalar.matrix import Matrix
from whence.scalar.value import Value

Layers = Sequence[tuple[Matrix, Matrix]]


def figure(x: float) -> str:
    """Return a number in at most six digits, in brackets where it is negative."""
    text = f"{x:.6g}"
    return f"({text})" if x < 0 else text


def _subscript(rows: int, columns: int, i: int, j: int) -> str:
    """Return the index of an element, without the dimensions that hold one element only."""
    index = [str(k + 1) for size, k in ((rows, i), (columns, j)) if size > 1]
    return f"[{','.join(index)}]" if index else ""


def name_elements(m: Matrix, name: str) -> None:
    """Label a matrix's elements `name`, `name[i]` or `name[i,j]`, counted from 1."""
    for i, row in enumerate(m.rows):
        for j, v in enumerate(row):
            v.label = name + _subscript(*m.shape, i, j)


def name_parameters(layers: Layers) -> None:
    """Label the weights of layer k `wk` (input, unit) and its biases `bk` (unit)."""
    for k, (W, b) in enumerate(layers, start=1):
        name_elements(W, f"w{k}")
        name_elements(b, f"b{k}")


def name_step(x: Matrix, pairs: Sequence[tuple[Matrix, Matrix]], loss: Value) -> None:
    """Label a step's inputs `x`, pre-activations `zk`, activations `hk`, predictions and loss."""
    name_elements(x, "x")
    for k, (z, h) in enumerate(pairs, start=1):
        last = k == len(pairs)
        name_elements(z, "ŷ" if last else f"z{k}")
        if not last:
            name_elements(h, f"h{k}")
    loss.label = "loss"


def forward_lines(
    pairs: Sequence[tuple[Matrix, Matrix]], y: Matrix, loss: Value, activation: str
) -> list[str]:
    """Return each pre-activation, activation, prediction and the loss with their arithmetic."""
    lines = []
    for k, (z, h) in enumerate(pairs, start=1):
        for a, b in zip(z.values(), h.values(), strict=True):
            lines.append(value_line(a))
            if k < len(pairs):
                lines.append(
                    f"{b.label} = {activation}({a.label}) = {activation}({a.data:.6g})"
                    f" = {figure(b.data)}"
                )
    errors = " + ".join(
        f"({p.data:.6g} − {t.data:.6g})²"
        for p, t in zip(pairs[-1][1].values(), y.values(), strict=True)
    )
    n = y.shape[0]
    over = "2" if n == 1 else f"(2 · {n})"
    bracketed = f"[{errors}]" if " + " in errors else errors
    lines.append(f"loss = {bracketed} / {over} = {loss.data:.6g}")
    return lines


def value_line(v: Value) -> str:
    """Return a number's formula, in symbols and in figures.

    Example:
        >>> value_line(Value(2, label="w") * 3)
        'v = w · 3.0 = 2 · 3 = 6'
    """
    receipt = v.why()
    said = f"{receipt.address} = {receipt.symbols}"
    return f"{said} = {_numbers(receipt.numbers)} = {figure(v.data)}"


def _numbers(text: str) -> str:
    """Return the right side of a receipt's figures, each cut to six digits."""
    right = text.split(" = ", 1)[-1]
    words = right.replace("(", "( ").replace(")", " )").split(" ")
    return " ".join(_short(word) for word in words).replace("( ", "(").replace(" )", ")")


def _short(word: str) -> str:
    try:
        return f"{float(word):.6g}"
    except ValueError:
        return word


def backward_lines(
    pairs: Sequence[tuple[Matrix, Matrix]], layers: Layers, loss: Value
) -> list[str]:
    """Return the chain rule step by step, from the predictions back to the first layer.

    Each line is arriving gradient · local slope, summed over the places where a number was used.
    """
    lines = [f"∂loss/∂{p.label} = {figure(p.grad)}" for p in pairs[-1][1].values()]
    for k in range(len(pairs) - 1, -1, -1):
        W, b = layers[k]
        lines += [chain_line(p, loss) for p in (*W.values(), *b.values())]
        if k:
            z, h = pairs[k - 1]
            lines += [
                chain_line(v, loss)
                for pair in zip(h.values(), z.values(), strict=True)
                for v in pair
            ]
    return lines


def chain_line(v: Value, loss: Value) -> str:
    """Return ∂loss/∂v as arriving gradient · local slope, summed over the places of use."""
    places = uses(v, loss)
    if not places:
        return f"∂loss/∂{v.label} = 0"
    figures = " + ".join(f"{figure(use.arriving)} · {figure(use.slope)}" for use in places[:4])
    more = f" + … ({len(places)} terms)" if len(places) > 4 else ""
    return f"∂loss/∂{v.label} = {figures}{more} = {figure(v.grad)}"


def update_lines(layers: Layers, before: Sequence[float], learning_rate: float) -> list[str]:
    """Return p ← p − rate · gradient for every parameter, with the figures."""
    values = [v for layer in layers for m in layer for v in m.values()]
    return [
        f"{p.label} ← {figure(old)} − {learning_rate:g} · {figure(p.grad)} = {figure(p.data)}"
        for p, old in zip(values, before, strict=True)
    ]
