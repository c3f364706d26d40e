"""Forking: a new run that shares another's past up to a step and differs from there on."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from whence.data import prepare
from whence.data.files import second_name
from whence.errors import WhenceError
from whence.runs.recipe import Recipe
from whence.runs.replay import Moment, go_to
from whence.runs.run import Run
from whence.runs.settings import differences, nested
from whence.runs.store.chain import link, note
from whence.runs.store.checkpoints import copied, save_checkpoint
from whence.runs.store.header import Header, Origin
from whence.runs.store.past import Past
from whence.runs.store.records.record import Logs
from whence.runs.training.creation import now
from whence.runs.training.session import freeze, outline
from whence.runs.weights import edit_weights

__all__ = ["changed_recipe", "fork"]

BOUND_TO_WEIGHTS = ("data.tokenizer", "data.vocab_size", "data.validation", "data.documents")


def fork(
    run: Run,
    step: int,
    out: Path | str,
    changes: Mapping[str, Any] | None = None,
    *,
    weights: Mapping[str, float] | None = None,
    edit: Callable[[nn.Module], None] | None = None,
    approximate: bool = False,
) -> Run:
    """Make a run that has another's past up to a step, and its own recipe from there on.

    The new run holds the shared part of the record and the state before `step`, and says in its
    run.toml where it comes from and what differs. Train it with `Run.train`.

    Args:
        run: the run to share the past of.
        step: the first step that may differ.
        out: the new run's folder.
        changes: dotted fields of the recipe → values, such as
            `{"optimizer.learning_rate": 1e-4, "change.skip_batches": [4300]}`. Another text
            (`data.source`) is cut into tokens by the same tokenizer.
        weights: addresses → values to set in the state before `step`, such as
            `{"blocks.0.mlp.up.weight[3,7]": 0.0}`.
        edit: changes the model in the state before `step` in any other way.
        approximate: fork also where the replay to `step` differs from the record.

    Returns:
        The new run, not trained further yet.

    Raises:
        WhenceError: where a change can't be made to a model that is already trained, with the
            reason; where the step lies outside the run, or the folder exists.

    Example:
        >>> fork(Run.open("runs/mine"), 4300, "runs/half",
        ...      {"optimizer.learning_rate": 1e-4})  # doctest: +SKIP
    """
    run.refuse_counted()
    recipe = changed_recipe(run, step, changes or {})
    moment = go_to(run, step, approximate)
    told = [
        f"{name}: {_say(old)} → {_say(new)}"
        for name, old, new in differences(run.recipe.to_dict(), recipe.to_dict())
    ]
    told += [f"weight {address} = {value:g}" for address, value in (weights or {}).items()]
    if edit is not None:
        told.append("weights edited by a function")
    if moment.differences:
        told.append(moment.how_far_off())
    edit_weights(moment.model, weights or {})
    if edit is not None:
        edit(moment.model)

    def fill(folder: Path) -> Header:
        _put_tokens(run, recipe, folder)
        segments = [segment for segment in run.header.segments if segment.start < step]
        header = Header(recipe, now(), segments, Origin(str(run.path), step, tuple(told)))
        _put_past(run, step, folder, header)
        memory = _memory_that_fits(moment, recipe)
        model, tie = moment.model.state_dict(keep_vars=True), link(header, Past(folder).now())
        save_checkpoint(folder / "checkpoints", step, copied(model), copied(memory), tie)
        note(folder, header, [step])
        return header

    return Run.make(Path(out), fill)


def changed_recipe(run: Run, step: int, changes: Mapping[str, Any]) -> Recipe:
    """Return a run's recipe with changes, or say why one makes no sense from that step on.

    Args:
        run: whose recipe.
        step: where the fork begins.
        changes: dotted fields → values.

    Raises:
        WhenceError: naming the field and the reason.

    Example:
        >>> from whence import Run
        >>> run = Run.open("runs/mine")
        >>> changed_recipe(run, 4, {"optimizer.learning_rate": 1e-4}).optimizer.learning_rate
        0.0001
    """
    tree = nested(changes)
    old, new = run.recipe, Recipe.from_dict(tree, run.recipe)
    new = replace(
        new,
        hardware=new.hardware.resolved(),
        record=new.record.resolved(new.steps, new.tokens_per_step),
    )
    changed = {name for name, _, _ in differences(old.to_dict(), new.to_dict())}
    for name in BOUND_TO_WEIGHTS:
        if name in changed:
            raise WhenceError(
                f"{name} can't change in a fork: the weights belong to these token ids, and the "
                "losses could not be compared; train a new run."
            )
    if "optimizer.kind" in changed:
        raise WhenceError(
            "optimizer.kind can't change in a fork: one optimizer can't use the state of another; "
            "train a new run, or change the rates of this one."
        )
    if any(name.startswith("model.") for name in changed):
        check_same_weights(run, new)
    if new.steps <= step:
        raise WhenceError(
            f"a fork at step {step} needs more than {new.steps} steps in all: set steps."
        )
    return new


def check_same_weights(run: Run, new: Recipe) -> None:
    """Refuse a recipe whose model can't have the weights of a run's.

    Raises:
        WhenceError: naming the first weight that would differ.
    """
    size = run.tokenizer.vocab_size
    mine, other = outline(run.recipe.model, size), outline(new.model, size)
    for name in [*mine, *other]:
        shapes = [list(o[name].shape) if name in o else "absent" for o in (mine, other)]
        if shapes[0] != shapes[1]:
            raise WhenceError(
                f"the weights don't fit the changed model: {name} is {shapes[0]} and would be "
                f"{shapes[1]}; train a new run."
            )


def _put_tokens(run: Run, recipe: Recipe, folder: Path) -> None:
    data, before = recipe.data, run.recipe.data
    if (data.source, data.validation_source) != (before.source, before.validation_source):
        text, other, tokenizer = data.open(), data.open_validation(), run.tokenizer
        share, ended = data.validation, data.documents
        prepare(text, tokenizer.kind, None, share, folder, tokenizer, other, ended=ended)
        return
    for name in ("tokenizer.json", "tokens.json"):
        shutil.copyfile(run.path / name, folder / name)
    second_name(run.path / "tokens.bin", folder / "tokens.bin")


def _put_past(run: Run, step: int, folder: Path, header: Header) -> None:
    logs = Logs(folder, header.id)
    logs.steps.begin_as(run.logs.steps, step)
    logs.evals.replace([r for r in run.evals if r["step"] <= step])
    logs.samples.replace([r for r in run.samples if r["step"] <= step])


def _memory_that_fits(moment: Moment, recipe: Recipe) -> dict[str, Any]:
    """What the optimizer remembers of the weights that the fork still moves."""
    frozen = set(freeze(moment.model, recipe.change.freeze))
    memory = moment.optimizer.state_dict()
    return {name: t for name, t in memory.items() if name.rpartition(".")[0] not in frozen}


def _say(value: Any) -> str:
    return "none" if value is None else f"{value}"
