"""Steps of a watched loop opened in another process, from what is stored of them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from whence.errors import WhenceError
from whence.watch.again.past import Past
from whence.watch.disk.ondisk import Stored, has_snapshot, is_step, read_step
from whence.watch.step.events import Backward, Call, Snapshot, Step
from whence.watch.step.world import World

Decode = Callable[[int], str]


def open_crash(
    folder: Path | str,
    model: Any,
    optimizer: Any = None,
    decode: Decode | None = None,
    loss: Any = None,
) -> Past:
    """Open a step that a crash report was written of.

    Args:
        folder: such as `runs/mine/crashes/000017`.
        model: built as it was when it was watched; its weights are taken from the folder.
        optimizer: likewise; none: one of torch's is made as it was.
        decode: token id → its text.
        loss: the loss function, where `watch` was given one.

    Raises:
        WhenceError: the folder is damaged, or the model isn't of that shape.

    Returns:
        The step, to be opened by `trace()`.

    Example:
        >>> from torch import nn
        >>> past = open_crash("runs/watched/crashes/000003", nn.Linear(2, 1))
        >>> past.step.number
        3
    """
    stored = read_step(Path(folder))
    assert stored.step.snapshot is not None
    return _past(stored, stored.step.snapshot, [], {"model": model, "optimizer": optimizer,
                                                    "loss": loss}, decode)  # fmt: skip


def open_step(
    run: Path | str, step: int | None, built: Any, decode: Decode | None = None
) -> tuple[Past, str]:
    """Open a step that a watched run has stored: a crash, or one kept by `keep=`.

    Args:
        run: the run's folder.
        step: which; none: the last crash, else the last that is stored.
        built: the model; (model, optimizer); or `{"model": …, "optimizer": …, "loss": …}`, of
            which all but the model may be missing.
        decode: token id → its text.

    Returns:
        The step, and why a report was written of it; "" where none was.

    Raises:
        WhenceError: the step isn't stored, or the model isn't of that shape.

    Example:
        >>> from torch import nn
        >>> past, reason = open_step("runs/watched", 2, nn.Linear(2, 1))
        >>> past.step.number, reason
        (2, '')
    """
    run = Path(run)
    kept, crashes = _numbers(run / "steps"), _numbers(run / "crashes")
    if step is None:
        step = max(crashes or kept, default=None)
    if step is None or step not in kept | crashes:
        raise WhenceError(_not_stored(run, step, kept, crashes))
    parts = _parts(built)
    if step in crashes:
        stored = read_step(crashes[step])
        assert stored.step.snapshot is not None
        return _past(stored, stored.step.snapshot, [], parts, decode), stored.reason
    start = step
    while not has_snapshot(kept[start]):
        start -= 1
        if start not in kept:
            raise WhenceError(
                f"{run}: no copy of the state leads to step {step}, since step {start} isn't "
                "stored: open a later one."
            )
    chain = [read_step(kept[n]) for n in range(start, step + 1)]
    snapshot = chain[0].step.snapshot
    assert snapshot is not None
    return _past(chain[-1], snapshot, [one.step for one in chain[:-1]], parts, decode), ""


def stored_steps(run: Path) -> list[int]:
    """Return the steps of a watched run that can be opened.

    Example:
        >>> stored_steps(Path("runs/watched"))
        [0, 1, 2, 3]
    """
    return sorted(_numbers(run / "steps") | _numbers(run / "crashes"))


def built_by(spec: str) -> Any:
    """Call the function that builds a model, named as `module:function`.

    Raises:
        WhenceError: there is no such module or function, or it fails.

    Example:
        >>> type(built_by("collections:Counter")).__name__
        'Counter'
    """
    module, colon, name = spec.partition(":")
    if not (module and colon and name):
        raise WhenceError(f"--model is {spec!r}: give module:function, such as my_module:build.")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return found()
    except WhenceError:
        raise
    except Exception as error:  # whatever the module does wrong
        raise WhenceError(
            f"{spec} failed to build a model ({type(error).__name__}: {error}): it must be "
            "importable from here, and need no arguments."
        ) from error
    finally:
        sys.path.remove(here)


def _numbers(folder: Path) -> dict[int, Path]:
    """The stored steps of a folder; of several of one step, the last."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        number = path.name.partition("-")[0]
        if number.isdigit() and is_step(path):
            found[int(number)] = path
    return found


