"""A recorded step done again on copies: calls, backward passes and updates in their order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whence.watch.step.events import Backward, Call, Link, Snapshot, Step, Update
from whence.watch.step.links import sole_ways
from whence.watch.step.nested import mapped, tensors
from whence.watch.step.numbers import copied, factor, how_far, same_bits, sample
from whence.watch.step.surroundings import Generators, Regions
from whence.watch.step.unrecorded import unrecorded
from whence.watch.step.world import Copies, World, cloned


@dataclass(frozen=True)
class Difference:
    """An output of a redone call whose bits aren't those it had.

    Attributes:
        call: the number of the call in its step.
        output: the number of the output.
        far: the largest difference of the numbers compared; infinite where their shapes differ.

    Example:
        >>> print(Difference(call=3, output=0, far=1e-3))
        call 3, output 0: 0.001 off
    """

    call: int
    output: int
    far: float

    def __str__(self) -> str:
        return f"call {self.call}, output {self.output}: {self.far:.3g} off"


class Redo:
    """Does a step again.

    Args:
        world: what was watched.
        hooks: ids of the functions that watch it.
        snapshot: the state before the first of the steps between.
        between: the steps from the snapshot up to the one to redo, without it.
        step: the one to redo.

    Attributes:
        copies: what it is done on; before `run`, in the state before the step.
        differences: what came out otherwise.
        notes: sentences about what the loop did between its models and its updates.
        multiplied_by: what all gradients were multiplied by between the backward passes and the
            last update, as clipping does; 1: nothing.

    Example:
        >>> from torch import nn
        >>> from whence.watch import open_step
        >>> past, _ = open_step("runs/watched", 2, nn.Linear(2, 1))
        >>> redone: Redo = past.prepare()  # copies, in the state before the step
        >>> outputs = redone.run()
        >>> redone.differences
        []
    """

    def __init__(
        self, world: World, hooks: set[int], snapshot: Snapshot, between: list[Step], step: Step
    ):
        self.world, self.step = world, step
        self._ways = sole_ways(step)
        self.copies = Copies.of(world, hooks)
        self.copies.restore(snapshot)
        self.differences: list[Difference] = []
        self.notes: list[str] = list(step.notes)
        self.multiplied_by = 1.0
        for earlier in between:
            for event in earlier.events:
                if isinstance(event, Call):
                    self._move(event)
                elif isinstance(event, Update):
                    for number, seen in event.gradients.items():
                        grad = None if seen is None else seen.clone()
                        self.copies.parameters[number].grad = grad
                    self._update(event)
        if step.calls:
            self._move(step.calls[0])

    def run(self) -> list[Tensor]:
        """Do the step; return the outputs that gradients arrived at."""
        regions, outside = Regions(), Generators.now()
        self.differences, roots = [], []
        events = self.step.events
        last_use = {
            id(arrival.call): n
            for n, event in enumerate(events)
            if isinstance(event, Backward) and event.adds
            for arrival in event.arrivals
        }
        made: dict[int, list[Tensor]] = {}
        for p in self.copies.parameters:
            p.grad = None
        try:
            for n, event in enumerate(events):
                if isinstance(event, Call):
                    regions.enter(event.autocast)
                    made[id(event)] = self._call(event, made)
                    continue
                following = next((e for e in events[n:] if isinstance(e, Call)), None)
                if following is None or following.autocast != regions.now:
                    regions.close()
                if isinstance(event, Update):
                    self._see(event)
                    self._update(event)
                elif event.adds:
                    roots += self._backward(event, made, n, last_use)
                else:
                    self._begin_from(event)
        finally:
            regions.close()
            outside.restore()
        return roots

    def _move(self, call: Call) -> None:
        for number, value in call.moved.items():
            parameter = self.copies.parameters[number]
            with unrecorded():
                moved = not same_bits(parameter, value)
            if moved:
                parameter.data.copy_(value)

    def _call(self, call: Call, made: dict[int, list[Tensor]]) -> list[Tensor]:
        model = list(self.copies.models.values())[call.model]
        self._move(call)
        with unrecorded():
            self._put_state(call)
            args, kwargs = mapped(call.args, copied), mapped(call.kwargs, copied)

        def follow(link: Link) -> Tensor:
            with torch.enable_grad():
                view = link.of(made[id(link.call)][link.output])
            return view if id(link) in self._ways else view.detach().requires_grad_()

        args, kwargs = mapped(args, follow, Link), mapped(kwargs, follow, Link)
        modules = self.copies.modules[call.model]
        for module, training in zip(modules, call.training, strict=True):
            module.training = training
        numbers = self.world.of_model[call.model]
        for number, trainable in zip(numbers, call.trainable, strict=True):
            self.copies.parameters[number].requires_grad_(trainable)
        call.generators.restore()
        with torch.enable_grad():
            result = model(*args, **kwargs)
        outputs = [t for t in tensors(result) if t.requires_grad]
        which = self.step.calls.index(call)
        with unrecorded():
            for i, was in enumerate(call.outputs):
                now = sample(outputs[i]) if i < len(outputs) else None
                if not same_bits(was, now):
                    self.differences.append(Difference(which, i, how_far(was, now)))
        return outputs

    def _put_state(self, call: Call) -> None:
        for number, value in call.state.items():
            owner, name = self.copies.owners[number], self.world.places[number][1]
            if name in owner._buffers:
                owner._buffers[name] = value.clone()
            else:
                setattr(owner, name, value.clone())

    def _begin_from(self, event: Backward) -> None:
        with unrecorded():
            for number, value in event.before.items():
                self.copies.parameters[number].grad = None if value is None else value.clone()

    def _backward(
        self, event: Backward, made: dict[int, list[Tensor]], n: int, last_use: dict[int, int]
    ) -> list[Tensor]:
        self._begin_from(event)
        roots, arrived_from_outside = [], []
        again = False
        for arrival in event.arrivals:
            outputs = made.get(id(arrival.call))
            if outputs is None:
                self._note(
                    "a gradient arrived at a call of an earlier step, which is not redone: give "
                    "watch() the optimizers in the order in which the loop steps them"
                )
            elif arrival.output < len(outputs):
                again = again or last_use[id(arrival.call)] > n
                if any(
                    link.call is arrival.call and link.output == arrival.output
                    for link, _ in event.passed
                    if id(link) in self._ways
                ):
                    continue  # it comes by way of the call that was given this output
                if arrival.gradient._version != arrival.version:
                    self._note("the loop overwrote a gradient that had arrived at an output")
                roots.append(outputs[arrival.output])
                arrived_from_outside.append(arrival.gradient)
        if roots:
            torch.autograd.backward(roots, arrived_from_outside, retain_graph=again)
        return roots

    def _see(self, event: Update) -> None:
        """Give the update the gradients that it saw, saying what had been done to them."""
        parameters = self.copies.parameters
        with unrecorded():
            off = self._off(event)
            multiplied_by = self._factor(event) if off else None
        if multiplied_by is not None:
            self.multiplied_by = float(multiplied_by)
            with torch.no_grad():
                for n in event.gradients:
                    gradient = parameters[n].grad
                    if gradient is not None:
                        gradient.mul_(multiplied_by)
            self._note(
                f"between backward() and the update all gradients were multiplied by "
                f"{float(multiplied_by):.6g}, as clipping or a GradScaler does"
            )
            return
        if off:
            with unrecorded():
                self._note_changed(event, off)
        with torch.no_grad():
            for n in off:
                gradient, as_seen = parameters[n].grad, event.gradients[n]
                if gradient is None or as_seen is None or gradient.is_sparse or as_seen.is_sparse:
                    with unrecorded():
                        parameters[n].grad = None if as_seen is None else as_seen.clone()
                else:
                    gradient.copy_(as_seen)

    def _off(self, event: Update) -> list[int]:
        """The parameters whose gradients aren't those that the update saw."""
        found = self.copies.parameters
        return [n for n, seen in event.gradients.items() if not same_bits(found[n].grad, seen)]

    def _factor(self, event: Update) -> Tensor | None:
        pairs = [(self.copies.parameters[n].grad, seen) for n, seen in event.gradients.items()]
        if any((raw is None) != (seen is None) for raw, seen in pairs):
            return None
        there = [(raw, seen) for raw, seen in pairs if raw is not None and seen is not None]
        if any(raw.is_sparse or seen.is_sparse for raw, seen in there):
            return None
        return factor([raw for raw, _ in there], [seen for _, seen in there])

    def _note_changed(self, event: Update, off: list[int]) -> None:
        far = {n: how_far(self.copies.parameters[n].grad, event.gradients[n]) for n in off}
        known = {n: f for n, f in far.items() if f != float("inf")} or far
        worst = max(known, key=known.__getitem__)
        more = f" (and {len(off) - 1} more)" if len(off) > 1 else ""
        by = f" by up to {far[worst]:.3g}" if far[worst] != float("inf") else ""
        self._note(
            f"the gradient of {self.world.names[worst]}{more} was changed outside the models{by}: "
            "it is taken as the update saw it"
        )

    def _update(self, event: Update) -> None:
        if event.closures > 1:
            self._note("an optimizer called its closure more than once: its update is not redone")
        if event.optimizer < 0:
            self._note(
                "the optimizer isn't torch's: calls and backward passes are done again, its update "
                "isn't"
            )
        if not event.done:
            return
        optimizer = self.copies.optimizers[event.optimizer]
        with unrecorded():
            for group, settings in zip(optimizer.param_groups, event.settings, strict=True):
                group.update(cloned(settings))
        for name, value in event.extras.items():
            setattr(optimizer, name, value)
        if event.closures:
            optimizer.step(lambda: 0.0)  # what it would compute is there already
        else:
            optimizer.step()
        for name in event.extras:
            delattr(optimizer, name)

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def state_before(self) -> Snapshot:
        """Copy the state that `run` begins with."""
        number = {id(p): n for n, p in enumerate(self.copies.parameters)}
        states = [
            {number[id(p)]: cloned(kinds) for p, kinds in one.state.items() if id(p) in number}
            for one in self.copies.optimizers
        ]
        return Snapshot([p.detach().clone() for p in self.copies.parameters], states)

    def state_dict(self) -> dict[str, Tensor]:
        """The optimizers' tensors by parameter and kind, as a trace asks for them."""
        return {
            f"{self.world.names[number]}.{kind}": value
            for optimizer in self.copies.optimizers
            for number, p in enumerate(self.copies.parameters)
            for kind, value in optimizer.state.get(p, {}).items()
            if isinstance(value, Tensor)
        }
