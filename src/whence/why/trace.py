"""A training step opened: every tensor of it by name, down to single numbers."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from whence.errors import WhenceError
from whence.why.address import Address, unknown
from whence.why.budget import available
from whence.why.labels import Labels
from whence.why.naming import ARGUMENT, PARAMETER
from whence.why.titles import name_the_rest
from whence.why.number import Number, Numbers
from whence.why.recorder import UNWRITTEN, Recorder
from whence.why.opening import Cells, Derived
from whence.why.rules import RULES
from whence.why.rules.attention import FUSED_ATTENTION, Attention, AttentionGradient
from whence.why.rules.positions import coordinates
from whence.why.storage import Ref, Version


@dataclass(frozen=True, slots=True)
class Live:
    """What a traced step ran on.

    Attributes:
        fn: the function that ran it.
        leaves: the parameters by name, as they are now.
        modules: the modules by path.
        random: state of torch's generator before the step.
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

    Attributes:
        ops: the recorded operations, in order.
        result: what the traced function returned, tensors replaced by their detached copies.
        nbytes: memory that the trace keeps.
        labels: what the numbers are called: tokens, positions, examples.
        parameters: the parameters as they were before the step.
        losses: the tensors that `backward()` was called on.
        live: what the step ran on, for running it again.

    Example:
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
    ):
        self.ops, self.result, self.labels, self.live = recorder.ops, result, labels, live
        self.nbytes = recorder.nbytes
        self.parameters = parameters
        self._after = after
        self._names: dict[str, Cells] = dict(recorder.namer.names)
        self._gradients: dict[Cells, Cells] = dict(recorder.gradients)
        self.losses = recorder.losses
        self._views: dict[Version, list[Ref]] = {}
        for ref in self._gradients:
            if isinstance(ref, Ref):
                self._views.setdefault(ref.version, []).append(ref)
        self._add_recomputed()

    def _add_recomputed(self) -> None:
        """Name the scores and weights that fused attention keeps to itself, and their gradients."""
        forward: dict[int, Attention] = {}
        for op in self.ops:
            if op.name not in FUSED_ATTENTION:
                continue
            if op.phase != "backward":
                forward[op.sequence] = fused = Attention.of(op.call(0))
                self._names.setdefault(fused.scores.name, fused.scores)
                self._names.setdefault(fused.weights.name, fused.weights)
            elif op.node in forward:
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
        head, _, quantity = name.rpartition(".")
        if quantity in ("grad", "update", "after") and head:
            return getattr(self[head], quantity)
        raise unknown(name, self.names())

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
        """The tensor that `backward()` was called on first."""
        if not self.losses:
            raise WhenceError("This step has no loss: backward() was not called in it.")
        return Numbers(self, self.losses[0], "loss")[()]

    def closed(self) -> dict[str, int]:
        """Count the operations that have no rule, by name; they stay closed boxes."""
        count: Counter[str] = Counter()
        for op in self.ops:
            if not op.alias and any(op.outputs) and op.name not in UNWRITTEN:
                name = op.call(0).name
                if name not in RULES:
                    count[name] += 1
        return dict(count)

    def gradient_of(self, ref: Cells) -> Cells | None:
        """Return the gradient that reached a tensor, `None` if none did."""
        return self._gradients.get(ref)

    def gradient_at(self, ref: Cells, at: int) -> tuple[Cells, int]:
        """Return where the gradient of one number lies, also if it reached another view of it.

        Raises:
            WhenceError: no gradient reached it.
        """
        direct = self._gradients.get(ref)
        if direct is not None:
            return direct, at
        if not isinstance(ref, Ref):
            raise WhenceError(f"{self.address(ref, at)} has no gradient in this step.")
        place = ref.places(np.array([at]))
        same = [r for r in self._views.get(ref.version, ()) if r is not ref]
        for view in same:
            if (where := int(view.locate(place)[0])) >= 0:
                return self._gradients[view], where
        raise WhenceError(
            f"{self.address(ref, at)} has no gradient in this step: none reached it."
        )

    def address(self, ref: Cells, at: int, name: str | None = None) -> str:
        """Write the address of a number, by the best name that its storage has.

        Args:
            ref: the tensor it stands in.
            at: its place there.
            name: the name it was asked for by, if it was.
        """
        if name is not None:
            return _spell(name, ref, at)
        if not isinstance(ref, Ref):
            return _spell(cast(Derived, ref).name, ref, at)
        if ref.version.stands_for is not None:
            return self.address(ref.version.stands_for, at)
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

    def number_at(self, ref: Cells, at: int) -> Number:
        """Return the number at a place of a recorded tensor."""
        return Number(self, ref, at)

    def after_of(self, name: str) -> Ref | None:
        """Return what a parameter or state was after the step."""
        return self._after.get(name)


