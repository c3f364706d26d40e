"""A step on disk: all that is needed to do it again, as JSON and safetensors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from whence.errors import WhenceError
from whence.runs.store.files import SCHEMA, DamagedError, read_json, sha256, write_folder_whole
from whence.watch.disk.stored import Numbered, Store
from whence.watch.step.events import Arrival, Backward, Call, Link, Snapshot, Step, Update
from whence.watch.step.losses import loss_of
from whence.watch.step.nested import mapped
from whence.watch.step.surroundings import Autocast, Generators
from whence.watch.step.world import World

_STEP, _TENSORS = "step.json", "tensors.safetensors"


@dataclass(frozen=True)
class Stored:
    """A step that was read from a folder.

    Attributes:
        folder: which.
        step: the step; its snapshot is the state before it, if it was stored with one.
        reason: why a report was written of it; "" where none was.
        names: of the parameters, as they were numbered.
        shapes: theirs.
        models: names of the models.
        optimizers: of each its class and, by group, the numbers of its parameters.
    """

    folder: Path
    step: Step
    reason: str
    names: list[str]
    shapes: list[list[int]]
    models: list[str]
    optimizers: list[dict[str, Any]]


def write_step(
    folder: Path, world: World, step: Step, snapshot: Snapshot | None, reason: str = ""
) -> None:
    """Write a step into a folder, which must not be there yet.

    Args:
        folder: such as `crashes/000017`.
        world: what is watched.
        step: the step.
        snapshot: the state before it; none: that of a step stored before leads to it.
        reason: why.

    Raises:
        WhenceError: it can't be written.
    """
    store = Store()
    tree = {
        "schema": SCHEMA,
        "reason": reason,
        "step": step.number,
        "names": world.names,
        "shapes": [list(shape) for shape in world.shapes],
        "models": list(world.models),
        "optimizers": _optimizers(world),
        "events": _events(step, store),
        "notes": step.notes,
        "told": {"loss": store.written(loss_of(step)), "rate": store.written(step.rate),
                 "grad_norm": store.written(step.grad_norm)},
        "snapshot": None if snapshot is None else store.written(
            (snapshot.parameters, snapshot.states)
        ),
    }  # fmt: skip

    def fill(temporary: Path) -> None:
        store.save(temporary / _TENSORS)
        tree["sha256"] = sha256(temporary / _TENSORS)
        (temporary / _STEP).write_text(json.dumps(tree) + "\n", encoding="utf-8")

    folder.parent.mkdir(parents=True, exist_ok=True)
    write_folder_whole(folder, fill)


def is_step(folder: Path) -> bool:
    """Tell whether a step lies in a folder."""
    return (folder / _STEP).is_file()


def has_snapshot(folder: Path) -> bool:
    """Tell whether a step was stored with the state before it."""
    return read_json(folder / _STEP).get("snapshot") is not None


def read_step(folder: Path) -> Stored:
    """Read a step.

    Raises:
        WhenceError: the folder holds none, or is damaged.
    """
    if not is_step(folder):
        raise WhenceError(f"{folder} has no {_STEP}: give a folder such as crashes/000017.")
    tree = read_json(folder / _STEP)
    path = folder / _TENSORS
    if not path.is_file() or tree.get("sha256") != sha256(path):
        raise DamagedError(path, "it isn't what was written (its sha256 differs)")
    store = Store.load(path)
    try:
        step = _step(tree, store)
        told = {name: store.read(value) for name, value in tree["told"].items()}
        step.loss, step.rate, step.grad_norm = told["loss"], told["rate"], told["grad_norm"]
        names, shapes, models = tree["names"], tree["shapes"], tree["models"]
        return Stored(folder, step, tree["reason"], names, shapes, models, tree["optimizers"])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DamagedError(folder / _STEP, f"it lacks or mistakes {error}") from error


def _optimizers(world: World) -> list[dict[str, Any]]:
    return [
        {
            "class": type(one).__name__,
            "torch": type(one).__module__.partition(".")[0] == "torch",
            "groups": [
                [world.number[id(p)] for p in group["params"] if id(p) in world.number]
                for group in one.param_groups
            ],
        }
        for one in world.optimizers
    ]


def _events(step: Step, store: Store) -> list[Any]:
    regions: list[Any] = []
    calls = {id(call): i for i, call in enumerate(step.calls)}
    links = {id(link): (i, n) for i, c in enumerate(step.calls) for n, link in enumerate(c.links)}
    events = []
    for event in step.events:
        if isinstance(event, Call):
            events.append({"call": store.written(_call(event, regions, calls))})
        elif isinstance(event, Backward):
            arrivals = [
                (calls[id(a.call)], a.output, a.gradient)
                for a in event.arrivals
                if id(a.call) in calls
            ]
            passed = [(links[id(k)], g) for k, g in event.passed if id(k) in links]
            events.append({"backward": store.written((event.before, arrivals, event.adds, passed))})
        else:
            values = (
                event.optimizer, event.gradients, event.settings, event.extras, event.done,
                event.closures, event.norm,
            )  # fmt: skip
            events.append({"update": store.written(values)})
    return events


def _call(call: Call, regions: list[Any], calls: dict[int, int]) -> tuple:
    cast = []
    for one in call.autocast:
        if not any(one.region is r for r in regions):
            regions.append(one.region)
        which = next(i for i, r in enumerate(regions) if r is one.region)
        cast.append((one.device, one.dtype, one.cached, which))
    g = call.generators
    kind, keys, *rest = g.numpy
    generators = (g.cpu, g.cuda, g.python, (kind, keys.tolist(), *rest))
    links = [(calls[id(k.call)], k.output, k.size, k.stride, k.offset) for k in call.links]
    number = {id(link): n for n, link in enumerate(call.links)}
    args, kwargs = mapped((call.args, call.kwargs), lambda k: Numbered(number[id(k)]), Link)
    return (
        call.model, args, kwargs, generators, cast, call.state, call.training,
        call.trainable, call.outputs, call.scalars, call.moved, links,
    )  # fmt: skip


def _step(tree: dict[str, Any], store: Store) -> Step:
    step = Step(tree["step"], notes=list(tree["notes"]))
    if tree["snapshot"] is not None:
        step.snapshot = Snapshot(*store.read(tree["snapshot"]))
    calls: list[Call] = []
    links: list[list[Link]] = []
    for event in tree["events"]:
        ((kind, written),) = event.items()
        values = store.read(written)
        if kind == "call":
            model, args, kwargs, generators, cast, *rest, given = values
            links.append([Link(calls[call], *how) for call, *how in given])
            mine = links[-1]
            args, kwargs = mapped((args, kwargs), lambda k, mine=mine: mine[k.number], Numbered)
            cpu, cuda, python, (name, keys, *others) = generators
            numpy = (name, np.array(keys, dtype=np.uint32), *others)
            autocast = tuple(Autocast(*one) for one in cast)
            made = Generators(cpu, cuda, python, numpy)
            calls.append(Call(model, args, kwargs, made, autocast, *rest))
            step.events.append(calls[-1])
        elif kind == "backward":
            before, arrivals, adds, passed = values
            found = [Arrival(calls[c], output, g, g._version) for c, output, g in arrivals]
            ways = [(links[i][n], gradient) for (i, n), gradient in passed]
            step.events.append(Backward(before, found, adds, ways))
        else:
            step.events.append(Update(*values))
    return step
