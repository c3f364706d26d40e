"""What is kept of a step: calls of the models, backward passes and updates, in their order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from whence.watch.step.nested import bytes_of, mapped, nbytes
from whence.watch.step.surroundings import Autocast, Generators


class Link:
    """An argument of a call that is an output of an earlier call in the step, or a view of it.

    Attributes:
        call: the earlier call.
        output: the number of its output.
        size: the argument's shape,
        stride: its strides,
        offset: where in the output's memory it begins.
    """

    # No dataclass: `mapped` looks for tensors inside of those.
    def __init__(
        self, call: Call, output: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int
    ):
        self.call, self.output = call, output
        self.size, self.stride, self.offset = tuple(size), tuple(stride), offset

    def of(self, output: Tensor) -> Tensor:
        """Return the same view of an output."""
        if output.shape == self.size and output.stride() == self.stride and not self.offset:
            return output
        if not self.offset and output.is_contiguous() and self._is_contiguous(output.numel()):
            return output.view(self.size)
        return output.as_strided(self.size, self.stride, output.storage_offset() + self.offset)

    def _is_contiguous(self, numel: int) -> bool:
        expected = 1
        for size, stride in zip(reversed(self.size), reversed(self.stride), strict=True):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return expected == numel


@dataclass(eq=False)
class Call:
    """A call of a watched model.

    Attributes:
        model: its number among the watched ones.
        args: copies of what it was given by position, and
        kwargs: by name; what another call has returned is a `Link`.
        generators: the random generators before it.
        autocast: where autocast was on.
        state: buffers and other tensors that the model keeps, before it; by number.
        training: of each module, whether it was in training mode.
        trainable: of each parameter, whether it asked for a gradient.
        outputs: a few numbers of each tensor that it returned and that has a gradient.
        scalars: the outputs of one number, whole.
        moved: parameters that something else than an optimizer had changed before it; by number.
        memory: of each output, where it lies and its count of changes; while the step goes on.
    """

    model: int
    args: tuple
    kwargs: dict[str, Any]
    generators: Generators
    autocast: tuple[Autocast, ...]
    state: dict[int, Tensor]
    training: tuple[bool, ...]
    trainable: tuple[bool, ...]
    outputs: list[Tensor] = field(default_factory=list)
    scalars: dict[int, Tensor] = field(default_factory=dict)
    moved: dict[int, Tensor] = field(default_factory=dict)
    memory: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def links(self) -> list[Link]:
        """The arguments that another call has returned."""
        found: list[Link] = []
        mapped((self.args, self.kwargs), lambda link: found.append(link) or link, Link)
        return found

    @property
    def batch(self) -> Any:
        """What it was given, as `source` is asked about it: by name, else by position."""
        if self.kwargs:
            return self.kwargs
        return self.args[0] if len(self.args) == 1 else self.args


@dataclass(eq=False)
class Arrival:
    """A gradient that came to an output of a call from outside of the model.

    Attributes:
        call: the call.
        output: the number of its output.
        gradient: what arrived.
        version: the gradient's count of changes then: whether it was overwritten since.
    """

    call: Call
    output: int
    gradient: Tensor
    version: int


@dataclass(eq=False)
class Backward:
    """A backward pass: all gradients that arrived in it.

    Attributes:
        before: what the loop had done to `.grad` of parameters before it: `None` for cleared, else
            the gradient it begins from; by the parameter's number.
        arrivals: in their order.
        adds: whether it added to `.grad` of any parameter; `torch.autograd.grad` doesn't.
        passed: the gradients that came to an output by way of a call that was given it.
    """

    before: dict[int, Tensor | None]
    arrivals: list[Arrival] = field(default_factory=list)
    adds: bool = False
    passed: list[tuple[Link, Tensor]] = field(default_factory=list)


@dataclass(eq=False)
class Update:
    """An update by one optimizer.

    Attributes:
        optimizer: its number; −1 for one that isn't torch's, whose updates can't be seen.
        gradients: as the update saw them: of each parameter, by number; `None` where it had none.
        settings: of each group of parameters: rate, weight decay and whatever it holds.
        extras: what a GradScaler hands to a fused optimizer.
        done: whether it was carried through, and can be again.
        closures: how often it called the loop's closure; LBFGS does so several times.
        norm: √(Σ g²) of these gradients.
    """

    optimizer: int
    gradients: dict[int, Tensor | None]
    settings: list[dict[str, Any]]
    extras: dict[str, Any] = field(default_factory=dict)
    done: bool = False
    closures: int = 0
    norm: float = float("nan")


@dataclass(eq=False)
class Snapshot:
    """Copies of what steps change.

    Attributes:
        parameters: all parameters.
        states: of each optimizer: for each of its parameters, kind → value.
    """

    parameters: list[Tensor]
    states: list[dict[int, dict[str, Any]]]

    def nbytes(self) -> int:
        """Memory that it takes."""
        return nbytes((self.parameters, [list(s.values()) for s in self.states]))


@dataclass(eq=False)
class Step:
    """A step: everything from one update of the last optimizer to the next.

    Attributes:
        number: steps count from 0.
        events: calls, backward passes and updates.
        snapshot: what there was before it, if it was copied.
        notes: sentences about what could not be seen.
        loss: told by the loop or, where the models return it, the mean of what they returned.
        grad_norm: of all gradients that the updates saw.
        raw_norm: the same before the loop clipped them, if it has told it.
        rate: of the first optimizer's first group.
        started: when its first call began, in seconds.
        seconds: how long it took.
        lost: it took more memory than there is for steps: its calls and backward passes were
            let go.
        tokens: how many numbers the first inputs of its calls hold, where these are ids.
        examples: how many rows the first inputs of its calls hold.
    """

    number: int
    events: list[Call | Backward | Update] = field(default_factory=list)
    snapshot: Snapshot | None = None
    notes: list[str] = field(default_factory=list)
    loss: float | Tensor | None = None
    grad_norm: float = float("nan")
    raw_norm: float | None = None
    rate: float = 0.0
    started: float = 0.0
    seconds: float = 0.0
    tokens: int = 0
    examples: int = 0
    lost: bool = False

    def lose(self) -> None:
        """Drop what would be needed to do it again."""
        self.lost = True
        self.events = list(self.updates)

    @property
    def calls(self) -> list[Call]:
        """Its calls."""
        return [event for event in self.events if isinstance(event, Call)]

    @property
    def updates(self) -> list[Update]:
        """Its updates."""
        return [event for event in self.events if isinstance(event, Update)]

    def nbytes(self) -> int:
        """Memory that it takes, its snapshot included; what it shares with other steps counts."""
        total = self.snapshot.nbytes() if self.snapshot else 0
        for event in self.events:
            if isinstance(event, Call):
                total += nbytes((event.args, event.kwargs, event.outputs)) + 8000
            elif isinstance(event, Backward):
                total += sum(bytes_of(a.gradient) for a in event.arrivals)
                total += sum(bytes_of(t) for t in event.before.values() if t is not None)
            else:
                total += sum(bytes_of(t) for t in event.gradients.values() if t is not None)
        return total


def linked_calls(events: list[Call | Backward | Update]) -> set[int]:
    """Return the ids of the calls whose outputs calls among these were given."""
    calls = [event for event in events if isinstance(event, Call)]
    return {id(link.call) for call in calls for link in call.links}


def leave_evaluations_out(step: Step) -> None:
    """Drop calls in evaluation mode that no gradient came back to, and that no other call needs."""
    used = {id(a.call) for e in step.events if isinstance(e, Backward) for a in e.arrivals}
    used |= linked_calls(step.events)
    step.events = [
        e
        for e in step.events
        if not isinstance(e, Call) or e.training[0] or e.moved or id(e) in used
    ]
