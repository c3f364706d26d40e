"""What is watched: models, optimizers, their parameters, and the tensors that modules keep."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from whence.errors import WhenceError
from whence.watch.step.events import Snapshot


class World:
    """Models and optimizers, with a number for each parameter and each tensor of state.

    Args:
        model: one, several in the order of their use, or several by name.
        optimizer: one, or several in the order in which the loop steps them.
        loss: the loss function, where it is to be recorded as the models are.
        shared: objects that modules refer to and that aren't copied with them.

    Attributes:
        models: by name; a single one has the name "", and the loss function is called "loss".
        optimizers: torch's, in that order.
        blind: the classes of the others, whose updates can't be seen.
        parameters: of the models, then those that only an optimizer has.
        names: of the parameters.
        places: (module, name) of each buffer, and of each other tensor that is an attribute of a
            module, such as the state of a recurrent network between batches.

    Raises:
        WhenceError: where something isn't a module.
    """

    def __init__(self, model: Any, optimizer: Any, loss: Any = None, shared: Sequence[Any] = ()):
        self.models = _models(model)
        if loss is not None:
            self.models["loss"] = loss if isinstance(loss, nn.Module) else Function(loss)
        self.shared = tuple(shared)
        given = list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer]
        found = [_torch_optimizer(one) for one in given]
        self.optimizers: list[torch.optim.Optimizer] = [one for one in found if one is not None]
        unseen = [one for one, seen in zip(given, found, strict=True) if seen is None]
        self.blind = ["no optimizer" if one is None else type(one).__name__ for one in unseen]
        self.renew()

    def renew(self) -> None:
        """Number the parameters and tensors of state that there are now."""
        self.written = {name: written(m) for name, m in self.models.items()}
        self.parameters: list[Tensor] = []
        self.names: list[str] = []
        self.number: dict[int, int] = {}
        for name, tensor in self._found():
            if id(tensor) not in self.number:
                self.number[id(tensor)] = len(self.parameters)
                self.parameters.append(tensor)
                self.names.append(name)
        self.shapes = [tuple(p.shape) for p in self.parameters]
        several = list(self.written.values())
        self.of_model = [[self.number[id(p)] for p in m.parameters()] for m in several]
        self.modules = [list(m.modules()) for m in several]
        self.places: list[tuple[nn.Module, str]] = []
        self.places_of: list[list[int]] = [[] for _ in self.models]
        self.find_places()

    def add(self, name: str, tensor: Tensor) -> None:
        """Number a parameter that no model has."""
        self.number[id(tensor)] = len(self.parameters)
        self.parameters.append(tensor.requires_grad_())
        self.names.append(name)
        self.shapes.append(tuple(tensor.shape))

    def change(self) -> str:
        """Say which parameter isn't what it was when they were numbered; "" where all are."""
        found = {id(p): (name, p) for name, p in reversed(self._found())}
        for number, (p, name) in enumerate(zip(self.parameters, self.names, strict=True)):
            if name.startswith("optimizer"):
                continue  # of an optimizer alone: no module could change it
            if id(p) not in found:
                return f"{name} is gone or replaced"
            if tuple(p.shape) != self.shapes[number]:
                return f"{name} was {[*self.shapes[number]]} and is {[*p.shape]}"
        new = next((name for key, (name, _) in found.items() if key not in self.number), None)
        return f"{new} is new" if new is not None else ""

    def _found(self) -> list[tuple[str, Tensor]]:
        found: list[tuple[str, Tensor]] = [
            (f"{prefix}.{name}" if prefix else name, p)
            for prefix, m in self.written.items()
            for name, p in m.named_parameters()
        ]
        for i, one in enumerate(self.optimizers):
            for j, p in enumerate(p for g in one.param_groups for p in g["params"]):
                found.append((f"optimizer{i}.parameter{j}", p))
        return found

    def find_places(self) -> None:
        """Look for tensors that modules keep, and that weren't there before."""
        known = {(id(m), name) for m, name in self.places}
        for i, modules in enumerate(self.modules):
            for module in modules:
                for name in (*module._buffers, *_plain(module)):
                    if (id(module), name) not in known:
                        known.add((id(module), name))
                        self.places_of[i].append(len(self.places))
                        self.places.append((module, name))

    def parameters_of(self, optimizer: int) -> list[int]:
        """The numbers of an optimizer's parameters, in its order."""
        groups = self.optimizers[optimizer].param_groups
        return [self.number[id(p)] for g in groups for p in g["params"] if id(p) in self.number]

    def snapshot(self) -> Snapshot:
        """Copy the parameters and what the optimizers keep."""
        return Snapshot([p.detach().clone() for p in self.parameters], self.states())

    def states(self) -> list[dict[int, dict[str, Any]]]:
        """Copy what the optimizers keep of each parameter."""
        return [
            {
                self.number[id(p)]: cloned(kinds)
                for p, kinds in one.state.items()
                if id(p) in self.number
            }
            for one in self.optimizers
        ]