def trace(
    fn: Callable[[], Any],
    *,
    model: nn.Module | None = None,
    optimizer: Any = None,
    tokens: Tensor | list[Tensor] | None = None,
    decode: Callable[[int], str] | None = None,
    where: Callable[[int, int], str] | None = None,
    budget: int | None = None,
    tell: Callable[[int], None] | None = None,
) -> Trace:
    """Run one training step and record every number of it.

    The step runs by the kernels it would run by anyway, and leaves behind the same bits.

    Args:
        fn: runs the step: forward, backward, optimizer.step(), as much of it as is wanted.
        model: gives names to parameters and modules; else the one that `fn` refers to is found.
        optimizer: gives names to moments; likewise.
        tokens: the token ids [B, T] that went in, one for each part of the batch; else those of
            the first embedding are taken.
        decode: token id → its text.
        where: (example, position) → where in the training text that token stands.
        budget: bytes that the trace may keep; else what the machine has free.
        tell: is told how many bytes the trace will keep, when the forward pass is done and nothing
            has been changed yet.

    Returns:
        The step's `Trace`.

    Raises:
        WhenceError: the trace would need more memory than there is.

    Example:
        >>> w = torch.tensor(3.0, requires_grad=True)
        >>> def step():
        ...     loss = (2 * w - 4) ** 2
        ...     loss.backward()
        >>> trace(step)["w"][()].grad.value
        8.0
    """
    found = _referred(fn)
    if model is None:
        models = {n: m for n, m in found.items() if isinstance(m, nn.Module)}
        model = next(iter(models.values())) if len(models) == 1 else (
            nn.ModuleDict(models) if models else None
        )
    if optimizer is None:
        optimizer = next((o for o in found.values() if isinstance(o, torch.optim.Optimizer)), None)
    leaves = _parameters(model, found)
    recorder = Recorder(model, optimizer, available() if budget is None else budget, tell)
    namer = recorder.namer
    before: dict[str, Ref] = {}
    for name, tensor in {**leaves, **_state(optimizer, leaves)}.items():
        ref = recorder.ref(tensor)
        if ref is not None:
            before[name] = ref
            namer.give(name, ref, PARAMETER)
            recorder.moved += tensor.nbytes
            recorder.trainable += tensor.nbytes if name in leaves else 0
    for name, value in found.items():
        if isinstance(value, Tensor) and name not in leaves:
            namer.give(name, recorder.ref(value), ARGUMENT)
    modules = {} if model is None else dict(model.named_modules())
    live = Live(fn, leaves, modules, torch.get_rng_state())
    with recorder:
        result = fn()
    after: dict[str, Ref] = {}
    state = _state(optimizer, leaves)
    for name, tensor in {**leaves, **state}.items():
        ref = recorder.ref(tensor)
        if ref is not None:
            after[name] = ref
    recorder.leaves.clear()
    result = _detached(result)
    recorder.freeze()
    parameters = {n: before[n] for n in leaves if n in before}
    name_the_rest(recorder, parameters, before, after)
    ids = [t.numpy(force=True) for t in ([tokens] if isinstance(tokens, Tensor) else tokens or [])]
    labels = Labels.of(recorder.ops, ids, decode, where)
    return Trace(recorder, parameters, after, result, labels, live)


def _spell(name: str, ref: Cells, at: int) -> str:
    """`w.grad` and a place → `w[3,7].grad`."""
    index = ",".join(str(int(i)) for i in coordinates(np.array(at), ref.size))
    quantity = ""
    for suffix in (".grad", ".after", ".update"):
        if name.endswith(suffix):
            name, quantity = name.removesuffix(suffix), suffix
    return f"{name}[{index}]{quantity}" if ref.size else name + quantity


def _referred(fn: Callable[[], Any]) -> dict[str, Any]:
    """Return what a function refers to by name: variables around it and what it is bound to."""
    inner: Any = getattr(fn, "func", fn)  # functools.partial
    inner = getattr(inner, "__func__", inner)  # a bound method
    if not inspect.isfunction(inner):
        return {}
    variables = inspect.getclosurevars(inner)
    return {**variables.globals, **variables.nonlocals}


def _parameters(model: nn.Module | None, found: dict[str, Any]) -> dict[str, Tensor]:
    if model is not None:
        return dict(model.named_parameters(remove_duplicate=False))
    leaves: dict[str, Tensor] = {}
    for name, value in found.items():
        several = value if isinstance(value, list | tuple) else [value]
        for i, one in enumerate(several):
            if isinstance(one, Tensor) and one.is_leaf and one.requires_grad:
                leaves[name if several[0] is value else f"{name}.{i}"] = one
    return leaves


def _state(optimizer: Any, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the optimiser's tensors as `parameter.kind`."""
    if isinstance(optimizer, torch.optim.Optimizer):
        names = {id(tensor): name for name, tensor in reversed(leaves.items())}
        return {
            f"{names[id(param)]}.{kind}": value
            for param, kinds in optimizer.state.items()
            if id(param) in names
            for kind, value in kinds.items()
            if isinstance(value, Tensor)
        }
    state = getattr(optimizer, "state", None)
    return dict(state()) if callable(state) else {}


def _detached(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result.detach().clone()
    if isinstance(result, Mapping):
        return {k: _detached(v) for k, v in result.items()}
    if isinstance(result, tuple | list):
        return [_detached(v) for v in result]
    return result
