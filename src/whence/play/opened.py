"""The coming step of a play session, opened: value by value, slope by slope, update by update."""

from dataclasses import replace
from math import sqrt
from typing import Any, NamedTuple

from whence.errors import WhenceError
from whence.play.session import Session, copied
from whence.receipt import Receipt, Term, added_up
from whence.receipt.sentence import said
from whence.scalar import Adam, Value
from whence.scalar.explain import uses
from whence.scalar.hand import chain_line, figure, name_step, value_line
from whence.scalar.ops import SUM


class Operation(NamedTuple):
    """One operation of a step.

    Attributes:
        phase: `forward`, `backward` or `update`.
        name: the number that it makes, or moves.
    """

    phase: str
    name: str


class Opened:
    """The step that a session is about to do, as a graph of `Value`s with the trained bits.

    Args:
        session: at some step; it stays there.
        example: which sample of the batch is followed, from 0.

    Raises:
        WhenceError: where the batch has no such sample.

    Example:
        >>> from whence.play import Session, setup
        >>> opened = Opened(Session(setup("one")))
        >>> opened.line(opened.operations[0])
        'z1 = x · w1 + b1 = 2 · 2 − 3 = 1'
        >>> opened.receipt("w1", "gradient").value
        -6.0
    """

    def __init__(self, session: Session, example: int = 0) -> None:
        self.session = session
        self.chosen = session.chosen(session.step)
        if not 0 <= example < len(self.chosen):
            raise WhenceError(
                f"example is {example}: the batch of this step has 0 to {len(self.chosen) - 1}."
            )
        self.example = example
        model, part = session.model, session.batch(session.step)
        self.inputs = part[0]
        self.pairs = model.trace(part[0])
        self.loss: Value = session.loss(lambda _: self.pairs[-1][1], part)
        name_step(part[0], self.pairs, self.loss)
        self.total = _name_losses(self.loss)
        for p in session.parameters:
            p.grad = 0.0
        self.loss.backward()
        self.named = {v.label or "": v for v in self._all()}
        self._inside = {
            id(v.inputs[0]): v.label for z, _ in self.pairs for v in z.values() if v.inputs
        }
        self.operations = self._order()
        self._before = [p.data for p in session.parameters]
        self._optimizer = dict(vars(session.optimizer))
        self.after = self._peek()

    def _all(self) -> list[Value]:
        hidden = [v for z, h in self.pairs for m in (z, h) for v in m.values()]
        losses = [self.total, *self.total.inputs]
        named = [*self.session.parameters, *self.inputs.values(), *hidden, *losses, self.loss]
        return [v for v in named if v.label]

    def row(self, matrix: Any) -> list[Value]:
        """Return the followed sample's row of a matrix."""
        return matrix.rows[self.example]

    def _order(self) -> list[Operation]:
        """Forward along the followed sample, back from the loss, then every update."""
        forward, back = [], []
        last = len(self.pairs) - 1
        for k, (z, h) in enumerate(self.pairs):
            forward += [Operation("forward", v.label or "") for v in self.row(z)]
            if k < last:
                forward += [Operation("forward", v.label or "") for v in self.row(h)]
        for k in range(last, -1, -1):
            z, h = self.pairs[k]
            hidden = [] if k == last else [*self.row(h)]
            layer = [v for m in self.session.model.layers[k] for v in m.values()]
            back += [Operation("backward", v.label or "") for v in [*hidden, *self.row(z), *layer]]
        updates = [Operation("update", p.label or "") for p in self.session.parameters]
        return [*forward, Operation("forward", "loss"), *back, *updates]

    def _peek(self) -> dict[str, float]:
        """Let the optimizer step, note where it went, and put everything back."""
        s, o = self.session, self.session.optimizer
        kept = copied(vars(o))
        o.step()
        after = {p.label or "": p.data for p in s.parameters}
        self._stepped = copied(vars(o))
        vars(o).update(kept)
        for p, x in zip(s.parameters, self._before, strict=True):
            p.data = x
        return after

    def line(self, operation: Operation) -> str:
        """Return an operation in symbols and in figures."""
        v = self.named[operation.name]
        if operation.phase == "update":
            receipt = self.receipt(operation.name, "update")
            return f"{receipt.symbols} = {receipt.numbers} = {figure(receipt.value)}"
        if operation.phase == "backward":
            return chain_line(v, self.loss)
        if v is self.loss:
            return f"loss = {self.session.formula} = {figure(v.data)}"
        return value_line(v)

    def receipts(self, name: str) -> list[Receipt]:
        """Return all receipts of a number: its value, its gradient and its update.

        Raises:
            WhenceError: where there is no such number.
        """
        if name not in self.named:
            raise WhenceError(f"there is no number {name[:40]!r} in this step.")
        if name in self.after:
            return [self.receipt(name, "update"), self.receipt(name, "gradient")]
        if name.startswith("x"):
            return [self.receipt(name, "value")]
        if name == "loss":
            return [self.receipt(name, "value"), self.total.why()]
        return [self.receipt(name, "value"), self.receipt(name, "gradient")]

    def receipt(self, name: str, what: str) -> Receipt:
        """Return one receipt of a number.

        Args:
            name: as in `named`.
            what: `value`, `gradient` of the loss, or `update` of a weight.
        """
        v = self.named[name]
        if what == "value":
            return self._value(v)
        return self._gradient(v) if what == "gradient" else self._update(name)

    def _value(self, v: Value) -> Receipt:
        """The library's receipt; of z = x · w + b each product is a term, added in their order."""
        receipt = v.why()
        if id(v.inputs[0] if v.inputs else None) not in self._inside:
            return receipt
        terms = [*v.inputs[0].why().terms, receipt.terms[-1]]
        return added_up(
            receipt.address, "value", receipt.symbols, receipt.numbers, v.data, terms,
            sentence=said(terms),
        )  # fmt: skip

    def _gradient(self, v: Value) -> Receipt:
        """The library's receipt, its terms named after the pre-activations that used the number.

        z = x · w + b is a product and a sum; the product's slope is the sum's, as its own is 1.
        """
        receipt = v.why(of=self.loss)
        if not receipt.terms:
            return receipt
        called = v.label or ""
        terms = []
        for use, term in zip(uses(v, self.loss), receipt.terms, strict=True):
            z = use.by.label or self._inside.get(id(use.by))
            if z:
                label = f"∂loss/∂{z} · ∂{z}/∂{called}"
                term = replace(term, label=label, address=z)
            terms.append(term)
        n = len(terms)
        numbers = receipt.numbers if n < 4 else f"the {n} terms below"
        return replace(receipt, terms=tuple(terms), numbers=numbers, sentence=said(terms))

    def _update(self, name: str) -> Receipt:
        i = next(k for k, p in enumerate(self.session.parameters) if p.label == name)
        p, old, new = self.session.parameters[i], self._before[i], self.after[name]
        o, rate = self.session.optimizer, self.session.optimizer.learning_rate
        terms = [Term(f"{name} before", old)]
        notes: list[str] = []
        if isinstance(o, Adam):
            m, v, t = self._stepped["m"][i], self._stepped["v"][i], self._stepped["t"]
            m_hat, v_hat = m / (1.0 - o.beta1**t), v / (1.0 - o.beta2**t)
            symbols = "rate · m̂ / (√v̂ + ε)"
            numbers = f"{rate:.6g} · {figure(m_hat)} / (√{v_hat:.6g} + {o.epsilon:g})"
            move = -rate * m_hat / (sqrt(v_hat) + o.epsilon)
            terms.append(Term(f"−{symbols}", move, f"−{numbers}"))
            notes.append(f"m̂ and v̂ are means of gradients and of their squares; t = {t}")
        elif o.momentum:
            before = self._optimizer["velocity"][i]
            symbols = "rate · (0.9 · velocity + gradient)"
            numbers = f"{rate:.6g} · ({o.momentum:g} · {figure(before)} + {figure(p.grad)})"
            terms += [
                Term(
                    "−rate · 0.9 · velocity",
                    -rate * (o.momentum * before),
                    f"−{rate:.6g} · {o.momentum:g} · {figure(before)}",
                ),
                Term(
                    f"−rate · ∂loss/∂{name}",
                    -rate * p.grad,
                    f"−{rate:.6g} · {figure(p.grad)}",
                    name,
                ),
            ]
        else:
            symbols, numbers = f"rate · ∂loss/∂{name}", f"{rate:.6g} · {figure(p.grad)}"
            terms.append(Term(f"−{symbols}", -rate * p.grad, f"−{numbers}", name))
        made = added_up(
            name,
            "update",
            f"{name} − {symbols}",
            f"{figure(old)} − {numbers}",
            new,
            terms,
            notes=notes,
            sentence=f"{name} moved {new - old:+.3g}",
        )
        return replace(made, bound=2 * made.bound)


def _name_losses(loss: Value) -> Value:
    """Label the samples' losses `loss[i]` and their sum `Σ`; return what the loss divides by n."""
    total = loss.inputs[0]
    if total.op is SUM and len(total.inputs) > 1:
        total.label = "Σ"
        for i, v in enumerate(total.inputs, start=1):
            v.label = f"loss[{i}]"
    else:
        total.label = "loss[1]"
    return total
