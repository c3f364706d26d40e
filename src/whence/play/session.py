"""A play session: its state is a pure function of the setup, the edits and the number of steps."""

import math
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from whence.data.made.points import SHAPES
from whence.errors import WhenceError
from whence.models.small.line import squared_error
from whence.models.small.mlp import MLP, half_squared_error
from whence.play.setup import Setup, order, samples, setup, weights
from whence.receipt import Receipt
from whence.scalar import SGD, Adam, Matrix, NotFiniteWarning, binary_cross_entropy, total
from whence.scalar.dead import cause, culprit, dead_units, snapshot
from whence.scalar.hand import name_parameters
from whence.scalar.matrix import values_of
from whence.train.loop import train

STEPS = 20_000
KEEP = 50  # a snapshot every so many steps


class Edit(NamedTuple):
    """A number typed in: from `step` on, `name` (a weight, or `rate`) is `value`.

    Attributes:
        step: how many steps are done before it.
        name: a weight, such as `w1[1,2]`, or `rate`.
        value: what it becomes.

    Example:
        >>> str(Edit(3, "rate", 0.5))
        '3:rate=0.5'
    """

    step: int
    name: str
    value: float

    def __str__(self) -> str:
        return f"{self.step}:{self.name}={self.value!r}"


def read_edit(text: str) -> Edit:
    """Read an edit, as `str(edit)` writes it.

    Raises:
        WhenceError: where it is none.

    Example:
        >>> read_edit("3:w1[1,2]=-0.5")
        Edit(step=3, name='w1[1,2]', value=-0.5)
    """
    found = re.fullmatch(r"(\d{1,6}):([a-z0-9\[\],]{1,20})=([-+.0-9a-z]{1,30})", text)
    try:
        value = float(found[3]) if found else math.nan
    except ValueError:
        value = math.nan
    if found is None or not math.isfinite(value):
        raise WhenceError(f"{text[:60]!r} isn't an edit: write step:weight=number, as 3:w1=0.5.")
    return Edit(int(found[1]), found[2], value)


class Shut(NamedTuple):
    """A hidden unit that is shut for every sample: since when, and what did it.

    Attributes:
        step: the number of steps done when it was shut first.
        receipt: the pre-activation nearest to opening, term by term, or none where the unit was
            shut from the beginning or by an edit.
        why: the same in a sentence.

    Example:
        >>> Shut(3, None, "shut by an edit").step
        3
    """

    step: int
    receipt: Receipt | None
    why: str


def loss_of(s: Setup) -> tuple[str, Any]:
    """Return a setup's loss: its formula, and a function of a model and (inputs, targets)."""
    if s.data == "coffee":
        return "mean of (ŷ − y)²", squared_error
    if s.data in SHAPES:
        return "mean of −ln P(its class), P = σ(ŷ) for class 1", _cross_entropy
    return "mean of (ŷ − y)² / 2", half_squared_error


def _cross_entropy(model: Any, part: tuple[Any, Any]) -> Any:
    x, y = part
    z = model(x)
    if not isinstance(z, Matrix):
        from whence.train.losses import binary_cross_entropy as of_tensors

        return of_tensors(z, y)
    rows = zip(z.values(), y.values(), strict=True)
    return total(binary_cross_entropy(a, t) for a, t in rows) / float(y.shape[0])


def _tensor(rows: list[list[float]]) -> Any:
    import torch  # here, so that what only adds up `Value`s starts without it

    return torch.tensor(rows, dtype=torch.float64)


class _Batches:
    """The batch of each step, as matrices."""

    def __init__(self, session: "Session") -> None:
        self.session = session

    def __getitem__(self, step: int) -> list[tuple[float, Any]]:
        return [(1.0, self.session.batch(step))]


