"""A step on disk: all that is needed to do it again, and a page that says what went wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whence.errors import WhenceError
from whence.runs.store.files import SCHEMA, DamagedError, read_json, sha256, write_folder_whole
from whence.watch.events import Arrival, Backward, Call, Snapshot, Step, Update
from whence.watch.past import Past
from whence.watch.report import report_of
from whence.watch.stored import Store
from whence.watch.surroundings import Autocast, Generators
from whence.watch.world import World


@dataclass(frozen=True)
class Crash:
    """What a report is about.

    Attributes:
        reason: why it is written.
        before: the last steps done, oldest first.
    """

    reason: str
    before: list[Step] = field(default_factory=list)


def write_crash(folder: Path, past: Past, crash: Crash) -> Path:
    """Write a step and its report; where there is one of that step, beside it.

    Returns:
        The folder.

    Raises:
        WhenceError: it can't be written.
    """
    name, number = folder.name, 1
    while folder.exists():
        number += 1
        folder = folder.with_name(f"{name}-{number}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    store = Store()
    tree = _written(past, store, crash.reason)
    report = report_of(past, crash.reason, crash.before, folder)

    def fill(temporary: Path) -> None:
        store.save(temporary / "tensors.safetensors")
        tree["sha256"] = sha256(temporary / "tensors.safetensors")
        (temporary / "step.json").write_text(json.dumps(tree) + "\n", encoding="utf-8")
        (temporary / "report.md").write_text(report, encoding="utf-8")

    write_folder_whole(folder, fill)
    return folder


def open_crash(
    folder: Path | str,
    model: Any,
    optimizer: Any,
    decode: Callable[[int], str] | None = None,
) -> Past:
    """Open a step that a crash report was written of.

    Args:
        folder: such as `runs/mine/crashes/000017`.
        model: built as it was when it was watched; its weights are taken from the folder.
        optimizer: likewise.
        decode: token id → its text.

    Raises:
        WhenceError: the folder is damaged, or the model isn't of that shape.
    """
    folder = Path(folder)
    if not (folder / "step.json").is_file():
        raise WhenceError(f"{folder} holds no step.json: give a folder such as crashes/000017.")
    tree = read_json(folder / "step.json")
    path = folder / "tensors.safetensors"
    if not path.is_file() or tree.get("sha256") != sha256(path):
        raise DamagedError(path, "it isn't what was written (its sha256 differs)")
    world, store = World(model, optimizer), Store.load(path)
    try:
        snapshot, step = _read(tree, store)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DamagedError(folder / "step.json", f"it lacks or mistakes {error}") from error
    mine = [list(p.shape) for p in world.parameters]
    theirs = [list(p.shape) for p in snapshot.parameters]
    if mine != theirs:
        which = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), -1)
        what = f"parameter {world.names[which]}" if which >= 0 else "the number of parameters"
        raise WhenceError(f"the model isn't the one of {folder}: {what} differs.")
    return Past(world, set(), snapshot, [], step, decode)


def _written(past: Past, store: Store, reason: str) -> dict[str, Any]:
    snapshot, step = past.state_before(), past.step
    regions: list[Any] = []
    calls = {id(call): i for i, call in enumerate(step.calls)}
    events = []
    for event in step.events:
        if isinstance(event, Call):
            events.append({"call": store.written(_call(event, regions))})
        elif isinstance(event, Backward):
            arrivals = [
                (calls[id(a.call)], a.output, a.gradient)
                for a in event.arrivals
                if id(a.call) in calls
            ]
            events.append({"backward": store.written((event.before, arrivals, event.adds))})
        else:
            values = (
                event.optimizer, event.gradients, event.settings, event.extras, event.done,
                event.closures,
            )  # fmt: skip
            events.append({"update": store.written(values)})
    return {
        "schema": SCHEMA,
        "reason": reason,
        "step": step.number,
        "events": events,
        "notes": step.notes,
        "snapshot": store.written((snapshot.parameters, snapshot.states)),
    }


def _call(call: Call, regions: list[Any]) -> tuple:
    cast = []
    for one in call.autocast:
        if not any(one.region is r for r in regions):
            regions.append(one.region)
        which = next(i for i, r in enumerate(regions) if r is one.region)
        cast.append((one.device, one.dtype, one.cached, which))
    g = call.generators
    kind, keys, *rest = g.numpy
    generators = (g.cpu, g.cuda, g.python, (kind, keys.tolist(), *rest))
    return (
        call.model, call.args, call.kwargs, generators, cast, call.state, call.training,
        call.trainable, call.outputs, call.scalars, call.moved,
    )  # fmt: skip


def _read(tree: dict[str, Any], store: Store) -> tuple[Snapshot, Step]:
    import numpy as np

    parameters, states = store.read(tree["snapshot"])
    step = Step(tree["step"], notes=list(tree["notes"]))
    calls: list[Call] = []
    for event in tree["events"]:
        ((kind, written),) = event.items()
        values = store.read(written)
        if kind == "call":
            model, args, kwargs, generators, cast, *rest = values
            cpu, cuda, python, (name, keys, *others) = generators
            numpy = (name, np.array(keys, dtype=np.uint32), *others)
            state, training, trainable, outputs, scalars, moved = rest
            calls.append(
                Call(
                    model, args, kwargs, Generators(cpu, cuda, python, numpy),
                    tuple(Autocast(*one) for one in cast),
                    state, training, trainable, outputs, scalars, moved,
                )
            )  # fmt: skip
            step.events.append(calls[-1])
        elif kind == "backward":
            before, arrivals, adds = values
            found = [Arrival(calls[c], output, g, g._version) for c, output, g in arrivals]
            step.events.append(Backward(before, found, adds))
        else:
            step.events.append(Update(*values))
    return Snapshot(parameters, states), step