def _models(model: Any) -> dict[str, nn.Module]:
    if isinstance(model, nn.Module):
        return {"": model}
    if isinstance(model, Mapping):
        found = dict(model)
    elif isinstance(model, Sequence):
        kinds = [type(m).__name__ for m in model]
        names = [k if kinds.count(k) == 1 else f"{k}{i}" for i, k in enumerate(kinds)]
        found = dict(zip(names, model, strict=True))
    else:
        found = {"": model}
    wrong = next((m for m in found.values() if not isinstance(m, nn.Module)), None)
    if wrong is not None or not found:
        raise WhenceError(
            f"watch() was given a {type(wrong).__name__} as a model: give it an nn.Module, or "
            "several as {'name': module}."
        )
    return found


class Function(nn.Module):
    """A loss function as a module, so that its calls are seen.

    Args:
        function: it.
    """

    def __init__(self, function: Callable[..., Tensor]):
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        return self.function(*args, **kwargs)


def written(model: nn.Module) -> nn.Module:
    """Return a module as its author wrote it: without torch.compile, DistributedDataParallel."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _torch_optimizer(one: Any) -> torch.optim.Optimizer | None:
    """Return torch's optimizer that something is or holds, such as Accelerate's."""
    while one is not None:
        inner = getattr(one, "optimizer", None)
        if isinstance(inner, torch.optim.Optimizer):
            one = inner
        elif isinstance(one, torch.optim.Optimizer):
            return one
        else:
            return None
    return None


def _plain(module: nn.Module) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter)
    ]


def cloned(value: Any) -> Any:
    """Copy the tensors of a nested value, detached."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {k: cloned(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([cloned(v) for v in value])
    return value


@dataclass
class Copies:
    """Copies of what is watched, to redo steps on.

    Attributes:
        models: by name.
        optimizers: in order.
        parameters: by number.
        owners: the module of each place.
        modules: of each model.
    """

    models: dict[str, nn.Module]
    optimizers: list[torch.optim.Optimizer]
    parameters: list[Tensor]
    owners: list[nn.Module]
    modules: list[list[nn.Module]]

    @classmethod
    def of(cls, world: World, hooks: set[int]) -> Copies:
        """Copy all of it.

        Args:
            world: what is watched.
            hooks: ids of the functions that watch it, which the copies don't get.
        """
        change = world.change()
        if change:
            raise WhenceError(
                f"the model has changed since the step was recorded ({change}): open steps before "
                "such a change, or those after the next copy."
            )
        memo: dict[int, Any] = {id(one): one for one in world.shared}
        for module in (m for several in world.modules for m in several):
            for name in _plain(module):  # a tensor inside a graph can't be copied by deepcopy
                tensor = getattr(module, name)
                memo[id(tensor)] = tensor.detach().clone()
            for parameter in module._parameters.values():
                if parameter is not None and id(parameter) not in memo:
                    memo[id(parameter)] = _parameter(parameter)
        for tensor in world.parameters:
            if id(tensor) not in memo:
                memo[id(tensor)] = _parameter(tensor)
        try:
            models = {name: copy.deepcopy(m, memo) for name, m in world.written.items()}
            optimizers = [copy.deepcopy(one, memo) for one in world.optimizers]
        except (TypeError, RuntimeError, AttributeError) as error:
            raise WhenceError(
                f"the model or the optimizer can't be copied, so no step can be redone ({error}): "
                "give it a __deepcopy__."
            ) from error
        for several in world.modules:
            for module in several:
                made = memo.get(id(module))
                if made is not None:
                    for table in (made._forward_pre_hooks, made._forward_hooks):
                        for key in [k for k, hook in table.items() if id(hook) in hooks]:
                            del table[key]
        for before, after in zip(world.optimizers, optimizers, strict=True):
            for name, value in vars(before).items():  # what a subclass keeps, such as LBFGS
                ours = name in vars(after) or name.startswith("_optimizer") or callable(value)
                if not ours:
                    setattr(after, name, copy.deepcopy(value, memo))
        return cls(
            models,
            optimizers,
            [memo[id(p)] for p in world.parameters],
            [memo.get(id(m), m) for m, _ in world.places],
            [[memo.get(id(m), m) for m in several] for several in world.modules],
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Give them the values of a snapshot."""
        with torch.no_grad():
            for p, value in zip(self.parameters, snapshot.parameters, strict=True):
                p.data = value.clone()
                p.grad = None
        for one, states in zip(self.optimizers, snapshot.states, strict=True):
            one.state.clear()
            for number, kinds in states.items():
                one.state[self.parameters[number]] = cloned(kinds)


def _parameter(tensor: Tensor) -> Tensor:
    made = tensor.detach().clone()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(made, requires_grad=tensor.requires_grad)
    return made.requires_grad_(tensor.requires_grad)