def _not_stored(run: Path, step: int | None, kept: Any, crashes: Any) -> str:
    known = sorted({*kept, *crashes})
    if not known:
        return (
            f"{run} has stored no step: give watch() keep='all' or such as 'every 100', or call "
            "recorder.dump()."
        )
    shown = ", ".join(map(str, known[:6])) + (f", … {known[-1]}" if len(known) > 6 else "")
    return f"{run} hasn't stored step {step}: there are {shown}."


def _parts(built: Any) -> dict[str, Any]:
    if isinstance(built, Mapping) and "model" in built:
        return dict(built)
    if isinstance(built, tuple) and len(built) == 2 and not isinstance(built[1], nn.Module):
        return {"model": built[0], "optimizer": built[1]}
    return {"model": built}


def _past(
    stored: Stored, snapshot: Snapshot, between: list[Step], parts: dict[str, Any], decode: Any
) -> Past:
    loss = parts.get("loss") if "loss" in stored.models else None
    if "loss" in stored.models and loss is None:
        _leave_out_loss(stored.step, stored.models.index("loss"))
    world = World(parts["model"], parts.get("optimizer") or [], loss)
    _check_shape(stored, world)
    for number in range(len(world.parameters), len(stored.names)):  # only an optimizer has these
        world.add(stored.names[number], snapshot.parameters[number].clone())
    if parts.get("optimizer") is None:
        world.optimizers = [_made(one, stored, world) for one in stored.optimizers]
        world.blind = []
    return Past(world, set(), snapshot, between, stored.step, decode or parts.get("decode"),
                parts.get("source"))  # fmt: skip


def _check_shape(stored: Stored, world: World) -> None:
    for number, (name, shape) in enumerate(zip(stored.names, stored.shapes, strict=True)):
        if name.startswith("optimizer") and number >= len(world.names):
            continue
        if number >= len(world.names) or world.names[number] != name:
            found = world.names[number] if number < len(world.names) else "none"
            raise WhenceError(
                f"the model doesn't match {stored.folder}: parameter {number} was {name} and is "
                f"{found}."
            )
        if list(world.shapes[number]) != shape:
            raise WhenceError(
                f"the model doesn't match {stored.folder}: parameter {name} differs, it was "
                f"{shape} and is {[*world.shapes[number]]}."
            )
    if len(world.names) > len(stored.names):
        raise WhenceError(
            f"the model doesn't match {stored.folder}: {world.names[len(stored.names)]} is new."
        )


def _made(told: dict[str, Any], stored: Stored, world: World) -> torch.optim.Optimizer:
    """Make an optimizer as it was: its class is looked up in torch.optim alone."""
    kind = getattr(torch.optim, told["class"], None) if told["torch"] else None
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        raise WhenceError(
            f"{stored.folder} was made with {told['class']}, which isn't one of torch.optim's: let "
            "the function return (model, optimizer)."
        )
    groups = [{"params": [world.parameters[n] for n in numbers]} for numbers in told["groups"]]
    return kind(groups, lr=1e-3)  # type: ignore[call-arg]  # each update brings its settings


def _leave_out_loss(step: Step, number: int) -> None:
    """Without the loss function the receipts end where its gradient arrived."""
    gone = {id(e) for e in step.events if isinstance(e, Call) and e.model == number}
    step.events = [e for e in step.events if id(e) not in gone]
    for event in step.events:
        if isinstance(event, Backward):
            event.arrivals = [a for a in event.arrivals if id(a.call) not in gone]
            event.passed = []
    step.notes.append("the loss function isn't given here: receipts end where its gradient arrived")
