"""Hooks on models and optimizers that note what a step does, and change nothing of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from whence.watch.hooks.ears import Ear, Passage
from whence.watch.hooks.gradients import Gradients
from whence.watch.hooks.outlet import Outlet, source_of
from whence.watch.hooks.states import States
from whence.watch.step.events import (
    Arrival,
    Backward,
    Call,
    Link,
    Step,
    Update,
    leave_evaluations_out,
    linked_calls,
)
from whence.watch.step.nested import mapped, nbytes, tensors
from whence.watch.step.numbers import copied, norm_of, sample
from whence.watch.step.surroundings import Generators, autocast_now
from whence.watch.step.world import World, cloned

_EXTRAS = ("grad_scale", "found_inf")  # a GradScaler hands them to fused optimizers


class Listener:
    """Notes calls, backward passes and updates, and cuts them into steps.

    Args:
        world: what is watched.
        memory: bytes that one step may take.
        opened: is given each step as it begins.
        seen: is given a step and an update, when its gradients are there and it isn't done yet.
        closed: is given each step when the last optimizer has updated.

    Attributes:
        step: the step that is going on, if one is.
        hooks: ids of the functions that listen.
    """

    def __init__(
        self,
        world: World,
        memory: int,
        opened: Callable[[Step], None],
        seen: Callable[[Step, Update, bool], None],
        closed: Callable[[Step], None],
    ):
        self.memory, self._taken = memory, 0
        self.world, self.opened, self.seen, self.closed = world, opened, seen, closed
        self.step: Step | None = None
        self.number = 0
        self.hooks: set[int] = set()
        self._functions: list[Any] = []  # kept, so that the ids stay theirs
        self._handles: list[Any] = []
        self._depth = 0
        self._call: Call | None = None
        self._open: dict[int, Backward] = {}
        self._probes: dict[str, nn.Parameter] = {}
        self.passes = 0  # backward passes since the last update
        self.backward_ended: Callable[[int], None] = lambda passes: None
        self.renew()
        for i, model in enumerate(world.models.values()):
            self._listen_to(i, model)
        for j, optimizer in enumerate(world.optimizers):
            self._follow(j, optimizer)

    def close(self) -> None:
        """Take all hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def renew(self) -> None:
        """Start again with the parameters and state tensors that there are now."""
        self._gradients = Gradients(self.world.parameters)
        self._copies = States(self.world)

    def _listen_to(self, i: int, model: nn.Module) -> None:
        # Plain functions: a copy of a module shares them, where it would copy a method's object.
        def before(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
            return self._before(i, args, kwargs)

        def after(module: nn.Module, args: tuple, output: Any) -> Any:
            return self._after(output)

        self.hooks |= {id(before), id(after)}
        self._handles += [
            model.register_forward_pre_hook(before, prepend=True, with_kwargs=True),
            model.register_forward_hook(after, always_call=True),
        ]
        self._functions += [before, after]

    def _follow(self, j: int, optimizer: torch.optim.Optimizer) -> None:
        def before(_: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
            closure = args[1] if len(args) > 1 else kwargs.get("closure")
            if closure is None:
                self._begin_update(j)
                return None
            first = True

            def watched() -> Any:
                nonlocal first
                loss = closure()
                if first:
                    self._begin_update(j)
                if self.step is not None:
                    self.step.updates[-1].closures += 1
                first = False
                return loss

            if len(args) > 1:
                return (args[0], watched, *args[2:]), kwargs
            return args, {**kwargs, "closure": watched}

        def after(*_: Any) -> None:
            self._end_update(j)

        self._handles += [
            optimizer.register_step_pre_hook(before),
            optimizer.register_step_post_hook(after),
        ]

    def _now(self) -> Step:
        """The step that is going on; a new one where there is none."""
        if self.step is None:
            self.step = Step(self.number, started=time.perf_counter())
            self._gradients.begin_step()
            self._taken = 0
            self.opened(self.step)
        return self.step

    def _before(self, i: int, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        self._depth += 1
        if self._depth > 1 or not torch.is_grad_enabled():
            return None
        step = self._now()
        given = tensors((args, kwargs))
        known = {id(t): self._link(t) for t in given}
        linked = any(known.values())
        if given and not linked:  # a loss function is given what a model has returned
            step.tokens += next((t.numel() for t in given if not t.is_floating_point()), 0)
            step.examples += len(given[0]) if given[0].dim() else 0
        if not self._has_room(step, (args, kwargs)):
            return None
        self._call = Call(
            i,
            mapped(args, lambda t: known[id(t)] or copied(t)),
            mapped(kwargs, lambda t: known[id(t)] or copied(t)),
            Generators.now(),
            autocast_now(self._probes),
            self._copies.of(i),
            tuple(m.training for m in self.world.modules[i]),
            tuple(self.world.parameters[n].requires_grad for n in self.world.of_model[i]),
            moved=self._copies.moved(),
        )
        if not linked:
            return None

        def hand(tensor: Tensor) -> Tensor:
            link = known[id(tensor)]
            return tensor if link is None else Outlet.apply(tensor, Passage(self._pass_on, link))

        return mapped(args, hand), mapped(kwargs, hand)

    def _link(self, tensor: Tensor) -> Link | None:
        """Find the output of an earlier call of the step that an argument is, or a view of it."""
        ear = source_of(tensor) if tensor.requires_grad else None
        if not isinstance(ear, Ear) or self.step is None or ear.call not in self.step.events:
            return None
        where, offset, version = ear.call.memory[ear.output]
        if tensor.untyped_storage().data_ptr() != where or tensor._version != version:
            return None
        size, stride = tuple(tensor.shape), tensor.stride()
        return Link(ear.call, ear.output, size, stride, int(tensor.storage_offset()) - offset)

    def _has_room(self, step: Step, more: Any) -> bool:
        """Whether a step may keep more; where not, it is let go of."""
        self._taken += nbytes(more)
        if self._taken > self.memory and not step.lost:
            step.lose()
        return not step.lost

    def _after(self, output: Any) -> Any:
        self._depth -= 1
        if self._depth or self._call is None:
            return None
        call, self._call = self._call, None
        self._now().events.append(call)
        if output is None:  # the model has raised, or returns nothing
            return None
        return mapped(output, lambda tensor: self._hand_on(call, tensor))

    def _hand_on(self, call: Call, tensor: Tensor) -> Tensor:
        """Return an output whose gradient from outside the model is observed."""
        if not tensor.requires_grad:
            return tensor
        number = len(call.outputs)
        call.outputs.append(sample(tensor))
        if tensor.numel() == 1:
            call.scalars[number] = tensor.detach().clone()
        handed = Outlet.apply(tensor, Ear(self._arrive, call, number))
        where = 0 if handed.is_sparse else handed.untyped_storage().data_ptr()
        call.memory.append(
            (where, 0 if handed.is_sparse else handed.storage_offset(), handed._version)
        )
        return handed

    def _pass_on(self, link: Link, gradient: Tensor) -> None:
        """Note the gradient that comes back to an output by way of a call that was given it."""
        backward = self._open.get(torch._C._current_graph_task_id())
        if backward is not None:
            backward.passed.append((link, gradient))

    def _arrive(self, call: Call, output: int, gradient: Tensor) -> None:
        """Note a gradient that has come to an output from outside of the model."""
        task = torch._C._current_graph_task_id()
        step = self._now()
        if not self._has_room(step, gradient):
            return
        backward = self._open.get(task)
        if backward is None:
            before, wiped = self._gradients.before_backward()
            if wiped and not step.updates:
                self._drop(step)
            backward = self._open[task] = Backward(before)
            step.events.append(backward)
            torch.autograd.Variable._execution_engine.queue_callback(lambda: self._end(task))
        backward.arrivals.append(Arrival(call, output, gradient, gradient._version))

    def _end(self, task: int) -> None:
        backward = self._open.pop(task, None)
        if backward is not None:
            backward.adds = self._gradients.after_backward()
            self.passes += backward.adds
            self.backward_ended(self.passes)

    def _drop(self, step: Step) -> None:
        """Forget what came before gradients were cleared without an update."""
        last = max((i for i, e in enumerate(step.events) if isinstance(e, Backward)), default=-1)
        moved, gone, rest = {}, step.events[: last + 1], step.events[last + 1 :]
        for event in gone:
            if isinstance(event, Call):
                moved.update(event.moved)
        needed = linked_calls(rest)
        step.events = [e for e in gone if id(e) in needed] + rest
        if moved and step.calls:
            step.calls[0].moved = {**moved, **step.calls[0].moved}

    def _begin_update(self, j: int) -> None:
        step, optimizer = self._now(), self.world.optimizers[j]
        gradients = self._gradients.as_seen(self.world.parameters_of(j))
        settings = [
            {k: cloned(v) for k, v in g.items() if k != "params"} for g in optimizer.param_groups
        ]
        extras = {k: cloned(v) for k in _EXTRAS if (v := getattr(optimizer, k, None)) is not None}
        update = Update(j, gradients, settings, extras)
        if not step.updates:
            step.rate = float(self.world.optimizers[0].param_groups[0].get("lr", 0.0))
        finite = self._note_norm(step, update)
        step.events.append(update)
        self.seen(step, update, finite)

    def _note_norm(self, step: Step, update: Update) -> bool:
        update.norm, finite = norm_of(update.gradients.values())
        known = step.grad_norm if step.updates else 0.0
        step.grad_norm = (known**2 + update.norm**2) ** 0.5
        return finite

    def _end_update(self, j: int) -> None:
        step = self.step
        if step is None:
            return
        for update in reversed(step.updates):
            if update.optimizer == j:
                update.done = update.closures < 2
                break
        self._copies.updated(self.world.parameters_of(j))
        if j == len(self.world.optimizers) - 1 and not self.world.blind:
            self._close_step(step)

    def end_step(self) -> bool:
        """End a step after an update that can't be seen; tell whether one was in progress."""
        step = self.step
        if step is None:
            return False
        update = Update(-1, self._gradients.left(), [])
        finite = self._note_norm(step, update)
        step.rate = float("nan")
        step.events.append(update)
        self.seen(step, update, finite)
        self._copies.updated(range(len(self.world.parameters)))
        self._close_step(step)
        return True

    def _close_step(self, step: Step) -> None:
        step.seconds = time.perf_counter() - step.started
        self.step, self.number, self.passes = None, self.number + 1, 0
        for call in step.calls:
            call.memory.clear()
        leave_evaluations_out(step)
        self.closed(step)
