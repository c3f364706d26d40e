"""A training step opened: every tensor of it by name, down to single numbers."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from whence.errors import WhenceError
from whence.why.address import Address, unknown
from whence.why.number import Number, Numbers
from whence.why.receipts.layout.labels import Labels
from whence.why.receipts.whole import Whole
from whence.why.recording.memories import UNWRITTEN, free
from whence.why.recording.naming import OUTPUT
from whence.why.recording.recorder import Recorder
from whence.why.recording.storage import Ref, Version
from whence.why.recording.tape import flatten
from whence.why.rules.forms.positions import coordinates
from whence.why.rules.layers import attention, attention_backward
from whence.why.rules.layers.attention import Attention
from whence.why.rules.layers.attention_backward import AttentionGradient
from whence.why.rules.open import INSIDES, reads_opaque
from whence.why.rules.opening import Cells, Derived
from whence.why.rules.table import RULES


@dataclass(frozen=True, slots=True)
class Live:
    """What a traced step ran on.

    Attributes:
        fn: the function that ran it.
        leaves: the parameters by name, as they are now.
        modules: the modules by path.
        random: state of torch's generator before the step.

    Example:
        >>> import torch
        >>> from whence.why import trace
        >>> live: Live = trace(lambda: torch.ones(3).sum()).live
        >>> live.fn()
        tensor(3.)
    """

    fn: Callable[[], Any]
    leaves: dict[str, Tensor]
    modules: dict[str, nn.Module]
    random: Tensor


class Trace:
    """Every tensor of one training step: forward, backward, update.

    Made by `trace`. Names are module paths (`blocks.0.attn.q`), parameters' names
    (`blocks.0.attn.q.weight`), and variables of the code that ran (`blocks.0.attn.scores`); the
    second tensor of a name is `name#2`.

    Args:
        recorder: what recorded it.
        parameters: as they were before the step.
        after: as they are after it.
        result: what the traced function returned.
        labels: what the numbers are called.
        live: what the step ran on.
        rules: by which rule, and with which settings, each parameter is moved.

    Attributes:
        ops: the recorded operations, in order.
        result: what the traced function returned, tensors replaced by their detached copies.
        nbytes: memory that the trace keeps.
        labels: what the numbers are called: tokens, positions, examples.
        parameters: the parameters as they were before the step.
        losses: the tensors that `backward()` was called on.
        live: what the step ran on, for running it again.
        refused: what the step raised over a number that isn't finite, "" if nothing.
        rules: by which rule, and with which settings, each parameter is moved.
        step: which step of its run it is, where it is one's.
        notes: sentences a reader of its numbers needs, such as how its loss differs from a record.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from whence.why import trace
        >>> line = nn.Linear(1, 1)
        >>> x, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [5.0]])
        >>> def step():
        ...     loss = ((line(x) - y) ** 2).mean()
        ...     loss.backward()
        ...     return loss
        >>> t = trace(step, model=line)
        >>> t["weight"][0, 0].grad.value == line.weight.grad.item()
        True
    """

    def __init__(
        self,
        recorder: Recorder,
        parameters: dict[str, Ref],
        after: dict[str, Ref],
        result: Any,
        labels: Labels,
        live: Live,
        rules: dict[str, dict[str, Any]] | None = None,
    ):
        self.ops, self.result, self.labels, self.live = recorder.ops, result, labels, live
        weakref.finalize(self, free, [*recorder.memories]).atexit = False
        self.nbytes = recorder.account.nbytes
        self.rules = rules or {}
        self.step: int | None = None
        self.notes: list[str] = []
        self.refused = ""
        self.parameters = parameters
        self._after = after
        self._names: dict[str, Cells] = dict(recorder.namer.names)
        self._gradients: dict[Cells, Cells] = dict(recorder.gradients.pairs)
        self.losses = recorder.gradients.losses
        self._views: dict[Version, list[Ref]] = {}
        for ref in self._gradients:
            if isinstance(ref, Ref):
                self._views.setdefault(ref.version, []).append(ref)
        self._add_recomputed()

    def _add_recomputed(self) -> None:
        """Name the scores and weights that fused attention keeps to itself, and their gradients."""
        forward: dict[int, Attention] = {}
        for op in self.ops:
            if op.name in attention.RULES:
                forward[op.sequence] = fused = Attention.of(op.call(0))
                self._names.setdefault(fused.scores.name, fused.scores)
                self._names.setdefault(fused.weights.name, fused.weights)
            elif op.name in attention_backward.RULES and op.node in forward:
                fused, back = forward[op.node], AttentionGradient.of(op.call(0))
                back.scores.name = f"{fused.scores.name}.grad"
                back.weights.name = f"{fused.weights.name}.grad"
                self._gradients[fused.scores] = back.scores
                self._gradients[fused.weights] = back.weights

    def names(self) -> list[str]:
        """List the names of all tensors of the step, parameters first."""
        return [*self.parameters, *(n for n in self._names if n not in self.parameters)]

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> Numbers:
        """Return the tensor of that name.

        Raises:
            WhenceError: there is none; the nearest names are told.
        """
        found = self._names.get(name)
        if found is not None:
            return Numbers(self, found, name)
        inside = self._inside(name)
        if inside is not None:
            return Numbers(self, inside, name)
        head, _, quantity = name.rpartition(".")
        if quantity in ("grad", "update", "after") and head:
            return getattr(self[head], quantity)
        if not self.has_backward and "loss" in (name, head):
            raise WhenceError(f"{name!r} isn't there: {self.without_a_loss()}.")
        raise unknown(name, self.names())

    @property
    def has_backward(self) -> bool:
        """Whether a backward pass ran in the step."""
        return bool(self.losses or self._gradients)

    def without_a_loss(self) -> str:
        """Say what a step without a backward pass has, and what it lacks."""
        if not self.ops:
            return (
                "this step computed nothing with tensors, so there is nothing to open: let it run "
                "the model, and call backward() on the loss"
            )
        made = [name for name in self.names() if name not in self.parameters]
        more = f" and {len(made) - 6} more" if len(made) > 6 else ""
        return (
            "no backward() ran in this step, so it has no loss and no gradients; there are its "
            f"weights, and {', '.join(made[:6])}{more}"
        )

    def _inside(self, name: str) -> Ref | None:
        """Find a variable of the formula that stands for a fused operation."""
        for op in self.ops:
            look = INSIDES.get(op.name)
            module = (op.forward or op).module
            if look is not None and name.startswith(f"{module}." if module else ""):
                found = look(op, name).get(name)
                if found is not None:
                    return found
        return None

    def number(self, address: str) -> Number:
        """Return the number at an address.

        Args:
            address: such as `blocks.0.attn.q.weight[3,7].grad`, `loss` or `logits[0,5,'mat']`.

        Raises:
            WhenceError: the address leads nowhere.
        """
        parsed = Address.parse(address)
        numbers = self[parsed.name]
        for quantity in parsed.quantity:
            numbers = getattr(numbers, quantity)
        return numbers[parsed.index or ()]

    def why(self, address: str, **options: Any):
        """Return the receipt of the number at an address; `options` are those of `Number.why`."""
        return self.number(address).why(**options)

    @property
    def loss(self) -> Number:
        """The tensor that `backward()` was called on first; of a batch in parts, the sum.

        Raises:
            WhenceError: where `backward()` was not called.
        """
        if not self.losses:
            raise WhenceError("This step has no loss: backward() was not called in it.")
        return Numbers(self, self._names.get("loss", self.losses[0]), "loss")[()]

    def add_up_losses(self) -> None:
        """Let `loss` be the sum of what `backward()` was called on, as of a batch in parts.

        What each part was left with is then `loss#1`, `loss#2` and so on.
        """
        if len(self.losses) < 2:
            return
        for i, loss in enumerate(self.losses, start=1):
            names = loss.version.names
            names[:] = [n for n in names if n[1].partition("#")[0] != "loss" or n[2] is not loss]
            names.insert(0, (OUTPUT, f"loss#{i}", loss))
            self._names[f"loss#{i}"] = loss
        self._names["loss"] = Whole(self.losses)

    def closed(self) -> dict[str, int]:
        """Count the operations that have no rule, by name; they stay closed boxes."""
        count: Counter[str] = Counter()
        for op in self.ops:
            if op.outputs and not any(op.outputs) and op.name not in UNWRITTEN:
                count[f"{op.name}, whose result can't be read"] += 1
            elif not op.alias and any(op.outputs) and op.name not in UNWRITTEN:
                call = op.call(0)
                if call.name not in RULES:
                    count[call.name] += 1
                elif opaque := reads_opaque(call):
                    count[f"{call.name} of a {opaque[0].kind} tensor"] += 1
        return dict(count)

    @property
    def gradients(self) -> list[Cells]:
        """The gradients, in the order in which they came back."""
        return list(self._gradients.values())

    @property
    def afters(self) -> list[Ref]:
        """Parameters and moments as the step left them."""
        return list(self._after.values())

    def unseen(self) -> list[str]:
        """List the tensors that were made by operations which weren't recorded.

        Such are the outputs of a module that ran in another thread, and what was kept of a graph
        from before the step.
        """
        names: dict[Version, str] = {}
        for name, ref in self._names.items():
            if isinstance(ref, Ref) and ref.version.unseen:
                names.setdefault(ref.version, name)
        return list(names.values())

    def gradient_of(self, ref: Cells) -> Cells | None:
        """Return the gradient that reached a tensor, `None` if none did."""
        return self._gradients.get(ref)

    def gradient_at(self, ref: Cells, at: int) -> tuple[Cells, int]:
        """Return where the gradient of one number lies, also if it reached another view of it.

        Raises:
            WhenceError: no gradient reached it.

        Args:
            ref: the tensor that holds the number.
            at: its place there, counted row by row.
        """
        direct = self._gradients.get(ref)
        if direct is not None:
            return direct, at
        if not isinstance(ref, Ref):
            raise self.no_gradient(self.address(ref, at), ref)
        place = ref.places(np.array([at]))
        same = [r for r in self._views.get(ref.version, ()) if r is not ref]
        for view in same:
            if (where := int(view.locate(place)[0])) >= 0:
                return self._gradients[view], where
        raise self.no_gradient(self.address(ref, at), ref)

    def no_gradient(self, name: str, cells: Cells) -> WhenceError:
        """Make the error for a number without a gradient: it says what there is instead.

        Args:
            name: what the number is called.
            cells: the tensor that holds it.
        """
        made = [
            n
            for n, ref in self._names.items()
            if isinstance(ref, Ref) and ref.size == cells.size and ref.version.from_behind
        ]
        if not made and not self.has_backward:
            return WhenceError(f"{name} has no gradient: {self.without_a_loss()}.")
        base = name.partition("[")[0].partition("#")[0]
        own = [n for n, ref in self._names.items() if ref in self._gradients and ref is not cells]
        again = [n for n in own if n.partition("#")[0] == base]
        if again:
            return WhenceError(
                f"{name} has no gradient in this step, as that pass was run without autograd: "
                f"{again[0]}, which is the same pass run again, has one."
            )
        near = f"; of its shape, the backward pass made {', '.join(made[:3])}" if made else ""
        return WhenceError(f"{name} has no gradient in this step: none reached it{near}.")

    def address(self, ref: Cells, at: int, name: str | None = None) -> str:
        """Write the address of a number, by the best name that its storage has.

        Args:
            ref: the tensor that contains it.
            at: its place there.
            name: the name it was asked for by, if it was.
        """
        if name is not None:
            return _spell(name, ref, at)
        if not isinstance(ref, Ref):
            return _spell(cast(Derived, ref).name, ref, at)
        if ref.version.stands_for is not None:
            return self.address(ref.version.stands_for, int(ref.places(np.array([at]))[0]))
        place = ref.places(np.array([at]))
        for _, known, view in sorted(ref.version.names, key=lambda n: n[0]):
            where = int(view.locate(place)[0])
            if where >= 0:
                return _spell(known, view, where)
        return _spell("unnamed", ref, at)

    def name_of(self, ref: Cells) -> str:
        """Return the best name of a tensor, or of what its memory is part of."""
        if not ref.numel:
            return "empty"
        head, _, tail = self.address(ref, 0).partition("[")
        return head + tail.rpartition("]")[2]

    def users(self, ref: Cells, at: int) -> list[tuple[str, str]]:
        """List the operations that read a number: (operation, name of its output).

        Args:
            ref: the tensor that holds the number.
            at: its place there, counted row by row.
        """
        if not isinstance(ref, Ref):
            return []
        place, found = ref.places(np.array([at])), []
        for op in self.ops:
            if op.alias or not any(
                source.version is ref.version
                for source in flatten([*op.args, *op.kwargs.values()], Ref)
            ):
                continue
            for call in op.calls():  # of grouped operations, only what was done to this tensor
                output = next((o for o in call.outputs if o is not None), None)
                if output is not None and any(
                    source.version is ref.version and source.locate(place)[0] >= 0
                    for source in flatten(list(call.values.values()), Ref)
                ):
                    found.append((op.name, self.name_of(output)))
        return found

    def number_at(self, ref: Cells, at: int) -> Number:
        """Return the number at a place of a recorded tensor.

        Args:
            ref: the tensor.
            at: the place, counted row by row.
        """
        return Number(self, ref, at)

    def after_of(self, name: str) -> Ref | None:
        """Return what a parameter or state was after the step."""
        return self._after.get(name)


def _spell(name: str, ref: Cells, at: int) -> str:
    """`w.grad` and a place → `w[3,7].grad`."""
    index = ",".join(str(int(i)) for i in coordinates(np.array(at), ref.size))
    quantity = ""
    for suffix in (".grad", ".after", ".update"):
        if name.endswith(suffix):
            name, quantity = name.removesuffix(suffix), suffix
    return f"{name}[{index}]{quantity}" if ref.size else name + quantity
