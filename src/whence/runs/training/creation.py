"""How a run is made: every `auto` of its recipe is settled, and its folder gets its name last."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from whence.data.texts.sources import Source
from whence.data.texts.telling import Preparing, tell_nobody
from whence.errors import WhenceError
from whence.runs.recipe import Recipe
from whence.runs.store.aside import TakenError, made_aside
from whence.runs.store.header import Header
from whence.runs.store.records.record import Logs
from whence.runs.store.tokens import share_tokens

if TYPE_CHECKING:
    from whence.runs.run import Run

Fill = Callable[[Path], Header]  # writes a run's tokens into a folder; returns its header
R = TypeVar("R")

LARGEST_CHARACTER_TEXT = 20_000_000


def resolve(recipe: Recipe, source: Source) -> Recipe:
    """Replace every `auto` of a recipe by what it means for this text and this machine.

    Raises:
        WhenceError: where the machine lacks what was asked for.
    """
    from whence.runs.tasks import settle

    data = replace(recipe.data, source=tuple(str(s) for s in recipe.data.source))
    if data.tokenizer == "auto":
        kind = "chars" if source.n_bytes <= LARGEST_CHARACTER_TEXT else "bpe"
        data = replace(data, tokenizer=kind)
    recipe = settle(recipe, source)
    return replace(
        recipe,
        data=data,
        hardware=recipe.hardware.resolved(),
        record=recipe.record.resolved(recipe.steps, recipe.tokens_per_step),
    )


def free_path(folder: Path, name: str) -> Path:
    """Return a run's path that isn't taken: the text's short name and a number.

    Example:
        >>> free_path(Path("runs"), "My Poems.txt").parts[-1].startswith("my-poems")
        True
    """
    stem = re.sub(r"[^a-z0-9]+", "-", Path(name).stem.lower()).strip("-")[:40] or "run"
    taken = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
    number = 1
    while f"{stem}-{number}" in taken:
        number += 1
    return folder / f"{stem}-{number}"


def at_free(folder: Path, name: str, make: Callable[[Path], R]) -> R:
    """Make something at the next free path, however many processes do so at once.

    Args:
        folder: where.
        name: see `free_path`.
        make: makes it, or raises `TakenError` where another process was the first to end.
    """
    while True:
        with suppress(TakenError):
            return make(free_path(folder, name))


def reserved(path: Path) -> Path:
    """Make an empty folder, which nobody else has from here on.

    Raises:
        TakenError: where there is one by now.
    """
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise TakenError(path) from None
    return path


def make_as(
    make: Callable[[Path, Fill], R],
    recipe: Recipe,
    path: Path | str | None = None,
    source: Source | None = None,
    preparing: Preparing = tell_nobody,
) -> R:
    """Make the run of a recipe: at a path, or at the next one that is free; see `Run.create`.

    Args:
        make: makes a run's folder, as `Run.make` does.
        recipe: what to train.
        path: the folder; none: `runs/` and a name made from the text's.
        source: the text, where it is already open.
        preparing: as of `Run.create`.
    """
    from whence.data.texts.cutting import prepare

    text = source or recipe.data.open()
    settled = resolve(recipe, text)
    data = settled.data

    def fill(folder: Path) -> Header:
        prepare(
            text,
            data.tokenizer,
            data.vocab_size,
            data.validation,
            folder,
            validation_source=data.open_validation(),
            each=preparing,
            ended=data.documents,
        )
        return Header(settled, now())

    if path is not None:
        return make(Path(path), fill)
    return at_free(Path("runs"), text.name, lambda free: make(free, fill))


def make_at(path: Path, fill: Fill, check: Callable[[Path, Header], None]) -> None:
    """Make a run's folder, whole or not at all; see `Run.make`.

    Args:
        path: the folder.
        fill: writes the tokens into the folder it is given and returns the header.
        check: refuses a run that could take no step.
    """
    with made_aside(path) as folder:
        header = fill(folder)
        share_tokens(folder, path.parent)
        header.pin(folder)
        check(folder, header)
        Logs(folder, header.id).begin()
        header.write(folder)


def check_trainable(run: Run) -> None:
    """Check now that the run can take its first step and be measured."""
    run.session().batches[run.origin.step if run.origin else 0]
    check_text(run)


def check_text(run: Run) -> None:
    """Check that a run's text is long enough to be trained on and measured.

    Raises:
        WhenceError: saying what is too short.
    """
    run.batches[run.origin.step if run.origin else 0]
    n_validation = len(run.dataset.validation)
    if n_validation < 2:
        raise WhenceError(
            f"the text keeps {n_validation} token(s) for validation, too few to measure anything: "
            "give more text, or a larger data.validation."
        )


def now() -> str:
    """Return the time in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
