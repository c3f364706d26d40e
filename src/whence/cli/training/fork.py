"""`whence fork`: a new run that shares the past of another."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

import tyro

from whence.errors import WhenceError, shell_word
from whence.runs.run import Run


def fork(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    step: int,
    out: Path,
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    skip_batch: Annotated[tuple[int, ...], tyro.conf.UseAppendAction] = (),
    freeze: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    weight: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    approximate: bool = False,
    train: bool = True,
    json: bool = False,
) -> None:
    """Branch a run at a step, change something, and train the new run.

    For example
    `whence fork runs/mine --step 4300 --set optimizer.learning-rate=1e-4 --out runs/half`.

    Args:
        run: the run's folder.
        step: the first step that may differ.
        out: the new run's folder.
        set: fields of the recipe and their new values, as FIELD=VALUE.
        skip_batch: numbers of batches to leave out; those after them move up.
        freeze: modules or weights that stay as they are, such as blocks.0.
        weight: weights to set in the state before the step, as 'head.weight[3,7]=0'.
        approximate: fork even if the replay to the step differs from the record.
        train: train it right away; --no-train leaves that to 'whence resume'.
        json: print one JSON line for each event instead of the display.
    """
    from whence.cli.training.train import watch
    from whence.runs.fork import fork as fork_run

    opened = Run.open(run)
    changes = {name: plain_value(value) for name, value in map(pair, set)}
    if skip_batch:
        changes["change.skip_batches"] = [*opened.recipe.change.skip_batches, *skip_batch]
    if freeze:
        changes["change.freeze"] = [*opened.recipe.change.freeze, *freeze]
    weights = {name: _number(name, value) for name, value in map(pair, weight)}
    made = fork_run(opened, step, out, changes, weights=weights, approximate=approximate)
    assert made.origin
    if not json:
        print(f"{out} shares {run} up to step {step}; from there on:")
        for change in made.origin.changes or ("nothing differs",):
            print(f"  {change}")
    if train:
        watch(made, None, json, ())
    elif not json:
        print(f"train it with:  whence resume {shell_word(out)}")


def pair(text: str) -> tuple[str, str]:
    """Cut FIELD=VALUE in two.

    Raises:
        WhenceError: where it isn't that.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise WhenceError(f"{text!r} isn't a setting: write FIELD=VALUE, such as batch-size=8.")
    return name.strip(), value.strip()


def plain_value(text: str) -> Any:
    """Read a value as TOML does, else as text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise WhenceError(f"{name} = {text!r} isn't a number.") from error