class Session:
    """A small model at some step of its training; `go_to` takes it to any other.

    Args:
        setup: what is played with.
        edits: numbers typed in on the way.

    Raises:
        WhenceError: where an edit names no weight.

    Attributes:
        step: how many updates are done.
        losses: of every step so far, each before its update.
        means: of every epoch so far, the mean of its steps' losses.
        held: after every epoch, the loss of the samples held out.
        dead: units that are shut now, by (layer, unit) from 0.

    Example:
        >>> from whence.play import Session, setup
        >>> session = Session(setup("three"))
        >>> session.go_to(15)
        >>> [round(x, 4) for x in session.means]
        [2.613, 6.3838, 3.9888, 2.7419, 2.0981]
    """

    def __init__(self, setup: Setup, edits: Iterable[Edit] = ()) -> None:
        self.setup = setup
        self.edits = sorted(edits, key=lambda e: e.step)
        self.samples = samples(setup)
        self.model = MLP([(Matrix(W), Matrix(b)) for W, b in weights(setup)], setup.activation)
        name_parameters(self.model.layers)
        self.parameters = values_of(self.model.parameters())
        self.named = {p.label: p for p in self.parameters}
        for edit in self.edits:
            if edit.name != "rate" and edit.name not in self.named:
                raise WhenceError(
                    f"there is no weight {edit.name!r} to edit: they are "
                    f"{', '.join(filter(None, list(self.named)[:12]))} …"
                )
            if edit.name == "rate" and not 0.0 < edit.value <= 1000.0:
                raise WhenceError("a rate must be above 0, and at most 1,000.")
        n = len(self.samples.y)
        self.size = min(setup.batch, n) or n
        self.per_epoch = -(-n // self.size)
        self.formula, self.loss = loss_of(setup)
        self._fast = self.loss
        if n > 12:  # a dozen samples need no replay, and nobody should wait for its compiler
            from whence.scalar import jit

            self._fast = jit(self.loss)
        self._tensors = [_tensor(x) for x in self._everything()]
        self.optimizer = self._optimizer()
        self.step = 0
        self.losses: list[float] = []
        self.means: list[float] = []
        self.held: list[float] = []
        self.dead: dict[tuple[int, int], Shut] = {}
        self._kept: dict[int, Any] = {}
        self._edit()
        self._notice(None)
        self._keep()

    def _everything(self) -> list[list[list[float]]]:
        s = self.samples
        return [s.x, [[y] for y in s.y], s.held_x, [[y] for y in s.held_y]]

    def _optimizer(self) -> Any:
        if self.setup.optimizer == "adam":
            return Adam(self.parameters, self.setup.rate)
        return SGD(self.parameters, self.setup.rate, 0.9 * (self.setup.optimizer == "momentum"))

    def chosen(self, step: int) -> list[int]:
        """Return which samples the batch of a step holds, from 0."""
        epoch, part = divmod(step, self.per_epoch)
        found = order(self.setup, len(self.samples.y), epoch)
        return found[part * self.size : (part + 1) * self.size]

    def batch(self, step: int) -> tuple[Matrix, Matrix]:
        """Return inputs and targets of a step's batch."""
        s, chosen = self.samples, self.chosen(step)
        return Matrix([s.x[i] for i in chosen]), Matrix([[s.y[i]] for i in chosen])

    def go_to(self, step: int) -> None:
        """Go to the state after some number of updates, forwards or backwards.

        Raises:
            WhenceError: beyond `STEPS`.
        """
        if not 0 <= step <= STEPS:
            raise WhenceError(f"step {step:,} is out of reach: 0 to {STEPS:,} can be played.")
        if step < self.step:
            self._restore(max(k for k in self._kept if k <= step))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotFiniteWarning)  # the curve shows it
            for _ in range(self.step, step):
                self._train()

    def _train(self) -> None:
        before = [p.data for p in self.parameters]
        loop = train(self.model, _Batches(self), self._fast, self.optimizer, [self.step])
        self.losses.append(next(loop).loss.data)
        next(loop, None)
        self.step += 1
        self._notice(before)
        self._edit()
        if self.step % self.per_epoch == 0:
            done = self.losses[-self.per_epoch :]
            self.means.append(sum(done) / len(done))
            if self.samples.held_y:
                self.held.append(self.loss(self.tensors(), self._tensors[2:]).item())
        if self.step % KEEP == 0:
            self._keep()

    def _edit(self) -> None:
        changed = [edit for edit in self.edits if edit.step == self.step]
        for edit in changed:
            if edit.name == "rate":
                self.optimizer.learning_rate = edit.value
            else:
                self.named[edit.name].data = edit.value
        if changed and self.step:
            self._notice(None)

    def tensors(self) -> MLP:
        """Return the same model on torch's tensors in float64, for many points at once."""
        layers: Any = [tuple(_tensor(m.numbers()) for m in layer) for layer in self.model.layers]
        return MLP(layers, self.setup.activation)

    def _notice(self, before: Sequence[float] | None) -> None:
        """Look for units that are shut for every sample, and say what shut them."""
        if self.setup.activation != "relu" or not self.setup.hidden:
            return
        pairs = self.tensors().trace(self._tensors[0])
        shut = {
            (k, j)
            for k, (z, _) in enumerate(pairs[:-1])
            for j, closed in enumerate((z <= 0.0).all(0).tolist())
            if closed
        }
        new = shut - set(self.dead)
        self.dead = {unit: self.dead[unit] for unit in self.dead if unit in shut}
        if not new:
            return
        everything = Matrix(self.samples.x)
        after = snapshot(self.model.layers, everything, self.model.trace(everything))
        receipts: dict[tuple[int, int], Receipt] = {}
        if before is not None:
            now = [p.data for p in self.parameters]
            self._put(before)
            was = snapshot(self.model.layers, everything, self.model.trace(everything))
            self._put(now)
            receipts = {unit: cause(was, after, *unit) for unit in new & dead_units(after)}
        for unit in sorted(new):
            self.dead[unit] = self._death(unit, receipts.get(unit))

    def _death(self, unit: tuple[int, int], receipt: Receipt | None) -> Shut:
        layer, j = unit
        name = f"h{layer + 1}" + (f"[{j + 1}]" if self.setup.hidden[layer] > 1 else "")
        stays = "nothing moves it back" if layer == 0 else "only what it reads may open it again"
        rest = (
            "its pre-activation is at most 0 for every sample, so relu lets nothing through, its "
            f"gradients are 0, and {stays}."
        )
        if receipt is None:
            when = "from the beginning" if self.step == 0 else f"by an edit at step {self.step}"
            return Shut(self.step, None, f"{name} is shut {when}: {rest}")
        most = culprit(receipt)
        return Shut(
            self.step,
            receipt,
            f"{name} was shut by update {self.step}: {rest} Most of it is {most.label} "
            f"({most.value:.6g}).",
        )

    def _put(self, numbers: Sequence[float]) -> None:
        for p, x in zip(self.parameters, numbers, strict=True):
            p.data = x

    def _keep(self) -> None:
        state = {k: v for k, v in vars(self.optimizer).items() if k != "parameters"}
        self._kept[self.step] = [p.data for p in self.parameters], copied(state), dict(self.dead)

    def _restore(self, step: int) -> None:
        numbers, state, dead = self._kept[step]
        self._put(numbers)
        vars(self.optimizer).update(copied(state))
        self.step, self.dead = step, dict(dead)
        del self.losses[step:]
        del self.means[step // self.per_epoch :], self.held[step // self.per_epoch :]


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """Return an optimizer's state with lists of its own.

    Example:
        >>> copied({"m": [0.0], "t": 1})
        {'m': [0.0], 't': 1}
    """
    return {name: list(x) if isinstance(x, list) else x for name, x in state.items()}


def at(step: int, data: str = "three", *, edits: Iterable[str] = (), **changes: Any) -> Session:
    """Return a session at a step.

    Args:
        step: how many updates are done.
        data: what is learnt; see `whence.play.setup`.
        edits: numbers typed in on the way, as `read_edit` reads them.
        changes: fields of `Setup` that differ from the example's own.

    Example:
        >>> at(1, "one").named["w1"].data
        2.6
        >>> at(1, "one", edits=["0:w1=3"]).losses
        [0.5]
    """
    found = Session(setup(data, **changes), map(read_edit, edits))
    found.go_to(step)
    return found
